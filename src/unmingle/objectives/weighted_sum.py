"""Objectives as lists: any weighted sum of terms, each of which compares every estimate with every source."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from unmingle.data.batch import Batch
from unmingle.objectives.compressed import CompressedSpectrum
from unmingle.objectives.loss_inputs import LossInputs
from unmingle.objectives.magnitude_phase import MagnitudeAndPhase
from unmingle.objectives.multi_resolution import MultiResolutionSTFT
from unmingle.objectives.noise_huber import NoiseHuber
from unmingle.objectives.pesq_proxy import PESQProxy
from unmingle.objectives.pit import WaveformPIT, best_permutation, given_order, si_sdr_improvement
from unmingle.objectives.projection import ProjectionLoss
from unmingle.objectives.recogniser import Recogniser
from unmingle.objectives.si_sdr import pairwise_si_sdr
from unmingle.objectives.squares import MSE, NoiseWeightedMSE
from unmingle.objectives.ssim import SSIM
from unmingle.objectives.stoi import STOI


class Waveform(nn.Module):
    """The measures of `WaveformPIT`, negative [dB], of every estimate and every source.

    Args:
        si_sdr, snr, max_db: see there.
    """

    def __init__(self, *, si_sdr: float = 0.5, snr: float = 0.5, max_db: float = 30.0) -> None:
        super().__init__()
        self.measures = WaveformPIT(si_sdr=si_sdr, snr=snr, max_db=max_db)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        return -self.measures.scores(inputs.estimates, inputs.sources, inputs.mixture)


#: By the name that recipes use. A term makes of `LossInputs` a loss of every estimate and every source `(B,
# S, S)`, or `(B, 1, 1)` if all are equal.
TERMS: dict[str, type[nn.Module]] = {
    "compressed-spectrum": CompressedSpectrum,
    "magnitude-and-phase": MagnitudeAndPhase,
    "mse": MSE,
    "multi-resolution-stft": MultiResolutionSTFT,
    "noise-huber": NoiseHuber,
    "noise-weighted-mse": NoiseWeightedMSE,
    "pesq-proxy": PESQProxy,
    "projection": ProjectionLoss,
    "recogniser": Recogniser,
    "ssim": SSIM,
    "stoi": STOI,
    "waveform": Waveform,
}


def build_term(name: str, **arguments: Any) -> nn.Module:
    """Make a term by the name that recipes use; ValueError lists the known ones, or its arguments."""
    if name not in TERMS:
        raise ValueError(f"no term {name!r}; there are {', '.join(TERMS)}")
    known = inspect.signature(TERMS[name]).parameters
    unknown = set(arguments) - set(known)
    if unknown:
        raise ValueError(
            f"{name} has no argument {', '.join(sorted(unknown))}; it has {', '.join(['weight', *known])}"
        )
    return TERMS[name](**arguments)


class WeightedSum(nn.Module):
    """`Σ weight · term` in the order of the sources for which it is least, one order for all terms. The
    separator runs once.

    Args:
        terms: each a `name` of `TERMS`, its `weight` (1 unless given) and its arguments. The second of a name
            is logged as `name-2`.
    """

    def __init__(self, *, terms: list[dict[str, Any]]) -> None:
        super().__init__()
        if (
            not isinstance(terms, list | tuple)
            or not terms
            or not all(isinstance(term, dict) and "name" in term for term in terms)
        ):
            raise ValueError(
                f"terms is {terms!r}; expected a list of at least one, such as [{{name: mse, weight: 100}}]"
            )
        self.weights: dict[str, float] = {}
        self.terms = nn.ModuleDict()
        for number, term in enumerate(terms):
            name, weight = term["name"], term.get("weight", 1.0)
            if (
                isinstance(weight, bool)
                or not isinstance(weight, int | float)
                or not 0 < weight < float("inf")
            ):
                raise ValueError(f"the weight of {name} is {weight!r}; expected a number above 0")
            n_alike = sum(earlier["name"] == name for earlier in terms[:number])
            key = f"{name}-{n_alike + 1}" if n_alike else name
            self.terms[key] = build_term(
                name, **{key: value for key, value in term.items() if key not in ("name", "weight")}
            )
            self.weights[key] = weight

    def forward(self, separator: Any, batch: Batch) -> dict[str, Tensor]:
        """`batch` holds `mixture` `(B, C, T)` and `sources` `(B, S, T)`. See `compare`."""
        return self.compare(LossInputs(separator, batch))

    def compare(self, inputs: LossInputs) -> dict[str, Tensor]:
        """Loss, each term by its name and without its weight, the order that was taken `(B, S)`, and
        `si_sdri` [dB].

        A training whose terms need no estimates, because the separator predicts something else, does without
        `si_sdri`.
        """
        n_batch, n_src, _ = inputs.sources.shape
        losses = {name: term(inputs).expand(n_batch, n_src, n_src) for name, term in self.terms.items()}
        given = given_order(inputs.separator, inputs.batch)
        value, order = best_permutation(
            -torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum(0), given
        )
        parts = {name: loss.detach().gather(1, order[:, None]).mean() for name, loss in losses.items()}
        parts = {"loss": -value.mean(), **parts, "order": order}
        if inputs.separator_ran or not self.training:
            with torch.no_grad():
                reached = pairwise_si_sdr(inputs.estimates, inputs.sources).gather(1, order[:, None])[:, 0]
                parts["si_sdri"] = si_sdr_improvement(reached, inputs.sources, inputs.mixture)
        return parts
