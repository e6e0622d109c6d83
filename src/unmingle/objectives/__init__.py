"""What training minimises: pure functions and thin classes, called as `objective(separator, batch) → {"loss": …, parts…}`."""

from typing import Any

from torch import nn

from unmingle.objectives.clustering import DeepClusteringObjective
from unmingle.objectives.one_and_rest import OneAndRestObjective
from unmingle.objectives.pit import WaveformPIT
from unmingle.objectives.spectral import SpectrogramPIT

OBJECTIVES: dict[str, type[nn.Module]] = {
    "deep-clustering": DeepClusteringObjective,
    "one-and-rest": OneAndRestObjective,
    "spectrogram-pit": SpectrogramPIT,
    "waveform-pit": WaveformPIT,
}


def build_objective(name: str, **arguments: Any) -> nn.Module:
    """Make an objective by the name that recipes use; ValueError lists the known ones."""
    if name not in OBJECTIVES:
        raise ValueError(f"no objective {name!r}; there are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name](**arguments)
