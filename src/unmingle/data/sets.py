"""Sets of mixtures on disk: a CSV, a folder as WSJ0-2mix, LibriMix, WHAM! and WHAMR! have it, or what `unmingle mix` wrote."""

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from unmingle.console import track
from unmingle.data.corpora import AUDIO_SUFFIXES
from unmingle.data.mixer import Mixer, Mixture
from unmingle.data.recipe import DataRecipe
from unmingle.errors import InputError, UsageError

# The folders of mixtures, by which a set is known. The clean ones first: the first that is there is read if none is asked for.
TASKS = ("mix_clean", "mix", "mix_clean_anechoic", "mix_clean_reverb", "mix_both", "mix_both_anechoic", "mix_both_reverb", "mix_single",
         "mix_single_anechoic", "mix_single_reverb")  # fmt: skip
DEPTH = 4  # of a set below the folder in which a corpus lies: Libri2Mix/wav16k/min/test


@dataclass(frozen=True)
class Entry:
    """One mixture of a set, read when it is asked for."""

    id: str
    read: Callable[[], Mixture]


def read_set(path: str | Path, speech: str | Path | None = None, task: str | None = None, first: int | None = None) -> list[Entry]:
    """List the mixtures of a set.

    Args:
        path: one of

            - a CSV with the columns `mixture_id`, `samples` and, per voice, `source_1_path`, `source_1_gain`, …;
            - a CSV that LibriMix wrote beside its mixtures (`metadata/mixture_test_mix_clean.csv`), also after the corpus was moved as a whole;
            - a folder with voices (`s1`, `s2`, …; in WHAMR! `s1_anechoic`, …) and one or more of the folders in `TASKS`: WSJ0-2mix and -3mix,
              LibriMix, WHAM! and WHAMR! as they come on disk, or written by `unmingle mix`.
        speech: for a CSV, the folder that its paths start from. Where a path is not there, its utterance is looked for by its name anywhere
            below, as it lies in the public corpus. The CSV's own folder unless given.
        task: for a folder, which of its mixtures; the first of `tasks(path)` unless given. A "single" mixture has one voice, `s1`. The references
            of WHAMR!'s reverberant mixtures are its anechoic voices, as in the published tables.
        first: only so many mixtures; the files of the others need not be there.

    Raises:
        InputError: what is missing, where it was expected, and the remedy.
        UsageError: the set has no such task.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, task, first)
    if not path.is_file():
        raise InputError(f"{path}: no such CSV or folder of mixtures")
    if task is not None:
        raise UsageError(f"--task {task}: {path} is a CSV, whose mixtures are fixed; leave --task out")
    return _csv(path, Path(speech) if speech is not None else path.parent, first)


def tasks(path: str | Path) -> list[str]:
    """The mixtures between which `read_set` can choose in a folder, its default first; none for a CSV."""
    return [name for name in TASKS if (Path(path) / name).is_dir()]


def _csv(path: Path, root: Path, first: int | None) -> list[Entry]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:first]
    columns = set(rows[0]) if rows else set()
    n_src = len([column for column in columns if re.fullmatch(r"source_\d+_path", column)])
    if n_src and {"mixture_ID", "mixture_path", "length"} <= columns:
        return [_librimix_row(row, n_src, path, root) for row in rows]
    if n_src and {"mixture_ID", "source_1_gain"} <= columns:
        raise InputError(f"{path}: LibriMix metadata, from which mixtures are yet to be built: unmingle mix librimix {path} --speech LibriSpeech/")
    if not n_src or not {"mixture_id", "samples"} <= columns:
        expected = "mixture_id, samples, source_1_path, source_1_gain, … (or LibriMix's mixture_ID, mixture_path, source_1_path, …, length)"
        found = ", ".join(rows[0]) if rows else "no rows"
        raise InputError(f"{path}: not a set of mixtures; expected the columns {expected}; found {found}")
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


def _librimix_row(row: dict[str, str], n_src: int, path: Path, root: Path) -> Entry:
    def find(name: str) -> Path:
        # LibriMix writes absolute paths; where its folder was moved, subset/part/file still lies beside metadata/.
        return root / name if (root / name).is_file() else path.parent.parent / Path(*Path(name).parts[-3:])

    sources = [find(row[f"source_{k}_path"]) for k in range(1, n_src + 1)]
    return _entry(row["mixture_ID"], find(row["mixture_path"]), sources, named_in=path)


def _folder(path: Path, task: str | None, first: int | None) -> list[Entry]:
    known = tasks(path)
    if known and task is not None and task not in known:
        raise UsageError(f"--task {task}: not in {path}; choose from {', '.join(known)}")
    task = task or next(iter(known), "")
    voice = rf"s\d+{'_anechoic' if task.endswith(('_anechoic', '_reverb')) else ''}"
    sources = sorted(folder for folder in path.iterdir() if re.fullmatch(voice, folder.name) and folder.is_dir())
    if not known or not sources:
        raise InputError(_what_is_wrong(path))
    files = sorted(file for file in (path / task).iterdir() if file.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise InputError(f"{path / task}: no audio files in it")
    if task.startswith("mix_single"):
        sources = sources[:1]
    return [_entry(file.stem, file, [folder / file.name for folder in sources], named_in=file) for file in files[:first]]


def _what_is_wrong(path: Path) -> str:
    """Why a folder is not a set: it holds sets, it is part of one, or it is something else."""
    below = [] if tasks(path) else [found.relative_to(path).as_posix() for found in _sets_below(path)]
    if below:
        return f"{path}: choose one of {', '.join(below[:20])}{', …' if len(below) > 20 else ''}"
    if tasks(path.parent):
        return f"{path}: only a part of the set; give {path.parent}"
    there = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    expected = "the folders s1, s2, … and mix_clean, mix_both, mix_single or mix (LibriMix wav16k/min/test, WSJ0-2mix 2speakers/wav8k/min/tt, WHAM!)"
    return f"{path}: expected {expected}, or in WHAMR! s1_anechoic, … and mix_clean_anechoic, …; found {there}"


def _sets_below(path: Path) -> Iterator[Path]:
    for name, folders, _ in os.walk(path):
        folder = Path(name)
        if tasks(folder):
            yield folder
        if tasks(folder) or len(folder.relative_to(path).parts) == DEPTH:
            folders.clear()
        folders.sort()


def _entry(id: str, file: Path, sources: list[Path], named_in: Path) -> Entry:
    """A mixture whose voices lie in files of their own; what they do not explain of it is its noise."""
    missing = next((path for path in (file, *sources) if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing}: not there, though {named_in} is; the set is incomplete")

    def read() -> Mixture:
        mixture, rate = _read(file)
        voices = [_read(path)[0] for path in sources]
        odd = next((path for path, voice in zip(sources, voices, strict=True) if len(voice) != len(mixture)), None)
        if odd is not None:
            raise InputError(f"{odd}: not as long as {file} ({len(mixture)} samples); the set is damaged, build it again")
        return Mixture(np.stack(voices), mixture - np.sum(voices, axis=0), rate, id)

    return Entry(id, read)


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
