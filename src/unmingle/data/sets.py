"""Sets of mixtures on disk: a CSV, a folder as WSJ0-2mix, LibriMix, WHAM! and WHAMR! have it, what `unmingle
mix` wrote, or plain recordings.
"""

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from unmingle.console import track
from unmingle.data.corpora import CORPUS_SUFFIXES
from unmingle.data.entries import CUES, MixedEntry, MixtureEntry, RecordedEntry, RoomEntry
from unmingle.data.mixer import TONE
from unmingle.data.mixture import Mixture
from unmingle.data.rooms import Room, point
from unmingle.data.video_corpora import PICTURE_SUFFIXES
from unmingle.errors import InputError, UsageError
from unmingle.facts import LIPS

if TYPE_CHECKING:
    from unmingle.data.recipe import DataRecipe

# The folders of mixtures, by which a set is known. The clean ones first: the first that is there is read if
# none is asked for.
TASKS = (
    "mix_clean",
    "mix",
    "mix_clean_anechoic",
    "mix_clean_reverb",
    "mix_both",
    "mix_both_anechoic",
    "mix_both_reverb",
    "mix_single",
    "mix_single_anechoic",
    "mix_single_reverb",
)
ALL = "all"  # the task that is every task of a CSV
DEPTH = 4  # of a set below the folder in which a corpus lies: Libri2Mix/wav16k/min/test


def read_set(
    path: str | Path, speech: str | Path | None = None, task: str | None = None, first: int | None = None
) -> list[MixtureEntry]:
    """List the mixtures of a set.

    Args:
        path: one of

            - a CSV with the columns `mixture_id`, `samples` and, per voice, `source_1_path`, `source_1_gain`,
              …; for noise `noise_path`,
              `noise_gain` and `noise_start` [samples] (see `noise_passage`); for rooms `room_seed` and
              `t60_s` [s], where the references stay the dry voices and what a room adds to them is noise; for
              several microphones also `room_size`, `source_1_place`, …, `noise_place`, `mic_1_place`, … [m],
              where the references are the voices in the room at the first microphone;
              `task`, `kind` and `snr_db` [dB] to say what a mixture is; `source_1_text`, … for
              what is said in it;
            - a CSV that LibriMix wrote beside its mixtures (`metadata/mixture_test_mix_clean.csv`), also
              after the corpus was moved as a whole;
            - a folder with voices (`s1`, `s2`, …; in WHAMR! `s1_anechoic`, …) and one or more of the folders
              in `TASKS`: WSJ0-2mix and -3mix,
              LibriMix, WHAM! and WHAMR! as they come on disk, or written by `unmingle mix`. Mixtures may
              have several channels, and `cues/NAME/ID.npy` beside them is the cue NAME of the mixture ID.
        speech: for a CSV, the folder that its paths start from. Where a path is not there, its utterance is
            looked for by its name anywhere below, as it lies in the public corpus. The CSV's own folder
            unless given.
        task: which of the mixtures; the first of `tasks(path)` unless given. A "single" mixture has one
            voice, `s1`. The references of WHAMR!'s reverberant mixtures are its anechoic voices, as in the
            published tables.
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
    return _csv(path, Path(speech) if speech is not None else path.parent, task, first)


def read_plain(path: str | Path, first: int | None = None) -> list[MixtureEntry]:
    """The recordings that lie in a folder which is no set, nor a part of one, nor holds any, as mixtures of
    unknown sources: all of it is noise.

    There are none if `path` is something else. Raises InputError when one is read that cannot be decoded.
    """
    path = Path(path)
    if not path.is_dir() or tasks(path) or tasks(path.parent):
        return []
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in CORPUS_SUFFIXES)
    if not files or any(_sets_below(path)):
        return []

    return [RecordedEntry(file.name, file) for file in files[:first]]


def tasks(path: str | Path) -> list[str]:
    """The mixtures between which `read_set` can choose, its default first: folders, or tasks of a CSV, which
    also has "all" of several.
    """
    path = Path(path)
    if not path.is_file():
        return [name for name in TASKS if (path / name).is_dir()]
    names = list(dict.fromkeys(row["task"] for row in _rows(path) if row.get("task")))
    return [*names, ALL] if len(names) > 1 else names


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _csv(path: Path, root: Path, task: str | None, first: int | None) -> list[MixtureEntry]:
    known = tasks(path)
    if task is not None and not known:
        raise UsageError(f"--task {task}: {path} is a CSV, whose mixtures are fixed; leave --task out")
    if task is not None and task not in known:
        raise UsageError(f"--task {task}: not in {path}; choose from {', '.join(known)}")
    task = task or next(iter(known), ALL)
    rows = [row for row in _rows(path) if task in (ALL, row.get("task"))][:first]
    columns = set(rows[0]) if rows else set()
    n_src = len([column for column in columns if re.fullmatch(r"source_\d+_path", column)])
    if n_src and {"mixture_ID", "mixture_path", "length"} <= columns:
        return [_librimix_row(row, n_src, path, root) for row in rows]
    if n_src and {"mixture_ID", "source_1_gain"} <= columns:
        raise InputError(
            f"{path}: LibriMix metadata, from which mixtures are yet to be built: unmingle mix librimix "
            f"{path} --speech LibriSpeech/"
        )
    if not n_src or not {"mixture_id", "samples"} <= columns:
        expected = (
            "mixture_id, samples, source_1_path, source_1_gain, … (or LibriMix's mixture_ID, mixture_path, "
            "source_1_path, …, length)"
        )
        found = ", ".join(rows[0]) if rows else "no rows"
        raise InputError(f"{path}: not a set of mixtures; expected the columns {expected}; found {found}")
    by_name: dict[str, Path] = {}

    def find(name: str) -> Path:
        if (root / name).is_file():
            return root / name
        if not by_name:
            by_name.update(
                {found.stem: found for found in root.rglob("*") if found.suffix.lower() in CORPUS_SUFFIXES}
            )
        if Path(name).stem not in by_name:
            raise InputError(
                f"{root}: has no {name} nor an utterance {Path(name).stem}; give the corpus that "
                f"{path.name} names with --speech FOLDER"
            )
        return by_name[Path(name).stem]

    def entry(row: dict[str, str]) -> MixtureEntry:
        try:
            return _csv_row(row, n_src, find)
        except ValueError as error:
            raise InputError(f"{path}: {row['mixture_id']}: {error}; mend this row") from None

    return [entry(row) for row in rows]


def _csv_row(row: dict[str, str], n_src: int, find: Callable[[str], Path]) -> MixtureEntry:
    """One row of a CSV with gains. Raises ValueError where a number is none, InputError where a file is not
    there.
    """
    paths = [find(row[f"source_{k}_path"]) for k in range(1, n_src + 1)]
    gains = tuple(float(row[f"source_{k}_gain"]) for k in range(1, n_src + 1))
    noise = row.get("noise_path") or ""
    if noise and not noise.startswith(f"{TONE}:"):
        noise = str(find(noise))
    about: dict[str, str | float] = {key: row[key] for key in ("task", "kind") if row.get(key)}
    if row.get("snr_db"):
        about["snr_db"] = float(row["snr_db"])
    texts = tuple(row.get(f"source_{k}_text") or "" for k in range(1, n_src + 1))
    seen = all(path.suffix.lower() in PICTURE_SUFFIXES for path in paths)
    entry = MixedEntry(
        row["mixture_id"],
        tuple(paths),
        gains,
        int(row["samples"]),
        noise,
        float(row.get("noise_gain") or 1),
        int(row.get("noise_start") or 0),
        float(row.get("t60_s") or 0),
        int(row.get("room_seed") or 0),
        texts if all(texts) else (),
        about=about,
        cues={LIPS: paths[0]} if seen else {},
    )
    if not row.get("room_size"):
        return entry
    n_mics = len([column for column in row if re.fullmatch(r"mic_\d+_place", column)])
    if not n_mics:
        raise ValueError("room_size is given without mic_1_place")
    places = [f"source_{k}_place" for k in range(1, n_src + 1)] + (["noise_place"] if noise else [])
    room = Room(
        point(row["room_size"]),
        entry.t60_s,
        tuple(point(row[place]) for place in places),
        tuple(point(row[f"mic_{k}_place"]) for k in range(1, n_mics + 1)),
        entry.room_seed,
    )
    return RoomEntry(**{**vars(entry), "cues": {}}, room=room)


def _librimix_row(row: dict[str, str], n_src: int, path: Path, root: Path) -> MixtureEntry:
    def find(name: str) -> Path:
        # LibriMix writes absolute paths; where its folder was moved, subset/part/file still lies beside
        # metadata/.
        return root / name if (root / name).is_file() else path.parent.parent / Path(*Path(name).parts[-3:])

    sources = [find(row[f"source_{k}_path"]) for k in range(1, n_src + 1)]
    return _entry(row["mixture_ID"], find(row["mixture_path"]), sources, named_in=path)


def _folder(path: Path, task: str | None, first: int | None) -> list[MixtureEntry]:
    known = tasks(path)
    if known and task is not None and task not in known:
        raise UsageError(f"--task {task}: not in {path}; choose from {', '.join(known)}")
    task = task or next(iter(known), "")
    voice = rf"s\d+{'_anechoic' if task.endswith(('_anechoic', '_reverb')) else ''}"
    sources = sorted(
        folder for folder in path.iterdir() if re.fullmatch(voice, folder.name) and folder.is_dir()
    )
    if not known or not sources:
        raise InputError(_what_is_wrong(path))
    files = sorted(file for file in (path / task).iterdir() if file.suffix.lower() in CORPUS_SUFFIXES)
    if not files:
        raise InputError(f"{path / task}: no audio files in it")
    if task.startswith("mix_single"):
        sources = sources[:1]
    return [
        _entry(file.stem, file, [folder / file.name for folder in sources], named_in=file)
        for file in files[:first]
    ]


def _what_is_wrong(path: Path) -> str:
    """Why a folder is not a set: it holds sets, it is part of one, or it is something else."""
    below = [] if tasks(path) else [found.relative_to(path).as_posix() for found in _sets_below(path)]
    if below:
        return f"{path}: choose one of {', '.join(below[:20])}{', …' if len(below) > 20 else ''}"
    if tasks(path.parent):
        return f"{path}: only a part of the set; give {path.parent}"
    if read_plain(path, first=1):
        return (
            f"{path}: recordings without references, which only evaluate takes; build a set of them and "
            "their voices, or give one"
        )
    there = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    expected = (
        "the folders s1, s2, … and mix_clean, mix_both, mix_single or mix (LibriMix wav16k/min/test, "
        "WSJ0-2mix 2speakers/wav8k/min/tt, WHAM!)"
    )
    return (
        f"{path}: expected {expected}, or in WHAMR! s1_anechoic, … and mix_clean_anechoic, …; found {there}"
    )


def _sets_below(path: Path) -> Iterator[Path]:
    for name, folders, _ in os.walk(path):
        folder = Path(name)
        if tasks(folder):
            yield folder
        if tasks(folder) or len(folder.relative_to(path).parts) == DEPTH:
            folders.clear()
        folders.sort()


def _entry(id: str, file: Path, sources: list[Path], named_in: Path) -> MixtureEntry:
    """A mixture whose voices lie in files of their own; what they do not explain of it is its noise."""
    missing = next((path for path in (file, *sources) if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"{missing}: not there, though {named_in} is; the set is incomplete")

    cues = {
        folder.name: folder / f"{id}.npy"
        for folder in sorted((file.parent.parent / CUES).glob("*"))
        if (folder / f"{id}.npy").is_file()
    }
    return RecordedEntry(id, file, tuple(sources), cues=cues)


def write_set(data: "DataRecipe", out: Path, n_items: int, *, overwrite: bool = False) -> None:
    """Draw `n_items` mixtures as the data part of a recipe describes, and write them; see `write_mixtures`.

    Raises:
        InputError: `out` exists and `overwrite` is not set, or the corpora cannot be read.
    """
    _check_free(out, overwrite)
    try:
        mixer = data.mixer(data.split, n_items=n_items)
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from None
    drawn = (mixer[index] for index in track(range(n_items), "mixing"))
    about = {"n_items": n_items, **asdict(data)}
    write_mixtures(drawn, out, noisy=bool(data.noise or data.faces), about=about, overwrite=overwrite)


def write_mixtures(
    mixtures: Iterable[Mixture],
    out: Path,
    *,
    noisy: bool,
    about: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write mixtures as a folder that `read_set` reads, which appears whole or not at all.

    It holds `mix_clean/` (or `mix_both/` with `noise/`), of as many channels as there are microphones, `s1/`,
    `s2/`, … at the first of them, all as 32-bit float WAV, `cues/NAME/` with a `.npy` file per mixture where
    there are cues, `set.json` with `about`, and `SHA256SUMS` of the samples.

    Args:
        mixtures: of different ids.
        out: the folder.
        noisy: whether the mixtures have noise.
        about: how they were made.
        overwrite: replace what is there.

    Raises:
        InputError: `out` exists and `overwrite` is not set.
    """
    _check_free(out, overwrite)
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    sums = []
    try:
        for item in mixtures:
            parts = {
                beside / ("mix_both" if noisy else "mix_clean"): item.mixture.T,
                **{beside / f"s{row + 1}": source for row, source in enumerate(item.sources)},
            }
            if noisy:
                parts[beside / "noise"] = item.noise
            for folder, samples in parts.items():
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{item.id}.wav"
                soundfile.write(file, samples, item.sample_rate, "FLOAT")
                sums.append(
                    f"{hashlib.sha256(samples.tobytes()).hexdigest()}  {file.relative_to(beside).as_posix()}"
                )
            for name, values in item.cues.items():
                folder = beside / CUES / name
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{item.id}.npy", values, allow_pickle=False)
        (beside / "set.json").write_text(json.dumps(about or {}, indent=1), encoding="utf-8")
        (beside / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check_free(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already; add --overwrite or choose another --out")
