"""Filter-and-sum network in two stages."""

import torch
from torch import Tensor, nn

from unmingle.facts import Facts, task_for
from unmingle.layers.filter_and_sum import ContextEncoder, ContextFrames, FilterEstimator, unit


class FaSNet(nn.Module):
    """Filters for several microphones, first for the reference, then for the others.

    A beamformer filters what each microphone hears and sums it, so that one voice adds up and others do not.
    Here a network chooses the filters anew every 2 ms. The first stage sees the reference microphone, and how
    alike it is to the others at every lag (the cosine similarity of their frames), and makes a first estimate
    of every voice. The second stage sees one other microphone at a time, and how alike it is to that
    estimate. Microphone 1 is the reference; the others may stand in any order and number.

    Differs from the paper: dual-path RNNs find the filters, as in the TAC paper's version of it, whose public
    code has 6 blocks in each stage. The estimate is the mean of the reference's and of the others' mean, not
    the mean over all: with two microphones it is the same, with more of them a microphone that stands there
    twice changes nothing where all are alike, and the reference counts as much as ever. A single microphone
    is taken for two that hear the same; the paper has no such case.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        frame: 4 ms in the paper [samples], even; frames overlap by half.
        context: on each side of a frame, 16 ms in the paper [samples]; a filter has 2 · context + 1 taps.
        n_filters: basis signals of the encoder.
        n_features: width of the dual-path blocks.
        hidden: LSTM units per direction.
        segment_size: frames per segment, even.
        n_blocks: of each stage; each one walk within and one across.

    References:
        Y. Luo, E. Ceolini, C. Han, S.-C. Liu and N. Mesgarani, "FaSNet: low-latency adaptive beamforming for
        multi-microphone audio processing", 2019.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        frame: int = 64,
        context: int = 256,
        n_filters: int = 64,
        n_features: int = 64,
        hidden: int = 128,
        segment_size: int = 50,
        n_blocks: int = 6,
    ) -> None:
        super().__init__()
        self.facts = Facts(
            sample_rate=sample_rate, task=task_for(n_src), n_src=n_src, n_mics=None, chunk=4 * sample_rate
        )
        self.framing = ContextFrames(frame=frame, context=context)
        self.encoder = ContextEncoder(n_filters=n_filters, frame=frame, context=context)
        self.first, self.second = (
            FilterEstimator(
                n_inputs=n_filters + self.framing.n_taps,
                n_features=n_features,
                hidden=hidden,
                segment_size=segment_size,
                n_blocks=n_blocks,
                n_src=n_outputs,
                n_taps=self.framing.n_taps,
            )
            for n_outputs in (n_src, 1)
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, C, T)` → `(B, S, T)`."""
        framed = self.framing(mixture)
        encoded = self.encoder(framed)  # B C N D
        # All but the first; of a single microphone, itself: 1 - C is 0, where everything begins.
        start = 1 - mixture.shape[1]
        reference, others = framed.of(0, 1), framed.of(start, None)
        heard = unit(others.frames).mean(1, keepdim=True)
        alike = self.framing.similarity(reference, heard)  # B 1 N taps
        filters = self.first(torch.cat([encoded[:, :1], alike], -1))[:, 0]  # B S N taps
        cues = self.framing.filtered(reference, filters)  # B S N frame

        n_batch, n_src = cues.shape[:2]
        each = others.repeated(1)  # B 1 C' …
        alike = self.framing.similarity(each, unit(cues)[:, :, None])  # B S C' N taps
        seen = encoded[:, start:][:, None].expand(-1, n_src, -1, -1, -1)
        filters = self.second(torch.cat([seen, alike], -1).flatten(0, 1))[:, :, 0]  # (B S) C' N taps
        filters = filters.reshape(n_batch, n_src, *filters.shape[1:])
        summed = self.framing.filtered(each, filters).mean(2)  # B S N frame
        return self.framing.join((cues + summed) / 2, mixture.shape[-1])
