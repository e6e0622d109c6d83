"""What is measured: models, oracles, baselines and the mixture itself, behind one call."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unmingle.catalog import check
from unmingle.data.mixture import Mixture
from unmingle.errors import UsageError
from unmingle.evaluation.baselines import BASELINES, baseline
from unmingle.evaluation.oracles import ORACLES, oracle
from unmingle.facts import Task
from unmingle.inference.arrays import enhance, separate
from unmingle.runtime.loading import load
from unmingle.runtime.separator import Separator

MIXTURE = "mixture"


@dataclass(frozen=True)
class System:
    """Whatever returns estimates for the mixtures of a set: a model, an oracle, which knows the references, a
    baseline, or the mixture itself.

    Attributes:
        name: of the weights, a key of `ORACLES` or `BASELINES`, or "mixture".
        run: a mixture becomes estimates `(S, T)`.
        separator: the model; None for the others, whose speed means nothing.
    """

    name: str
    run: Callable[[Mixture], np.ndarray]
    separator: Separator | None = None


def system(model: str, speakers: int, backend: str = "auto") -> System:
    """The system of that name; for a model, as `load`, whose errors it raises.

    Args:
        model: what `load` takes, a key of `ORACLES` or `BASELINES`, or "mixture".
        speakers: how many voices it is to return.
        backend: see `unmingle.runtime.load`.
    """
    if model == MIXTURE:
        return System(model, lambda item: np.repeat(item.mixture[:1], speakers, axis=0))
    if model in BASELINES:
        if speakers != 1:
            raise UsageError(
                f"{model} returns one voice, and this set has {speakers}; "
                "take it on a set of one voice and noise"
            )
        run = baseline(model)
        return System(model, lambda item: run(item.mixture[0], item.sample_rate)[None])
    if model.startswith("oracle") and model not in ORACLES:
        raise UsageError(f"no {model!r}; there are {', '.join(ORACLES)}")
    if model in ORACLES:
        return System(model, lambda item: oracle(model, item.mixture[0], item.sources, item.sample_rate))
    separator = load(model, backend=backend)
    one_face = speakers == 1 and separator.facts.cues  # a voice of which it is told whose it is
    task: Task | None = "enhance" if speakers == 1 and not one_face else None
    check(separator.facts, separator.name, task=task, speakers=speakers)
    separator = separator.for_speakers(speakers)

    def run_model(item: Mixture) -> np.ndarray:
        cues = {cue.name: item.cues[cue.name] for cue in separator.facts.cues if cue.name in item.cues}
        if separator.facts.task == "enhance":
            return enhance(item.mixture, item.sample_rate, separator, cues=cues)[None]
        return separate(item.mixture, item.sample_rate, speakers, separator, cues=cues)

    return System(separator.name, run_model, separator)
