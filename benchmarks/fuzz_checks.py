"""What `fuzz.py` does with a damaged file, in a process of its own, and what may come of it."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_mutations import Mutated, mutate

from unmingle.errors import UnmingleError
from unmingle.inference.files import enhance_file, separate_file
from unmingle.media.audio import open_audio
from unmingle.media.video import VideoReader
from unmingle.media.writer import FORMATS

QUICK = "conv-tasnet"
LONGEST_LINE = 500
LONG_S = 10.0


#: What is done with a damaged file of this number, at this path: names and calls.
Jobs = Callable[[Mutated, int, Path], Iterator[tuple[str, Callable[[], Any]]]]


class Found(NamedTuple):
    """What became of a damaged file.

    Attributes:
        index: its number.
        opened: some of it could be read, and was.
        seconds: that it took, all in all.
        peak_mb: memory that it took beyond what the process had before [MB].
        rss_mb: memory of the process afterwards [MB].
        said: the line that refused it; "" if it was opened.
        wrong: what must not be, one line each.
    """

    index: int
    opened: bool
    seconds: float
    peak_mb: float
    rss_mb: float
    said: str
    wrong: list[str]


def memory_mb(key: str) -> float:
    """ "VmRSS" or "VmHWM" of this process [MB]; 0 where the system does not say so."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(key)), 0.0)


def n_open_files() -> int:
    """How many this process has, without those of compiled models; 0 where the system does not say so."""
    n = 0
    with suppress(OSError):
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                n += link.readlink().suffix != ".blob"
    return n


def forget_peak() -> None:
    """From here on, VmHWM is new."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def jobs_of(mutated: Mutated, index: int, path: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is done with the file: its sound is decoded, its picture if it may have one, and every eighth time
    it is separated; every 64th by the default, enhanced, or by the faces in it.
    """
    pictured = mutated.seed.rsplit(".", 1)[1] in PICTURED
    out, format = path.parent / "out", list(FORMATS)[index // 8 % len(FORMATS)]
    options: dict[str, Any] = {"out": out, "format": format, "rest": True}

    def decode() -> None:
        with open_audio(path) as reader:
            if (
                sum(block.shape[1] for block in reader.blocks(reader.sample_rate))
                > LONG_S * reader.sample_rate
            ):
                options["end_s"] = LONG_S  # of noise that damage has made of a second

    def see() -> None:
        with VideoReader(path) as reader:
            for _ in reader.pictures():
                pass

    yield "decode", decode
    if pictured:
        yield "pictures", see
    if index % 64 == 2:
        yield "separate", lambda: separate_file(path, **options)
    elif index % 64 == 3:
        yield "enhance", lambda: enhance_file(path, **options)
    elif index % 8 == 1:
        yield "separate", lambda: separate_file(path, speakers=2, model=QUICK, **options)
    elif pictured and index % 8 == 4:
        yield "faces", lambda: separate_file(path, faces=True, video="end_s" not in options, **options)


PICTURED = ("mp4", "mov", "mkv", "webm", "avi", "wmv", "flv", "3gp", "ts", "mpg")


def check_line(line: str, path: Path) -> list[str]:
    """What is wrong with the line that refuses a file."""
    wrong = []
    if "\n" in line or len(line) > LONGEST_LINE:
        wrong.append(f"not one short line: {line[:200]!r}")
    if path.stem not in line:
        wrong.append(f"does not name the file: {line[:200]!r}")
    return wrong


@contextmanager
def silenced(file: Path) -> Iterator[None]:
    """What this process and its libraries print goes into a file."""
    kept = [os.dup(number) for number in (1, 2)]
    with file.open("wb") as taken:
        for number in (1, 2):
            os.dup2(taken.fileno(), number)
    try:
        yield
    finally:
        for number, was in zip((1, 2), kept, strict=True):
            os.dup2(was, number)
            os.close(was)


def left_in(folder: Path, *known: Path) -> list[str]:
    """All files and folders in a folder but those that are known, and what is in these."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not any(path == one or one in path.parents for one in known)
    )


def check(mutated: Mutated, index: int, folder: Path, jobs: Jobs = jobs_of) -> Found:
    """Do with a damaged file in an empty folder what a user would, the `jobs`, and say what came of it; the
    folder is empty again afterwards. Files of the same name with another suffix are no leftovers.
    """
    path, temporary, printed = folder / f"f{index}{mutated.suffix}", folder / "tmp", folder / "printed"
    path.write_bytes(mutated.content)
    temporary.mkdir()
    others, tempfile.tempdir = tempfile.tempdir, str(temporary)
    wrong: list[str] = []
    said, opened = "", False
    n_files, rss, began = n_open_files(), memory_mb("VmRSS"), time.perf_counter()
    forget_peak()
    with silenced(printed):
        for name, job in jobs(mutated, index, path):
            kept: list[Path] = []
            try:
                job()
                opened = True
                kept = [folder / "out"]
            except UnmingleError as error:
                said = said or str(error)
                wrong += [f"{name}: {each}" for each in check_line(str(error), path)]
            except Exception as error:
                frame = sys.exc_info()[2]
                while frame is not None and frame.tb_next is not None:
                    frame = frame.tb_next
                where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
                wrong.append(f"{name}: {type(error).__name__} in {where}: {str(error)[:200]}")
            if left := left_in(folder, path, *folder.glob(f"{path.stem}.*"), temporary, printed, *kept):
                wrong.append(f"{name}: left behind: {', '.join(left)}")
    seconds, peak = time.perf_counter() - began, memory_mb("VmHWM") - rss
    tempfile.tempdir = others
    if left := left_in(temporary):
        wrong.append(f"left behind in the temporary folder: {', '.join(left)}")
    if (more := n_open_files() - n_files) > 0:
        wrong.append(f"{more} files left open")
    if text := printed.read_text(errors="replace").strip():
        wrong.append(f"printed: {text[:200]!r}")
    for each in sorted(folder.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() else each.unlink()
    return Found(index, opened, seconds, peak, memory_mb("VmRSS"), "" if opened else said, wrong)


def work(pipe: Connection, seeds: dict[str, bytes], seed: int, folder: Path) -> None:
    """Check files whose numbers come through a pipe, and send back what was found, until None comes."""
    for index in (0, 1, 2, 3, 4):  # what is loaded once is loaded before the first file counts
        for name, content in seeds.items():
            if index == 0 or name in ("pcm16.wav", "face.mp4"):
                check(Mutated(name, (), f".{name.rsplit('.', 1)[1]}", content), index, folder)
    pipe.send(None)
    while (index := pipe.recv()) is not None:
        pipe.send(check(mutate(seeds, seed, index), index, folder))
