"""Lips and voices that are in step, against those that are not."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.data.batch import Batch
from unmingle.objectives.si_sdr import SILENT, si_sdr


class InStep(nn.Module):
    """Cross-entropy of finding a face's own voice among its voice shifted in time and the voices of others.

    The mean cosine over time of the vectors of lips and voice, times `scale`, is the logit. Candidates are
    the voice in step, the same voice shifted by `n_shifts` random times of `shift_s` either way, and the
    voices of the other items in the batch. `accuracy` is how often the one in step is the most alike.

    Only for separators that have `in_step(sources, lips)`, which returns those vectors, and
    `voice_of(samples)`, the latter of them.

    Args:
        scale: of the cosines.
        n_shifts: shifts tried for each item.
        shift_s: shortest and longest [s].
        streams: a face's voice is the stream of the mixture that is most like it, instead of the voice alone,
            and the other streams of its mixture are candidates too. The separator has `streams(mixture)`.

    References:
        J. S. Chung and A. Zisserman, "Out of time: automated lip sync in the wild", 2016.
    """

    chosen_by = "accuracy"  # the best weights, as nothing is separated

    def __init__(
        self,
        *,
        scale: float = 20.0,
        n_shifts: int = 8,
        shift_s: tuple[float, float] = (0.2, 1.0),
        streams: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.n_shifts, self.shift_s, self.streams = scale, n_shifts, tuple(shift_s), streams

    def forward(self, separator: Any, batch: Batch) -> dict[str, Tensor]:
        """Items `(B, 1, T)` with pictures; those whose source is silent do not count."""
        source = batch.sources[:, 0]
        voices, others = source, source[:, None][:, :0]
        if self.streams:
            with torch.no_grad():
                streams = separator.streams(batch.mixture)
                order = si_sdr(streams, source[:, None].expand_as(streams)).argsort(1, descending=True)
                streams = streams.gather(1, order[..., None].expand_as(streams))
            voices, others = streams[:, 0], streams[:, 1:]
        seen, heard = separator.in_step(voices, batch.cues["lips"])
        n_batch, n_frames, _ = seen.shape
        per_s = n_frames * separator.facts.sample_rate / voices.shape[-1]
        lowest, highest = (max(1, round(s * per_s)) for s in self.shift_s)
        drawn = torch.randint(lowest, highest + 1, (self.n_shifts,))
        shifts = (drawn * torch.where(torch.rand(self.n_shifts) < 0.5, -1, 1)).tolist()
        alike = [torch.einsum("bnd,cnd->bc", seen, heard) / n_frames]
        alike += [(seen * heard.roll(shift, 1)).sum(-1).mean(1, keepdim=True) for shift in shifts]
        alike += [
            (seen * separator.voice_of(other)).sum(-1).mean(1, keepdim=True) for other in others.unbind(1)
        ]
        own = torch.arange(n_batch, device=seen.device)
        logits = self.scale * torch.cat(alike, 1)
        voiced = source.square().sum(-1) > SILENT * batch.mixture[:, 0].square().sum(-1)
        losses = functional.cross_entropy(logits, own, reduction="none")
        right = (logits.argmax(1) == own).float()
        count = voiced.sum().clamp(min=1)
        accuracy = (right * voiced).sum() / count
        return {"loss": (losses * voiced).sum() / count, "accuracy": accuracy.detach()}
