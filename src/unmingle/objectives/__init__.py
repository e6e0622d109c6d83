"""What training minimises: pure functions and thin classes, called as `objective(separator, batch) → {"loss":
…, parts…}`.
"""

from typing import Any

from torch import nn

from unmingle.objectives.adversarial import AdversarialObjective
from unmingle.objectives.clustering import DeepClusteringObjective
from unmingle.objectives.in_step import InStep
from unmingle.objectives.one_and_rest import OneAndRestObjective
from unmingle.objectives.pit import WaveformPIT
from unmingle.objectives.spectral import SpectrogramPIT
from unmingle.objectives.weighted_sum import TERMS, WeightedSum

OBJECTIVES: dict[str, type[nn.Module]] = {
    "adversarial": AdversarialObjective,
    "deep-clustering": DeepClusteringObjective,
    "in-step": InStep,
    "one-and-rest": OneAndRestObjective,
    "spectrogram-pit": SpectrogramPIT,
    "sum": WeightedSum,
    "waveform-pit": WaveformPIT,
}


def build_objective(name: str, **arguments: Any) -> nn.Module:
    """Make an objective by the name that recipes use, which may be that of a single term; ValueError lists
    the known ones.
    """
    if name in TERMS:
        return WeightedSum(terms=[{"name": name, **arguments}])
    if name not in OBJECTIVES:
        raise ValueError(f"no objective {name!r}; there are {', '.join([*OBJECTIVES, *TERMS])}")
    return OBJECTIVES[name](**arguments)
