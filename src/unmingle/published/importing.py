"""`import_checkpoint()`: a checkpoint of another project becomes a model of the user's own folder."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from unmingle.catalog import cards, not_installed, plain_name, user_folder
from unmingle.console import stage
from unmingle.errors import InputError, UsageError
from unmingle.published.table import FORMATS

NEEDED = ("torch", "onnx", "onnxruntime", "safetensors")
RESERVED = ("all", "gev", "mixture", "mvdr", "noisereduce", "rnnoise")  # mean something else to `evaluate`
UNKNOWN = {"code": "MIT", "weights": "not stated", "data": "not stated"}


def import_checkpoint(
    path: str | Path,
    *,
    format: str,
    name: str | None = None,
    out: Path | None = None,
    sample_rate: int | None = None,
    training: str = "",
    licence: dict[str, str] | None = None,
) -> Path:
    """Write `name`.onnx, which runs without PyTorch, and its card, into the user's own folder, where every
    command finds it by its name.

    The checkpoint is read as data (`published.checkpoints`). The ONNX file holds its weights unrounded and is
    compared with PyTorch at three lengths. Where what a network returns has no level of its own, one gain per
    chunk fits the sum of the voices to the mixture (`heads.as_loud`).

    Args:
        path: of the checkpoint, a file or a folder as the project writes it.
        format: the project that wrote it, one of `FORMATS`.
        name: of the model; that of the file unless given.
        out: folder for the files instead of the user's own.
        sample_rate: of checkpoints that do not say it [Hz].
        training, licence: for the card.

    Returns:
        The card's path.

    Raises:
        UsageError: the format is unknown; the name is taken, or is none; PyTorch is missing.
        InputError: the file cannot be converted; nothing is left behind.
    """
    if format not in FORMATS:
        raise UsageError(f"--format {format}: unknown; choose from {', '.join(FORMATS)}")
    need_packages()
    from unmingle.training.export import write_model

    path = Path(path)
    name = free_name(path.stem.removesuffix(".tar") if name is None else name, out)
    stage(f"reading {path.name}")
    model, facts, sha256 = import_module(f"unmingle.published.{format}").read(path, sample_rate)
    final = (out or user_folder()) / f"{name}.onnx"
    origin = f"not by unmingle: imported from {path.name} ({format}, SHA-256 {sha256})"
    try:
        card = write_model(
            model,
            final,
            facts=facts,
            recipe={},
            source=path,
            measured=[],
            training="; ".join(filter(None, [origin, training])),
            licence=licence or UNKNOWN,
        )
    except OSError as error:
        raise InputError(f"{final}: cannot be written ({error.strerror}); choose another --out") from None
    cards.cache_clear()
    return card


def need_packages(*more: str) -> None:
    """UsageError if a package is missing that importing needs, or one of `more`."""
    if missing := [name for name in (*NEEDED, *more) if not find_spec(name)]:
        raise UsageError(f"this needs {', '.join(missing)}: pip install 'unmingle[hub]'")


def free_name(name: str, out: Path | None = None) -> str:
    """The name, if it is plain and no model is called so; UsageError if not."""
    plain_name(name)
    if name in RESERVED or name.startswith("oracle"):
        raise UsageError(f"{name} means something else to 'unmingle evaluate'; choose another --name")
    if any(model.name == name for model in not_installed()):
        raise UsageError(f"{name} is a model of unmingle that is not installed; choose another --name")
    if out is None and any(card.name == name for card in cards()):
        if (user_folder() / f"{name}.onnx").is_file():
            raise UsageError(f"{name} is there already; remove it first: unmingle remove {name}")
        raise UsageError(f"{name} is a model that is installed; choose another --name")
    if out is not None and (out / f"{name}.onnx").exists():
        raise UsageError(f"{out / name}.onnx: exists already; choose another --name or --out")
    return name
