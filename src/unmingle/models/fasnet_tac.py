"""Filter-and-sum network with transform–average–concatenate."""

import torch
from torch import Tensor, nn

from unmingle.facts import Facts, task_for
from unmingle.layers.filter_and_sum import ContextEncoder, ContextFrames, FilterEstimator, unit


class FaSNetTAC(nn.Module):
    """Filters for several microphones at once, found by networks that learn of one another.

    As in FaSNet, every microphone is filtered anew every 2 ms, and the sum is a voice. There is one stage:
    every microphone has its dual-path network, all with the same weights, which sees the microphone and how
    alike it is to the reference at every lag. After each block, the features of all microphones are averaged,
    and each microphone's meet the mean (TAC). Microphone 1 is the reference; the others may stand in any
    order and number, and a single one is its own reference.

    Differs from the paper: the last layer of TAC is computed in two halves, which is the same. The paper
    counts 2.9 million parameters, these are 2.76.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        frame: 4 ms in the paper [samples], even; frames overlap by half.
        context: on each side of a frame, 16 ms in the paper [samples]; a filter has 2 · context + 1 taps.
        n_filters: basis signals of the encoder.
        n_features: width of the dual-path blocks.
        hidden: LSTM units per direction.
        tac_hidden: units of TAC.
        segment_size: frames per segment, even.
        n_blocks: each one walk within, one across, and TAC.

    References:
        Y. Luo, Z. Chen, N. Mesgarani and T. Yoshioka, "End-to-end microphone permutation and number invariant
        multi-channel speech separation", 2020.
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
        tac_hidden: int = 384,
        segment_size: int = 50,
        n_blocks: int = 4,
    ) -> None:
        super().__init__()
        self.facts = Facts(
            sample_rate=sample_rate, task=task_for(n_src), n_src=n_src, n_mics=None, chunk=4 * sample_rate
        )
        self.framing = ContextFrames(frame=frame, context=context)
        self.encoder = ContextEncoder(n_filters=n_filters, frame=frame, context=context)
        self.estimator = FilterEstimator(
            n_inputs=n_filters + self.framing.n_taps,
            n_features=n_features,
            hidden=hidden,
            segment_size=segment_size,
            n_blocks=n_blocks,
            n_src=n_src,
            n_taps=self.framing.n_taps,
            tac_hidden=tac_hidden,
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, C, T)` → `(B, S, T)`."""
        framed = self.framing(mixture)
        alike = self.framing.similarity(framed, unit(framed.frames[:, :1]))  # B C N taps
        filters = self.estimator(torch.cat([self.encoder(framed), alike], -1))  # B C S N taps
        voices = self.framing.filtered(framed.repeated(2), filters).mean(1)  # B S N frame
        return self.framing.join(voices, mixture.shape[-1])
