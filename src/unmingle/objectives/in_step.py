"""Lips and voices that are in step, against those that are not."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.data.batch import Batch
from unmingle.objectives.si_sdr import SILENT, pairwise_si_sdr


class InStep(nn.Module):
    """Cross-entropy of finding a face's own voice among its voice shifted in time and the voices of others.

    The mean over time of the inner products of the vectors of lips and voice, times `scale`, is the logit.
    Candidates are the voice in step, the same voice shifted by `n_shifts` random times of `shift_s` either
    way, and the voices of all other faces in the batch. `accuracy` is how often the one in step is the most
    alike.

    Only for separators that have `look(lips, n_frames)` and `voice_of(samples)`, which return those vectors.

    Args:
        scale: of the products.
        n_shifts: shifts tried for each face.
        shift_s: shortest and longest [s].
        streams: besides, a face's voice is the stream of the mixture that is most like it, instead of the
            voice alone, and the other streams of its mixture are candidates too; the mean of both losses,
            and the accuracy of the latter. The separator has `streams(mixture)`.

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
        """Items `(B, S, T)` with pictures; faces whose voice is silent do not count."""
        sources = batch.sources
        heard = separator.voice_of(sources)
        seen = separator.look(batch.cues["lips"], heard.shape[2]).flatten(0, 1)
        count = (sources.square().sum(-1) > SILENT * batch.mixture.square().sum(-1)).flatten()
        per_s = heard.shape[2] * separator.facts.sample_rate / sources.shape[-1]
        loss, accuracy = self._found(seen, heard.flatten(0, 1), [], count, per_s)
        if self.streams:
            with torch.no_grad():
                streams = separator.streams(batch.mixture)
                order = pairwise_si_sdr(sources, streams).argsort(2, descending=True).flatten(0, 1)
            heard = separator.voice_of(streams).repeat_interleave(sources.shape[1], 0)
            ordered = heard.gather(1, order[..., None, None].expand_as(heard))
            own, others = ordered[:, 0], list(ordered[:, 1:].unbind(1))
            of_streams, accuracy = self._found(seen, own, others, count, per_s)
            loss = (loss + of_streams) / 2
        return {"loss": loss, "accuracy": accuracy.detach()}

    def _found(
        self, seen: Tensor, own: Tensor, others: list[Tensor], count: Tensor, per_s: float
    ) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of finding, for each face `(B, N, D)`, its own voice among those of all, its own
        out of step, and others.
        """
        lowest, highest = (max(1, round(s * per_s)) for s in self.shift_s)
        drawn = torch.randint(lowest, highest + 1, (self.n_shifts,))
        shifts = (drawn * torch.where(torch.rand(self.n_shifts) < 0.5, -1, 1)).tolist()
        candidates = [own.roll(shift, 1) for shift in shifts] + others
        alike = [torch.einsum("bnd,cnd->bc", seen, own) / seen.shape[1]]
        alike += [(seen * candidate).sum(-1).mean(1, keepdim=True) for candidate in candidates]
        logits, right = self.scale * torch.cat(alike, 1), torch.arange(len(seen), device=seen.device)
        losses = functional.cross_entropy(logits, right, reduction="none")
        n = count.sum().clamp(min=1)
        return (losses * count).sum() / n, ((logits.argmax(1) == right) * count).sum() / n
