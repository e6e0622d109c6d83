"""What others have published: `table.yaml` as values."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from unmingle.errors import UsageError
from unmingle.facts import Task

TABLE = Path(__file__).parent / "table.yaml"
#: What each format is. The module of that name beside this one has `read(path, sample_rate)`: an `Imported`.
FORMATS = {
    "asteroid": "file that torch.save(model.serialize(), PATH) wrote",
    "clearervoice": "folder with last_best_checkpoint and the file that it names, or that file",
    "deepfilternet": "archive DeepFilterNet3_onnx.tar.gz",
    "dtln": "folder with model_1.onnx and model_2.onnx",
    "gtcrn": "file of the weights, or of a dict that has them as model",
    "speechbrain": "folder with hyperparams.yaml, encoder.ckpt, masknet.ckpt and decoder.ckpt",
    "tiger": "folder with config.json and model.safetensors, as save_pretrained(FOLDER) wrote it",
    "torchaudio": "file with the weights of its conv_tasnet_base",
}


@dataclass(frozen=True)
class Download:
    """Where a checkpoint is.

    Attributes:
        format: the project that wrote it, see `FORMATS`.
        repository: there.
        revision: the commit, which settles the file's content.
        files: their names there; of several, the folder that holds them is the checkpoint.
        sha256: of each file of which it is known here; of all that are on GitHub.
        host: "huggingface" or "github".
    """

    format: str
    repository: str
    revision: str
    files: list[str]
    sha256: dict[str, str] = field(default_factory=dict)
    host: Literal["huggingface", "github"] = "huggingface"


@dataclass(frozen=True)
class Published:
    """A model of others. None and "unknown" are facts that could not be verified.

    Attributes:
        name: by which `unmingle get` knows it.
        network: its architecture.
        task, n_src, sample_rate, parameters: as a card has them.
        si_sdri_db: what its authors measured [dB], on `set`.
        licence: of code, weights and data.
        size_mb: of the download [MB].
        source: a page about it.
        download: None where it cannot be converted, and then
        why_not: says what is missing.
    """

    name: str
    network: str
    task: Task
    n_src: int | None
    sample_rate: int | None
    parameters: int | None
    si_sdri_db: float | None
    set: str
    licence: dict[str, str]
    size_mb: float | None
    source: str
    download: Download | None = None
    why_not: str = ""


@lru_cache
def published() -> list[Published]:
    """All rows of the table, in its order."""
    rows: list[dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [
        Published(**{**row, "download": Download(**row["download"]) if "download" in row else None})
        for row in rows
    ]


def find_published(name: str) -> Published:
    """The row of that name; UsageError says which name is like it, and where all are."""
    for row in published():
        if row.name == name:
            return row
    like = get_close_matches(name.lower(), [row.name for row in published()], 1, 0.6)
    similar = f"did you mean {like[0]}? " if like else ""
    raise UsageError(f"no published model {name!r}; {similar}see unmingle models --available")
