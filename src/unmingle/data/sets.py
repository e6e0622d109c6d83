"""Sets of mixtures on disk: a CSV that names voices and gains, a LibriMix folder, or what `unmingle mix` wrote."""

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from unmingle.console import track
from unmingle.data.corpora import AUDIO_SUFFIXES
from unmingle.data.mixer import Mixer, Mixture
from unmingle.data.recipe import DataRecipe
from unmingle.errors import InputError

MIXTURE_FOLDERS = ("mix_clean", "mix_both", "mix_single", "mix")


@dataclass(frozen=True)
class Entry:
    """One mixture of a set, read when it is asked for."""

    id: str
    read: Callable[[], Mixture]


def read_set(path: str | Path, speech: str | Path | None = None) -> list[Entry]:
    """List the mixtures of a set.

    Args:
        path: a CSV with the columns `mixture_id`, `samples` and, per voice, `source_1_path`, `source_1_gain`, …; or a folder with `s1`, `s2`, …
            and `mix_clean`, `mix_both` or `mix` in it (LibriMix, or written by `unmingle mix`).
        speech: for a CSV, the folder that its paths start from. Where a path is not there, its utterance is looked for by its name anywhere
            below, as it lies in the public corpus. The CSV's own folder unless given.

    Raises:
        InputError: what is missing, where it was expected, and the remedy.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError(f"{path}: no such CSV or folder of mixtures")
    return _csv(path, Path(speech) if speech is not None else path.parent)


def _csv(path: Path, root: Path) -> list[Entry]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = rows[0].keys() if rows else ()
    n_src = len([column for column in columns if re.fullmatch(r"source_\d+_path", column)])
    if not n_src or not {"mixture_id", "samples"} <= set(columns):
        raise InputError(f"{path}: not a set of mixtures; expected the columns mixture_id, samples, source_1_path, source_1_gain, …")
    by_name: dict[str, Path] = {}

    def find(name: str) -> Path:
        if (root / name).is_file():
            return root / name
        if not by_name:
            by_name.update({found.stem: found for found in root.rglob("*") if found.suffix.lower() in AUDIO_SUFFIXES})
        if Path(name).stem not in by_name:
            raise InputError(f"{root}: has no {name} nor an utterance {Path(name).stem}; give the corpus that {path.name} names with --speech FOLDER")
        return by_name[Path(name).stem]

    def entry(row: dict[str, str]) -> Entry:
        paths = [find(row[f"source_{k}_path"]) for k in range(1, n_src + 1)]
        gains = [float(row[f"source_{k}_gain"]) for k in range(1, n_src + 1)]
        length = int(row["samples"])

        def read() -> Mixture:
            voices, rates = zip(*(_read(path) for path in paths), strict=True)
            sources = np.stack([voice[:length] * np.float32(gain) for voice, gain in zip(voices, gains, strict=True)])
            return Mixture(sources, np.zeros(length, np.float32), rates[0], row["mixture_id"], [path.parent.name for path in paths])

        return Entry(row["mixture_id"], read)

    return [entry(row) for row in rows]


def _folder(path: Path) -> list[Entry]:
    sources = sorted(folder for folder in path.iterdir() if re.fullmatch(r"s\d+", folder.name) and folder.is_dir())
    mixtures = next((path / name for name in MIXTURE_FOLDERS if (path / name).is_dir()), None)
    if not sources or mixtures is None:
        there = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        expected = f"the folders s1, s2, … and one of {', '.join(MIXTURE_FOLDERS)} (LibriMix, for example wav16k/min/test)"
        raise InputError(f"{path}: expected {expected}; found {there}")
    files = sorted(file for file in mixtures.iterdir() if file.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise InputError(f"{mixtures}: no audio files in it")

    def entry(file: Path) -> Entry:
        paths = [folder / file.name for folder in sources]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing is not None:
            raise InputError(f"{missing}: not there, though {file} is; the set is incomplete")

        def read() -> Mixture:
            mixture, rate = _read(file)
            voices = np.stack([_read(path)[0] for path in paths])
            return Mixture(voices, mixture - voices.sum(axis=0), rate, file.stem)

        return Entry(file.stem, read)

    return [entry(file) for file in files]


def _read(path: Path) -> tuple[np.ndarray, int]:
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: cannot be decoded ({error.error_string})") from None
    return samples.mean(axis=1), rate


def write_set(data: DataRecipe, out: Path, n_items: int, *, overwrite: bool = False) -> None:
    """Draw `n_items` mixtures as a recipe's data part says and write them as a folder that `read_set` reads.

    It holds `mix_clean/` (`mix_both/` where there may be noise, with `noise/`), `s1/`, `s2/`, … as 32-bit float WAV, `set.json` with how
    they were drawn, and `SHA256SUMS` of the samples. The folder appears whole or not at all.

    Raises:
        InputError: `out` exists and `overwrite` is not set, or the corpora cannot be read.
    """
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already; add --overwrite or choose another --out")
    try:
        speech, noise = data.decode(data.voices(data.split), "voices"), data.noises(data.split)
        mixer = Mixer(speech, noise, seed=data.seed, n_items=n_items, length_s=data.length_s, **data.drawing())
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from None
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    mixtures = beside / ("mix_both" if noise is not None else "mix_clean")
    sums = []
    try:
        for index in track(range(n_items), "mixing"):
            item = mixer[index]
            parts = {mixtures: item.mixture, **{beside / f"s{row + 1}": source for row, source in enumerate(item.sources)}}
            if noise is not None:
                parts[beside / "noise"] = item.noise
            for folder, samples in parts.items():
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{item.id}.wav"
                soundfile.write(file, samples, item.sample_rate, "FLOAT")
                sums.append(f"{hashlib.sha256(samples.tobytes()).hexdigest()}  {file.relative_to(beside).as_posix()}")
        (beside / "set.json").write_text(json.dumps({"n_items": n_items, **asdict(data)}, indent=1), encoding="utf-8")
        (beside / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
