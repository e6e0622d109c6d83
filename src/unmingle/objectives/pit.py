"""Permutation-invariant training: the order of the estimates is the one that suits them best."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from unmingle.objectives.si_sdr import energies, pairwise_si_sdr

BRUTE_FORCE_UP_TO = 3


def best_permutation(scores: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The assignment of estimates to references with the highest mean score.

    Args:
        scores: `(B, S, S)`; `scores[b, i, j]` says how well estimate `i` fits reference `j`, higher is better.
        given: a permutation `(B, S)` to take instead of the best.

    Returns:
        The mean score `(B,)` and the permutation `(B, S)`: reference `j` is estimated by estimate `permutation[b, j]`.

    All permutations are tried up to 3 sources; above that it is the Hungarian method.

    References:
        M. Kolbæk et al., "Multitalker speech separation with utterance-level permutation invariant training", 2017.
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


def reorder(estimates: Tensor, permutation: Tensor) -> Tensor:
    """Put estimates `(B, S, T)` into the order `(B, S)` that `best_permutation` found."""
    return estimates.gather(1, permutation[:, :, None].expand_as(estimates))


def thresholded_snr(estimate: Tensor, reference: Tensor, mixture: Tensor, max_db: float = 30.0) -> Tensor:
    """SNR that cannot pass `max_db`, and that on a silent reference measures how far the estimate lies below the mixture.

    `10 log10(|s|² / (|ŝ − s|² + τ|s|²))` with `τ = 10^(−max_db / 10)`; for a silent `s`, `−10 log10((|ŝ|² + τ|x|²) / |x|²)`.
    All `(…, T)` → `(…)` [dB].

    References:
        S. Wisdom et al., "What's all the fuss about free universal sound separation data?", 2021.
    """
    error = (estimate - reference).square().sum(-1)
    return _thresholded(reference.square().sum(-1), error, mixture.square().sum(-1), max_db)


def pairwise_thresholded_snr(estimates: Tensor, references: Tensor, mixture: Tensor, max_db: float = 30.0) -> Tensor:
    """`thresholded_snr` of all pairs: `(B, I, T)`, `(B, J, T)`, `(B, T)` → `(B, I, J)` [dB]."""
    own, other, cross = energies(estimates, references, centred=False)
    error = (own - 2 * cross + other).clamp(min=0)
    return _thresholded(other.expand_as(error), error, mixture.float().square().sum(-1)[:, None, None], max_db)


def _thresholded(energy: Tensor, error: Tensor, whole: Tensor, max_db: float) -> Tensor:
    tau, eps = 10 ** (-max_db / 10), 1e-8
    silent = energy < 1e-6 * whole + eps
    scale = torch.where(silent, whole, energy)
    return 10 * ((scale + eps) / (error + tau * scale + eps)).log10()


def si_sdr_improvement(estimates: Tensor, sources: Tensor, mixture: Tensor) -> Tensor:
    """Mean gain of SI-SDR over that of the mixture, of items in which no source is silent.

    `(B, S, T)` in the order of the sources, `(B, S, T)`, `(B, T)` → scalar [dB]; not a number if there is no such item.
    """
    voiced = sources.square().sum(-1) > 1e-6 * mixture.square().sum(-1, keepdim=True)
    gain = pairwise_si_sdr(estimates, sources).diagonal(dim1=1, dim2=2) - pairwise_si_sdr(mixture[:, None], sources)[:, 0]
    overlapped = voiced.all(1, keepdim=True).expand_as(voiced)
    return gain[overlapped].mean() if overlapped.any() else gain.new_tensor(float("nan"))


class WaveformPIT(nn.Module):
    """Negative mean of a waveform measure over the best order of the sources.

    `loss = −Σ weight · measure`; the order is the one that maximises the weighted sum.

    Args:
        si_sdr: weight of the scale-invariant measure (sources that are silent do not count in it).
        snr: weight of the scale-aware, thresholded SNR; it is what makes levels and silences right.
        stages: weight of the intermediate estimates of a separator that has `forward_stages`.
        fix_after: in a training on a fixed set, the epochs after which every item keeps the order that it had then; never, if not given.
    """

    def __init__(self, *, si_sdr: float = 1.0, snr: float = 0.0, stages: float = 0.0, fix_after: int | None = None) -> None:
        super().__init__()
        if not si_sdr and not snr:
            raise ValueError("WaveformPIT needs a weight for si_sdr or snr")
        self.si_sdr, self.snr, self.stages, self.fix_after = si_sdr, snr, stages, fix_after

    def scores(self, estimates: Tensor, sources: Tensor, mixture: Tensor) -> Tensor:
        """Weighted measure of every pair: `(B, S, T)`, `(B, S, T)`, `(B, T)` → `(B, S, S)` [dB]."""
        snr = pairwise_thresholded_snr(estimates, sources, mixture)
        if not self.si_sdr:
            return self.snr * snr
        silent = sources.square().sum(-1) < 1e-6 * mixture.square().sum(-1, keepdim=True)
        return self.snr * snr + self.si_sdr * torch.where(silent[:, None], snr, pairwise_si_sdr(estimates, sources).clamp(max=30))

    def forward(self, separator: Callable[[Tensor], Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """`separator`: `(B, C, T)` → `(B, S, T)`; `batch` holds `mixture` `(B, C, T)` and `sources` `(B, S, T)`, perhaps an `order` `(B, S)` to keep.

        Returns loss, `si_sdri` [dB] and the `order` that was taken `(B, S)`.
        """
        mixture, sources = batch["mixture"], batch["sources"]
        whole = mixture[:, 0].float()
        if self.stages and hasattr(separator, "forward_stages"):
            *earlier, estimates = separator.forward_stages(mixture)
        else:
            earlier, estimates = [], separator(mixture)
        given = batch.get("order")
        value, order = best_permutation(self.scores(estimates.float(), sources, whole), given)
        loss = -value.mean()
        for stage in earlier:
            loss = loss - self.stages * best_permutation(self.scores(stage.float(), sources, whole), given)[0].mean() / len(earlier)
        with torch.no_grad():
            improvement = si_sdr_improvement(reorder(estimates.float(), order), sources, whole)
        return {"loss": loss, "si_sdri": improvement, "order": order}
