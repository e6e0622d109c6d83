"""The loss of recursive separation: one voice, whichever is easiest, and the sum of the others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.data.batch import Batch
from unmingle.objectives.pit import WaveformPIT
from unmingle.objectives.si_sdr import SILENT

FAINT = 1e-3  # gain at which a mixture counts as no speech


def voiced(sources: Tensor, mixture: Tensor) -> Tensor:
    """Which sources are there: `(B, S, T)`, `(B, T)` → `(B, S)`."""
    return sources.square().sum(-1) > SILENT * mixture.square().sum(-1, keepdim=True)


def one_and_rest_loss(
    estimates: Tensor, sources: Tensor, mixture: Tensor, score: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """`min_i [ℓ(one, s_i) + ℓ(rest, Σ_{n≠i} s_n) / (N − 1)]` over the sources that are there, `ℓ = −score`.

    Args:
        estimates: one and rest `(B, 2, T)`.
        sources: `(B, S, T)`; a row of zeros is absent, N of them are there (N − 1 counts as 1 for a single
            one: its rest is silence).
        mixture: `(B, T)`.
        score: of every pair: `(B, 1, T)`, `(B, S, T)`, `(B, T)` → `(B, 1, S)`, higher is better, defined for
            silent references.

    Returns:
        The loss `(B,)` and which source is the one `(B,)`.

    An estimate of zeros where one voice of energy 1 speaks, scored by negative energy of the error: the one
    misses 1, the rest nothing.

    >>> def score(estimate, reference, mixture):
    ...     return -(estimate[:, :, None] - reference[:, None]).square().sum(-1)
    >>> voices, mixture = torch.tensor([[[0.0] * 4, [0.5] * 4]]), torch.full((1, 4), 0.5)
    >>> loss, one = one_and_rest_loss(torch.zeros(1, 2, 4), voices, mixture, score)
    >>> float(loss), int(one)
    (1.0, 1)

    References:
        N. Takahashi et al., "Recursive speech separation for unknown number of speakers", 2019.
    """
    there = voiced(sources, mixture)
    others = sources.sum(1, keepdim=True) - sources
    others_count = (there.sum(1, keepdim=True) - 1).clamp(min=1)
    losses = -(
        score(estimates[:, :1], sources, mixture)
        + score(estimates[:, 1:], others, mixture) / others_count[:, None]
    ).squeeze(1)
    losses = losses.masked_fill(~(there | ~there.any(1, keepdim=True)), torch.inf)
    return losses.min(1)


class OneAndRestObjective(nn.Module):
    """One-and-rest loss of every pass, and the binary cross-entropy of the classifier that predicts when to
    stop.

    The rest of a pass goes into the next one, and gradients flow back through it. Passes whose
    input has no voice train the classifier alone. The classifier learns from what goes into each pass and
    from the last rest, labelled by whether a voice is left, and that a mixture 60 dB fainter is no speech;
    nothing flows from it into the separation.

    Args:
        recursions: passes in training; the paper begins with 1 and goes on with 2.
        classifier: weight of the cross-entropy, the rest being decibels.
        si_sdr, snr, max_db: see `WaveformPIT`. Without a low `max_db`, giving one voice back untouched pays
            more than taking one out of two.
    """

    def __init__(
        self,
        *,
        recursions: int = 1,
        classifier: float = 1.0,
        si_sdr: float = 0.5,
        snr: float = 0.5,
        max_db: float = 30.0,
    ) -> None:
        super().__init__()
        self.recursions, self.classifier = recursions, classifier
        self.waveform = WaveformPIT(si_sdr=si_sdr, snr=snr, max_db=max_db)

    def forward(self, separator: Any, batch: Batch) -> dict[str, Tensor]:
        """`batch` holds `mixture` `(B, 1, T)` and `sources` `(B, S, T)`, any of which may be silent.

        Returns the loss, `stop` (the cross-entropy) and, where the passes suffice for all voices, `si_sdri`
        [dB] and `counted` (share of items whose voices were counted right).
        """
        mixture, left = batch.mixture, batch.sources
        n_batch, n_src, _ = left.shape
        whole = mixture[:, 0].float()
        n_passes = self.recursions if separator.training else max(self.recursions, n_src - 1)
        rests, voices, logits, labels = [mixture], [], [], []
        loss = whole.new_zeros(())
        for _ in range(n_passes):
            estimates = separator.network(rests[-1])
            logits.append(separator.classifier(rests[-1].detach()))
            labels.append(voiced(left, whole).any(1))
            values, one = one_and_rest_loss(estimates.float(), left, whole, self.waveform.scores)
            loss = loss + torch.where(labels[-1], values, 0.0).sum() / n_batch
            left = left * (functional.one_hot(one, n_src) == 0)[:, :, None]
            voices.append(estimates[:, :1])
            rests.append(estimates[:, 1:])
        logits += [separator.classifier(rests[-1].detach()), separator.classifier(FAINT * mixture)]
        labels += [voiced(left, whole).any(1), torch.zeros_like(labels[0])]
        stop = functional.binary_cross_entropy_with_logits(torch.stack(logits), torch.stack(labels).float())
        parts = {"loss": loss / n_passes + self.classifier * stop, "stop": stop}
        if n_passes >= n_src - 1:
            with torch.no_grad():
                found = torch.cat([*voices[: n_src - 1], rests[n_src - 1]], 1)
                parts["si_sdri"] = self.waveform(lambda _, **cues: found, batch)["si_sdri"]
                count = (torch.stack(logits[:n_src]) > 0).long().cumprod(0).sum(0)
                parts["counted"] = (count == voiced(batch.sources, whole).sum(1)).float().mean()
        return parts
