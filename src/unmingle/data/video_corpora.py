"""Corpora of talking faces as they lie on disk: LRS2, VoxCeleb2 and GRID.

References:
    LRS2: T. Afouras et al., "Deep audio-visual speech recognition", 2018; VoxCeleb2: J. S. Chung, A. Nagrani
    and A. Zisserman, "VoxCeleb2: deep speaker recognition", 2018; GRID: M. Cooke et al., "An audio-visual
    corpus for speech perception and automatic speech recognition", 2006.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from unmingle.data.utterance import Utterance

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
PICTURE_SUFFIXES = (".mp4", ".mpg", ".mkv", ".webm", ".mov", ".avi")
LRS2_LISTS = {"train.txt": "train", "val.txt": "valid", "test.txt": "test"}  # beside mvlrs_v1, or in it
SILENCES = ("sil", "sp")  # in GRID's alignments


def read_video_corpus(folder: Path, *, picture: bool = False) -> list[Utterance]:
    """List the clips of LRS2, VoxCeleb2 or GRID; none if the folder is not one of these.

    Args:
        folder: the corpus, or a folder in it: `LRS2` with `mvlrs_v1/main/VIDEO/00001.mp4`, `VoxCeleb2` with
            `mp4/id00012/VIDEO/00001.mp4` (or `dev/mp4/…`, `dev/aac/….m4a`, `test/…`), `GRID` with
            `s1/bbaf2n.mpg`.
        picture: only files with a picture; else one file per clip, the one with sound alone where there are
            both.

    Returns:
        Sorted by path. The speaker is VoxCeleb2's `id00012`, GRID's `s1`, and in LRS2, which does not tell
        its speakers, the folder of the video. The split is VoxCeleb2's "test" below a folder of that name,
        and LRS2's by its lists where they lie beside `mvlrs_v1` or in it (what is in none of them is left
        out); all else is "train". Words are those of LRS2's text files and of GRID's alignments.
    """
    for layout in (_lrs2, _voxceleb2, _grid):
        if found := layout(folder.absolute(), picture):
            return found
    return []


def _lrs2(folder: Path, picture: bool) -> list[Utterance]:
    roots = [
        root
        for root in (folder, folder / "mvlrs_v1")
        if (root / "main").is_dir() or (root / "pretrain").is_dir()
    ]
    if folder.name in ("main", "pretrain") and folder.parent.name == "mvlrs_v1":
        roots = [folder.parent]
    if not roots:
        return []
    root = roots[0]
    splits: dict[str, str] = {}
    for place in (root.parent, root):
        for name, split in LRS2_LISTS.items():
            if (place / name).is_file():
                lines = (place / name).read_text(encoding="utf-8").splitlines()
                splits |= {line.split()[0]: split for line in lines if line.strip()}
    found = []
    for part in ("main", "pretrain"):
        if folder.name in ("main", "pretrain") and part != folder.name:
            continue
        for path in _one_per_clip((root / part).glob("*/*"), picture):
            where = splits.get(f"{path.parent.name}/{path.stem}") if splits and part == "main" else "train"
            if where is not None:
                found.append(Utterance(path, path.parent.name, "LRS2", where, _lrs2_words(path)))
    return found


def _lrs2_words(path: Path) -> str:
    """The line "Text:  …" of the file beside a clip."""
    beside = path.with_suffix(".txt")
    text = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    matched = re.match(r"Text:\s*(.*)", text)
    return matched[1].strip() if matched else ""


def _voxceleb2(folder: Path, picture: bool) -> list[Utterance]:
    # Below the folder there are at most a part (dev), a kind (mp4), speaker, video and clip.
    speakers = [
        speaker
        for depth in ("", "*/", "*/*/")
        for speaker in folder.glob(f"{depth}id*")
        if _is_speaker(speaker)
    ]
    files = (path for speaker in speakers for path in speaker.glob("*/*"))

    def clip(path: Path) -> tuple[str, ...]:
        return (_split(path), *path.with_suffix("").parts[-3:])

    return [
        Utterance(path, path.parts[-3], "VoxCeleb2", _split(path))
        for path in _one_per_clip(files, picture, clip)
    ]


def _is_speaker(folder: Path) -> bool:
    return re.fullmatch(r"id\d{5}", folder.name) is not None and folder.is_dir()


def _split(path: Path) -> str:
    return "test" if "test" in path.parts[-6:-3] else "train"


def _grid(folder: Path, picture: bool) -> list[Utterance]:
    speakers = [
        path for path in (folder, *folder.glob("*"), *folder.glob("*/*")) if re.fullmatch(r"s\d+", path.name)
    ]
    if not any(next(speaker.rglob("*.mpg"), None) for speaker in speakers):
        return []
    speaker_of = {path: speaker.name for speaker in speakers for path in speaker.rglob("*")}

    def clip(path: Path) -> tuple[str, ...]:
        return speaker_of[path], path.stem

    return [
        Utterance(path, speaker_of[path], "GRID", "train", _grid_words(path, speaker_of[path], folder))
        for path in _one_per_clip(speaker_of, picture, clip)
    ]


def _grid_words(path: Path, speaker: str, root: Path) -> str:
    """The words of an alignment, which lies beside a clip or in a folder of its own."""
    name = f"{path.stem}.align"
    above = [place for place in path.parents if place == root or root in place.parents]
    places = [
        path.parent,
        *(place / part for place in above for part in ("align", f"align/{speaker}", f"alignments/{speaker}")),
    ]
    beside = next((place / name for place in places if (place / name).is_file()), None)
    lines = beside.read_text(encoding="utf-8").splitlines() if beside else []
    words = [line.split()[2] for line in lines if len(line.split()) == 3]
    return " ".join(word for word in words if word not in SILENCES)


def _one_per_clip(
    files: Iterable[Path], picture: bool, clip: Callable[[Path], object] = lambda path: path.with_suffix("")
) -> list[Path]:
    """The files to take, sorted: those with a picture, or of each clip the one with sound alone if there is
    one.
    """
    chosen: dict[object, Path] = {}
    for path in sorted(files):
        suffix = path.suffix.lower()
        if suffix in PICTURE_SUFFIXES:
            chosen.setdefault(clip(path), path)
        elif suffix in SOUND_SUFFIXES and not picture:
            chosen[clip(path)] = path
    return sorted(chosen.values())
