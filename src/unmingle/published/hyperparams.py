"""Reading SpeechBrain's hyperparams.yaml as plain values. In its own language, HyperPyYAML, a file makes
objects of any class and calls any function; here a tag becomes a record of what it names, and one that names
anything but what is listed is refused.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unmingle.errors import InputError

LARGEST_BYTES = 100_000
DEEPEST = 10  # references that lead to a reference
MODELS = "speechbrain.lobes.models."
#: What may be named: networks, and what a training needs, of which nothing is read.
KNOWN = {
    "new": (
        f"{MODELS}dual_path.Encoder",
        f"{MODELS}dual_path.Decoder",
        f"{MODELS}dual_path.SBTransformerBlock",
        f"{MODELS}dual_path.Dual_Path_Model",
        f"{MODELS}resepformer.SBTransformerBlock_wnormandskip",
        f"{MODELS}resepformer.ResourceEfficientSeparator",
        "speechbrain.utils.parameter_transfer.Pretrainer",
        "speechbrain.utils.checkpoints.Checkpointer",
        "speechbrain.utils.epoch_loop.EpochCounter",
        "speechbrain.utils.train_logger.FileTrainLogger",
        "speechbrain.nnet.schedulers.ReduceLROnPlateau",
        "speechbrain.lobes.augment.TimeDomainSpecAugment",
        "speechbrain.processing.speech_augmentation.SpeedPerturb",
        "speechbrain.augment.time_domain.SpeedPerturb",
        "speechbrain.augment.time_domain.DropFreq",
        "speechbrain.augment.time_domain.DropChunk",
    ),
    "name": ("torch.optim.Adam", "speechbrain.nnet.losses.get_si_snr_with_pitwrapper"),
    "apply": (
        "torch.manual_seed",
        "torch.cuda.manual_seed_all",
        "random.seed",
        "numpy.random.seed",
        "speechbrain.utils.seed_everything",
    ),
}


@dataclass(frozen=True)
class Made:
    """What `!new:`, `!name:` or `!apply:` names, and its arguments; nothing was made."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Reference:
    """What `!ref` says."""

    text: str


class PlainLoader(yaml.SafeLoader):
    """PyYAML's loader of plain values, to which a known tag is a `Made` or a `Reference`."""

    def tagged(self, suffix: str, node: yaml.Node) -> Made | Reference:
        """The record of a tag; YAMLError names one that is not known."""
        kind, _, name = suffix.partition(":")
        if suffix == "ref" and isinstance(node, yaml.ScalarNode):
            return Reference(str(self.construct_scalar(node)))
        if name not in KNOWN.get(kind, ()):
            raise yaml.YAMLError(f"names !{suffix:.80}, which is not known here, and not run")
        given = self.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else {}
        return Made(name, {str(key): value for key, value in given.items()})


PlainLoader.add_multi_constructor("!", PlainLoader.tagged)


class Hyperparams(dict[str, Any]):
    """The entries of a hyperparams.yaml, of plain values, `Made` and `Reference`."""

    path: Path

    @classmethod
    def read(cls, path: Path) -> "Hyperparams":
        """The entries of a file; InputError if it cannot be read, or names what is not known."""
        try:
            if not path.is_file():
                raise InputError(f"{path}: no such file; give the whole folder as SpeechBrain wrote it")
            if path.stat().st_size > LARGEST_BYTES:
                raise InputError(f"{path}: larger than {LARGEST_BYTES // 1000} kB; not opened")
            text = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            values = yaml.load(text, PlainLoader)
        except Exception as error:  # whatever a damaged file leads to
            said = " ".join(str(error).split())
            raise InputError(
                f"{path}: {said:.160}" if said.startswith("names !") else f"{path}: no YAML ({said:.120})"
            ) from None
        if not isinstance(values, dict):
            raise InputError(
                f"{path}: no hyperparams.yaml of SpeechBrain, which is a list of names and values"
            )
        entries = cls({str(key): value for key, value in values.items()})
        entries.path = path
        return entries

    def error(self, what: str) -> InputError:
        """An error about this file."""
        return InputError(f"{self.path}: {what}")

    def resolve(self, value: Any) -> Any:
        """A value, after the references that lead to it; InputError if one leads nowhere."""
        for _ in range(DEEPEST):
            if not isinstance(value, Reference):
                return value
            name = re.fullmatch(r"<([\w-]+)>", value.text.strip())
            if name is None or name[1] not in self:
                raise self.error(f"!ref {value.text!r:.40} is not the name of another entry")
            value = self[name[1]]
        raise self.error("references that lead to themselves")

    def modules(self, names: Iterable[str]) -> dict[str, Made]:
        """What stands under `modules` by these names; InputError if one is missing."""
        modules = self.get("modules")
        found = {}
        for name in names:
            made = self.resolve(modules.get(name)) if isinstance(modules, Mapping) else None
            if not isinstance(made, Made):
                raise self.error(f"has no {name} among its modules; give the file as SpeechBrain wrote it")
            found[name] = made
        return found
