"""What is measured: models, oracles, baselines and the mixture itself, behind one call."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unmingle.beamforming import BEAMFORMERS, beamform
from unmingle.catalog import check, count_text, offered
from unmingle.data.mixture import Mixture
from unmingle.errors import UsageError
from unmingle.evaluation.baselines import BASELINES, baseline
from unmingle.evaluation.oracles import ORACLES, oracle
from unmingle.facts import Task
from unmingle.inference.arrays import enhance, separate
from unmingle.runtime.loading import load
from unmingle.runtime.separator import Separator

MIXTURE = "mixture"
ORACLE_MVDR = "oracle-mvdr"  # masks are those of the references


@dataclass(frozen=True)
class System:
    """Whatever returns estimates for the mixtures of a set: a model, a beamformer, an oracle, which knows the
    references, a baseline, or the mixture itself.

    Attributes:
        name: of the weights, a key of `BEAMFORMERS`, `ORACLES` or `BASELINES`, "oracle-mvdr" or "mixture".
        run: a mixture becomes estimates `(S, T)`.
        separator: the model, or what a beamformer has its masks from; None for the others, whose speed means
            nothing.
    """

    name: str
    run: Callable[[Mixture], np.ndarray]
    separator: Separator | None = None


def system(model: str, speakers: int, backend: str = "auto") -> System:
    """The system of that name; for a model, as `load`, whose errors it raises.

    Args:
        model: what `load` takes; a key of `BEAMFORMERS`, for which the default separator makes the masks, of
            `ORACLES` or `BASELINES`; "oracle-mvdr" or "mixture".
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
    if model == ORACLE_MVDR:
        return System(model, lambda item: _beamformed("mvdr", item, item.sources))
    if model.startswith("oracle") and model not in ORACLES:
        raise UsageError(f"no {model!r}; there are {', '.join([*ORACLES, ORACLE_MVDR])}")
    if model in ORACLES:
        return System(model, lambda item: oracle(model, item.mixture[0], item.sources, item.sample_rate))
    if model in BEAMFORMERS:
        separator = load(task="enhance" if speakers == 1 else "separate", speakers=speakers, backend=backend)
        masks = _separated(separator, speakers)
        return System(model, lambda item: _beamformed(model, item, masks(item)), separator)
    separator = load(model, backend=backend)
    facts = separator.facts
    if speakers > 1 and not facts.serves(speakers):
        enhances = facts.task == "enhance"
        does = "takes one voice out of noise" if enhances else f"separates {count_text(facts)} speakers"
        remedy = f"choose from: {offered('separate', speakers)}"
        raise UsageError(f"model {separator.name} {does}, and this set has {speakers} speakers; {remedy}")
    one_face = speakers == 1 and facts.cues  # a voice of which it is told whose it is
    task: Task | None = "enhance" if speakers == 1 and not one_face else None
    check(facts, separator.name, task=task, speakers=speakers)
    separator = separator.for_speakers(speakers)
    return System(separator.name, _separated(separator, speakers), separator)


def _separated(separator: Separator, speakers: int) -> Callable[[Mixture], np.ndarray]:
    """What a model makes of a mixture; one of one microphone hears the first, at which the references are."""

    def run(item: Mixture) -> np.ndarray:
        heard = item.mixture[:1] if separator.facts.n_mics == 1 else item.mixture
        cues = {cue.name: item.cues[cue.name] for cue in separator.facts.cues if cue.name in item.cues}
        if separator.facts.task == "enhance":
            return enhance(heard, item.sample_rate, separator, cues=cues)[None]
        return separate(heard, item.sample_rate, speakers, separator, cues=cues)

    return run


def _beamformed(name: str, item: Mixture, estimates: np.ndarray) -> np.ndarray:
    if len(item.mixture) == 1:
        raise UsageError(
            f"{name} needs several microphones, and {item.id} has one; take it on a set of several channels"
        )
    return beamform(name, item.mixture, estimates)
