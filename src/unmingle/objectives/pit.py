"""Permutation-invariant training: the order of the estimates is the one that suits them best."""

from itertools import permutations
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from unmingle.data.batch import Batch
from unmingle.objectives.si_sdr import SILENT, Energies, energies, si_sdr_of

BRUTE_FORCE_UP_TO = 3


def best_permutation(scores: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The assignment of estimates to references with the highest mean score.

    Args:
        scores: `(B, S, S)`; `scores[b, i, j]` is how well estimate `i` fits reference `j`, higher is better.
        given: a permutation `(B, S)` to take instead of the best.

    Returns:
        The mean score `(B,)` and the permutation `(B, S)`: reference `j` is estimated by estimate
            `permutation[b, j]`.

    All permutations are tried up to 3 sources; above that it is the Hungarian method.

    References:
        M. Kolbæk et al., "Multitalker speech separation with utterance-level permutation invariant training",
        2017.
    """
    n_batch, n_src, _ = scores.shape
    if given is not None:
        permutation = given
    elif n_src <= BRUTE_FORCE_UP_TO:
        orders = torch.tensor(list(permutations(range(n_src))), device=scores.device)
        of_order = scores[:, orders, torch.arange(n_src, device=scores.device)].mean(-1)
        permutation = orders[of_order.argmax(1)]
    else:
        table = scores.detach().float().cpu().numpy()
        rows = [linear_sum_assignment(table[b].T, maximize=True)[1] for b in range(n_batch)]
        permutation = torch.as_tensor(np.array(rows), device=scores.device)
    return scores.gather(1, permutation[:, None]).squeeze(1).mean(-1), permutation


def given_order(separator: Any, batch: Batch) -> Tensor | None:
    """The order of the sources that is not chosen `(B, S)`: the batch's, or the references' own where the
    separator declares that its outputs have one; None where the best order is to be taken.
    """
    facts = getattr(separator, "facts", None)
    if batch.order is not None or facts is None or facts.order == "free":
        return batch.order
    n_batch, n_src, _ = batch.sources.shape
    return torch.arange(n_src, device=batch.sources.device).expand(n_batch, -1)


def thresholded_snr(estimate: Tensor, reference: Tensor, mixture: Tensor, max_db: float = 30.0) -> Tensor:
    """SNR that cannot pass `max_db`, and that on a silent reference measures how far the estimate lies below
    the mixture.

    `10 log10(|s|² / (|ŝ − s|² + τ|s|²))` with `τ = 10^(−max_db / 10)`; for a silent `s`, `−10 log10((|ŝ|² +
    τ|x|²) / |x|²)`. All `(…, T)` → `(…)` [dB].

    References:
        S. Wisdom et al., "What's all the fuss about free universal sound separation data?", 2021.
    """
    error = (estimate - reference).square().sum(-1)
    return _thresholded(reference.square().sum(-1), error, mixture.square().sum(-1), max_db)


def thresholded_snr_of(
    found: Energies, whole: Tensor, max_db: float, silent_db: float | None = None
) -> Tensor:
    """`thresholded_snr` of all pairs from their energies and that of the mixture `(B,)`: `(B, I, J)` [dB]."""
    error = (found.own - 2 * found.cross + found.other).clamp(min=0)
    return _thresholded(found.other.expand_as(error), error, whole[:, None, None], max_db, silent_db)


def _thresholded(
    energy: Tensor, error: Tensor, whole: Tensor, max_db: float, silent_db: float | None = None
) -> Tensor:
    eps = 1e-8
    silent = energy < SILENT * whole + eps
    scale = torch.where(silent, whole, energy)
    most = torch.where(silent, max_db if silent_db is None else silent_db, max_db)
    tau = 10 ** (-most / 10)
    return 10 * ((scale + eps) / (error + tau * scale + eps)).log10()


def si_sdr_improvement(scores: Tensor, sources: Tensor, mixture: Tensor) -> Tensor:
    """Mean gain of SI-SDR over that of the mixture, of items in which no source is silent.

    SI-SDR `(B, S)` of the estimates in the order of the sources, `(B, S, T)`, `(B, T)` → scalar [dB]; not a
    number if there is no such item.
    """
    raw, centred = energies(mixture[:, None], sources)
    voiced = (raw.other > SILENT * raw.own)[:, 0]
    gain = scores - si_sdr_of(centred)[:, 0]
    overlapped = voiced.all(1, keepdim=True).expand_as(voiced)
    return gain[overlapped].mean() if overlapped.any() else gain.new_tensor(float("nan"))


class WaveformPIT(nn.Module):
    """Negative mean of a waveform measure over the best order of the sources.

    `loss = −Σ weight · measure`; the order is the one that maximises the weighted sum.

    Args:
        si_sdr: weight of the scale-invariant measure (sources that are silent do not count in it).
        snr: weight of the scale-aware, thresholded SNR; it is what makes levels and silences right.
        max_db: what is better than that counts no more [dB].
        silent_db: the same where a source is silent; `max_db` unless given. A high one pays for being silent,
            and an output that is seldom needed may never wake up.
        stages: weight of the intermediate estimates of a separator that has `forward_stages`.
        fix_after: in a training on a fixed set, the epochs after which every item keeps the order that it had
            then; never, if not given.
    """

    def __init__(
        self,
        *,
        si_sdr: float = 1.0,
        snr: float = 0.0,
        max_db: float = 30.0,
        silent_db: float | None = None,
        stages: float = 0.0,
        fix_after: int | None = None,
    ) -> None:
        super().__init__()
        if not si_sdr and not snr:
            raise ValueError("WaveformPIT needs a weight for si_sdr or snr")
        self.si_sdr, self.snr, self.max_db, self.silent_db = si_sdr, snr, max_db, silent_db
        self.stages, self.fix_after = stages, fix_after

    def scores(self, estimates: Tensor, sources: Tensor, mixture: Tensor) -> Tensor:
        """Weighted measure of every pair: `(B, S, T)`, `(B, S, T)`, `(B, T)` → `(B, S, S)` [dB]."""
        return self._scores(*energies(estimates, sources), mixture.float().square().sum(-1))

    def _scores(self, raw: Energies, centred: Energies, whole: Tensor) -> Tensor:
        snr = thresholded_snr_of(raw, whole, self.max_db, self.silent_db)
        if not self.si_sdr:
            return self.snr * snr
        silent = raw.other < SILENT * whole[:, None, None]
        return self.snr * snr + self.si_sdr * torch.where(
            silent, snr, si_sdr_of(centred).clamp(max=self.max_db)
        )

    def forward(self, separator: Any, batch: Batch) -> dict[str, Tensor]:
        """`separator` turns `(B, C, T)`, and the batch's cues, into `(B, S, T)`.

        Returns loss, `si_sdri` [dB] and the `order` that was taken `(B, S)`.
        """
        mixture, sources = batch.mixture, batch.sources
        whole = mixture[:, 0].float().square().sum(-1)
        if self.stages and hasattr(separator, "forward_stages"):
            *earlier, estimates = separator.forward_stages(mixture, **batch.cues)
        else:
            earlier, estimates = [], separator(mixture, **batch.cues)
        given = given_order(separator, batch)
        raw, centred = energies(estimates, sources)
        value, order = best_permutation(self._scores(raw, centred, whole), given)
        loss = -value.mean()
        for stage in earlier:
            scores = self._scores(*energies(stage, sources), whole)
            loss = loss - self.stages * best_permutation(scores, given)[0].mean() / len(earlier)
        with torch.no_grad():
            reached = si_sdr_of(centred).gather(1, order[:, None])[:, 0]
            improvement = si_sdr_improvement(reached, sources, mixture[:, 0])
        return {"loss": loss, "si_sdri": improvement, "order": order}
