"""The catalogue: the cards of all models, their defaults, and the one place where a model is chosen."""

import os
import re
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from unmingle.errors import InputError, UsageError
from unmingle.facts import LIPS, MOST_SPEAKERS, Facts, Task

WEIGHTS = Path(__file__).parent / "weights"
PACKAGES = WEIGHTS / "packages.yaml"  # what the data packages of the repository hold
FILES = (".onnx", ".yaml")  # of a model
ENTRY_POINTS = "unmingle.weights"  # the group in which data packages name themselves


@dataclass(frozen=True)
class Card:
    """What stands beside a weights file: what it does, how well, and under which licence.

    Attributes:
        name: by which `resolve` finds it.
        path: of the ONNX file that it stands beside.
        model: its architecture, a name in MODELS.
        facts: see `Facts`.
        parameters: number of trained values.
        size_bytes: of the ONNX file.
        sha256: of the ONNX file; None for weights in training, which have no fixed one.
        measured: rows of set, si_sdri_db, snri_db, n and the command that measured them.
        training: on what, for how long, by which command.
        licence: of code, weights and training data.
        default: whether `load` chooses it for its task and number of speakers.
        config: constructor arguments of the model.
    """

    name: str
    model: str
    facts: Facts
    parameters: int
    size_bytes: int
    sha256: str | None
    measured: list[dict[str, Any]] = field(default_factory=list)
    training: Any = ""
    licence: dict[str, str] = field(default_factory=dict)
    default: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    path: Path = field(default=Path(), compare=False)

    @classmethod
    def read(cls, path: Path) -> "Card":
        """Read a YAML card; InputError names the file and what is missing or unknown."""
        import yaml

        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{path}: not there, and {path.stem}.onnx needs this card beside it; 'unmingle export' "
                "writes both"
            ) from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise InputError(
                f"{path}: cannot read this card ({reason:.100}); 'unmingle export' writes it beside the .onnx"
            ) from None
        known = {entry.name: entry for entry in fields(cls) if entry.name != "path"}
        needed = {
            name
            for name, entry in known.items()
            if entry.default is MISSING and entry.default_factory is MISSING
        }
        wrong = (
            needed ^ (needed & set(values)) | (set(values) - set(known))
            if isinstance(values, dict)
            else needed
        )
        if wrong:
            raise InputError(
                f"{path}: card entries missing or unknown: {', '.join(sorted(wrong))}; 'unmingle export' "
                "writes a whole card"
            )
        try:
            facts = Facts.from_dict(values["facts"])
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path}: {error}; export it again, or use the version of unmingle that wrote it"
            ) from None
        return cls(**{**values, "facts": facts, "path": path.with_suffix(".onnx")})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the YAML file has them."""
        values = {**asdict(self), "facts": self.facts.to_dict()}
        return {key: value for key, value in values.items() if key != "path"}


@lru_cache
def cards() -> list[Card]:
    """The cards of all weights that are installed, in this package and in data packages, sorted by name."""
    files = [path for folder in folders() for path in folder.glob("*.onnx")]
    return sorted((Card.read(path.with_suffix(".yaml")) for path in files), key=lambda card: card.name)


def folders() -> list[Path]:
    """Where weights lie: here, in every installed package that names itself in `ENTRY_POINTS`, and in the
    user's own folder.
    """
    found = [WEIGHTS]
    for entry in entry_points(group=ENTRY_POINTS):
        spec = find_spec(entry.value)
        found += map(Path, spec.submodule_search_locations or ()) if spec else ()
    return [*found, user_folder()]


def user_folder() -> Path:
    """Where imported models lie: `UNMINGLE_MODELS`, or "models" in the user's data folder; it need not be
    there.
    """
    chosen = os.environ.get("UNMINGLE_MODELS")
    return Path(chosen) if chosen else user_data_path("unmingle", appauthor=False) / "models"


def plain_name(name: str) -> str:
    """The name, if files can be called so; UsageError if not."""
    if not re.fullmatch(r"[\w-]+", name):
        raise UsageError(f"name {name!r}: take letters, digits and hyphens; --out says where the files go")
    return name


def remove(name: str) -> None:
    """Delete a model from the user's own folder, even one whose card is damaged; UsageError if there is no
    such model there.
    """
    folder = user_folder()
    there = {path.stem: path.with_suffix(".onnx") for path in folder.glob("*.*") if path.suffix in FILES}
    if name not in there:
        if any(path.stem == name for shipped in folders()[:-1] for path in shipped.glob("*.onnx")):
            raise UsageError(f"{name} ships with unmingle and cannot be removed; what you imported can be")
        names = ", ".join(sorted(there)) or "none"
        raise UsageError(f"no imported model {name!r} in {folder}; there are: {names}")
    try:
        for path in (there[name], there[name].with_suffix(".yaml")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be removed ({error.strerror})") from None
    cards.cache_clear()


@dataclass(frozen=True)
class Elsewhere:
    """A model that a data package of the repository holds.

    Attributes:
        name, model: as a card has them.
        task, n_src: as its facts have them.
        package: which holds it.
    """

    name: str
    model: str
    task: Task
    n_src: int | None
    package: str

    @property
    def remedy(self) -> str:
        """How to get it."""
        return f"pip install ./packages/{self.package} (in a clone of unmingle's repository)"


def not_installed() -> list[Elsewhere]:
    """The models of the repository's data packages that are not installed."""
    import yaml

    installed = {card.name for card in cards()}
    table = yaml.safe_load(PACKAGES.read_text(encoding="utf-8"))
    every = [Elsewhere(**row, package=package) for package, rows in table.items() for row in rows]
    return [model for model in every if model.name not in installed]


def fitting(
    task: Task | None = None,
    speakers: int | None = None,
    *,
    streaming: bool = False,
    cue: str | None = None,
    several_mics: bool = False,
) -> list[Card]:
    """The cards of models for that task and number of speakers, which need just that cue (none unless given),
    of any number of microphones or of one; the defaults first, that of fewer voices before that of more.
    """
    needed = {cue} - {None}
    found = [
        card
        for card in cards()
        if task in (None, card.facts.task)
        and card.facts.serves(speakers)
        and (card.facts.state or not streaming)
        and {each.name for each in card.facts.cues} == needed
        and card.facts.n_mics == (None if several_mics else 1)
    ]
    return sorted(
        found,
        key=lambda card: (not card.default, card.facts.n_src is None, card.default and card.facts.n_src),
    )


def offered(task: Task | None = None, speakers: int | None = None, *, several_mics: bool = False) -> str:
    """Names of the models that fit, for messages."""
    return named(fitting(task, speakers, several_mics=several_mics))


def named(some: Iterable[Card]) -> str:
    """Names of models and what each is for, for messages."""
    names = []
    for card in sorted(some, key=lambda card: card.name):
        count = [] if card.facts.cues else [f"{count_text(card.facts)} speakers"]
        what = ", ".join([*count, *filter(None, [made_for(card.facts)])])
        names.append(card.name if card.facts.task == "enhance" else f"{card.name} ({what})")
    return ", ".join(names) or "none in this package"


def made_for(facts: Facts) -> str:
    """What a separator takes that is more than one channel of sound, in words; "" for nothing."""
    if facts.cues:
        names = [cue.name for cue in facts.cues]
        return "faces in a video" if names == [LIPS] else " and ".join(names)
    return "" if facts.n_mics == 1 else "several microphones"


def count_text(facts: Facts) -> str:
    """How many voices a separator returns, in words."""
    return str(facts.n_src or f"1 to {MOST_SPEAKERS}")


def resolve(
    name: str | Path | None = None,
    *,
    task: Task | None = None,
    speakers: int | None = None,
    streaming: bool = False,
    cue: str | None = None,
    several_mics: bool = False,
) -> Path:
    """Choose a model: the file of its weights. This is the only place where that is done.

    Args:
        name: of a model in the catalogue (`unmingle models`), or the path of an `.onnx` with its `.yaml`
            card beside it, or of a `.safetensors` from training; the default of the catalogue unless given.
        task: which the model must be for; any unless given, and "separate" where no name is given either.
        speakers: how many voices it must return; any unless given.
        streaming: it must separate samples as they come.
        cue: what it must need besides the mixture, by the cue's name; nothing unless given.
        several_mics: it must take several microphones; the default is one that takes any number. Otherwise
            the default takes one.

    Raises:
        UsageError: there is no such model, or none that fits; the message lists what exists.
    """
    if name is None and cue is not None:
        if found := fitting(task, speakers, cue=cue):
            return found[0].path
        raise UsageError(f"no model that is installed needs {cue}; give the weights of one that does")
    if name is None and several_mics:
        if found := fitting(task or "separate", speakers, several_mics=True):
            return found[0].path
        remedy = "give the weights of one that does, or leave the microphones out"
        raise UsageError(f"no model that is installed takes any number of microphones; {remedy}")
    if name is None:
        found = fitting(task or "separate", speakers, streaming=streaming)
        if not found:
            wanted = "enhances" if task == "enhance" else "separates"
            if speakers is not None:
                wanted += f" {speakers} speakers"
            elsewhere = [
                model
                for model in not_installed()
                if model.task == (task or "separate") and speakers == model.n_src and not streaming
            ]
            hint = f"; {elsewhere[0].name} does: {elsewhere[0].remedy}" if elsewhere else ""
            wanted += " as samples come" * streaming
            raise UsageError(f"no model {wanted}; there are: {offered(task)}{hint}")
        return found[0].path
    by_name = {card.name: card for card in cards()}
    if str(name) in by_name:
        facts = by_name[str(name)].facts
        check(facts, str(name), task=task, speakers=speakers, streaming=streaming, several_mics=several_mics)
        return by_name[str(name)].path
    for model in not_installed():
        if model.name == str(name):
            raise UsageError(f"model {name} is in the package {model.package}; {model.remedy}")
    path = Path(name)
    if path.suffix not in (".onnx", ".safetensors"):
        there = named(card for card in cards() if task in (None, card.facts.task))
        similar = "".join(
            f"did you mean {like}? " for like in get_close_matches(str(name).lower(), by_name, 1, 0.7)
        )
        remedy = (
            "or give the path of an .onnx or .safetensors file; 'unmingle models --available' lists those of "
            "others"
        )
        raise UsageError(f"no model {str(name)!r}; {similar}there are: {there}; {remedy}")
    if not path.is_file():
        raise UsageError(f"{path}: no such weights file; shipped are: {offered(task)}")
    return path


def check(
    facts: Facts,
    name: str,
    *,
    task: Task | None = None,
    speakers: int | None = None,
    streaming: bool = False,
    several_mics: bool = False,
) -> None:
    """UsageError if a model of that name does not fit; the message says what to choose instead."""
    if task is not None and facts.task != task:
        does = "takes one voice out of noise" if task == "separate" else "tells voices apart"
        raise UsageError(f"model {name} {does}, it does not {task}; choose from: {offered(task)}")
    if not facts.serves(speakers):
        others = f"choose from: {offered('separate', speakers)}"
        if facts.task == "enhance":
            raise UsageError(f"model {name} takes one voice out of noise, not {speakers} apart; {others}")
        own = count_text(facts)
        remedy = f"ask for {own} speakers, or {others}"
        raise UsageError(f"model {name} separates {own} speakers, not {speakers}; {remedy}")
    if several_mics and facts.n_mics == 1:
        names = offered(task, several_mics=True)
        remedy = f"leave the microphones out, or choose a model for several: {names}"
        raise UsageError(f"model {name} takes one microphone, not several; {remedy}")
    if streaming and not facts.state:
        names = ", ".join(card.name for card in fitting(streaming=True)) or "none in this package"
        why = (
            "was exported without the state that goes from call to call"
            if facts.causal
            else "needs what follows"
        )
        raise UsageError(f"{name} does not stream, it {why}; choose from: {names}")
