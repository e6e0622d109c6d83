"""Memory over a day of sound, and over a thousand files in one process. Linux.

    python benchmarks/soak.py day --hours 24 --speech data -- --model conv-tasnet --speakers 2
    python benchmarks/soak.py day --hours 2 --speech data
    python benchmarks/soak.py files --n 1000

`day` makes one recording of so many hours, four people (the folders with most recordings) who take turns and
interrupt one another, and gives it to `unmingle separate` with what follows `--`. Every other second the
system says how much memory the process has, how many open files and threads, how far into the recording it
has read, and how much disk its outputs and temporary files take. `files` separates and enhances short
recordings of all formats, rates and lengths, one after the other in one process, and asks the same after
each.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import report
import soundfile
import soxr

from unmingle.batch import process_files
from unmingle.media.audio import open_audio
from unmingle.media.writer import FORMATS, AudioWriter

RATE, EVERY_S = 16_000, 2.0  # of the day's recording [Hz]; between two looks at the process
N_PEOPLE, N_EACH = 4, 40  # who speak in it, and utterances of each
RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
EARLY, LATE = (1 / 12, 1 / 6), (11 / 12, 1.0)  # shares of a recording: of a day, hours 2 to 4 and 22 to 24


class Look(NamedTuple):
    """What the system says of a process at a moment.

    Attributes:
        rss_mb: resident memory [MB].
        n_files: open file descriptors.
        n_threads: threads.
        read: how far the recording was read, 0 to 1.
        temporary_mb: files that it holds open and that have no name [MB].
    """

    rss_mb: float
    n_files: int
    n_threads: int
    read: float = 0.0
    temporary_mb: float = 0.0


def look(pid: int, source: Path | None = None) -> Look:
    """What the system says of a process now; OSError if it is gone."""
    folder = Path(f"/proc/{pid}")
    said = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
    position = temporary = n_files = 0
    for link in list((folder / "fd").iterdir()):
        try:
            target, its = str(link.readlink()), link.stat()
        except FileNotFoundError:
            continue
        n_files += 1
        if target.endswith(" (deleted)"):
            temporary += its.st_size
        if source is not None and target == str(source):
            position = max(position, int((folder / "fdinfo" / link.name).read_text().split()[1]))
    size = source.stat().st_size if source else 1
    rss = int(said["VmRSS"].split()[0]) * 1024
    return Look(rss / 1e6, n_files, int(said["Threads"]), position / size, temporary / 1e6)


def utterances(speech: Path | None) -> list[list[np.ndarray]]:
    """What people say, person by person, `(T,)` at 16 kHz: of the folders with most recordings, or of the
    example's two voices.
    """
    if speech is None:
        paths = [report.EXAMPLE.with_name(f"two-voices.reference-{k}.flac") for k in (1, 2)]
        return [[soundfile.read(path, dtype="float32")[0]] for path in paths]
    found = sorted(path for path in speech.rglob("*") if path.suffix in (".flac", ".opus", ".wav"))
    people = {folder: list(paths) for folder, paths in itertools.groupby(found, lambda path: path.parent)}
    most = sorted(people, key=lambda folder: (-len(people[folder]), folder))[:N_PEOPLE]
    return [[read(path) for path in people[folder][:N_EACH]] for folder in most]


def read(path: Path) -> np.ndarray:
    """The first channel of a file, `(T,)` at 16 kHz."""
    with open_audio(path) as reader:
        samples = np.concatenate(list(reader.blocks(reader.sample_rate)), axis=1)[0]
    return soxr.resample(samples, reader.sample_rate, RATE)


def conversation(people: list[list[np.ndarray]], n: int) -> Iterator[np.ndarray]:
    """`n` samples of people who take turns, `(1, t)` at a time: somebody else each time, up to 1.5 s after
    the one before has ended, or up to 1 s before.
    """
    rng = np.random.default_rng(0)
    waiting, done, last = np.zeros(0, np.float32), 0, -1
    while done < n:
        last = int(rng.choice([k for k in range(len(people)) if k != last]))
        said = people[last][rng.integers(len(people[last]))]
        start = max(0, len(waiting) + round(rng.uniform(-1.0, 1.5) * RATE))
        waiting = np.pad(waiting, (0, max(0, start + len(said) - len(waiting))))
        waiting[start : start + len(said)] += said
        ready = min(n - done, len(waiting) - RATE)
        if ready > 0:
            yield waiting[None, :ready].clip(-1, 1)
            waiting, done = waiting[ready:], done + ready


def day(hours: float, speech: Path | None, folder: Path, *options: str) -> tuple[list[Look], dict[str, Any]]:
    """Separate so many hours; what the process was like every other second, and what came of it: seconds,
    outputs, whether each is as long as the recording, MB of it, notes, leftovers.
    """
    source, out, n = folder / "day.flac", folder / "out", round(hours * 3600 * RATE)
    with AudioWriter(source, sample_rate=RATE, format="flac") as writer:
        for block in conversation(utterances(speech), n):
            writer.write(block)
    command = [sys.executable, "-m", "unmingle", "separate", str(source), "--out", str(out), "--json"]
    began, looks = time.monotonic(), []
    with (folder / "said.json").open("wb") as said:
        process = subprocess.Popen([*command, *options], stdout=said)
        while process.poll() is None:
            try:
                looks.append(look(process.pid, source.resolve()))
            except (OSError, KeyError):  # it has just ended
                break
            time.sleep(min(EVERY_S, hours))
    if process.wait():
        sys.exit(f"{' '.join(command)} failed")
    took_s = time.monotonic() - began
    result = json.loads((folder / "said.json").read_text())["inputs"][0]
    lengths = []
    for path in map(Path, result["outputs"]):
        with open_audio(path) as reader:
            lengths.append(sum(block.shape[1] for block in reader.blocks(60 * RATE)))
    left = [str(path) for path in folder.rglob(".*")]
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return looks, {
        "hours": hours,
        "took_h": took_s / 3600,
        "outputs": len(lengths),
        "whole": lengths == [n] * len(lengths),
        "disk_mb": size / 1e6,
        "notes": result["notes"],
        "left": left,
    }


def passes(looks: list[Look]) -> list[list[Look]]:
    """The looks of each time that the recording was gone through, and of what came after the last."""
    found: list[list[Look]] = [[]]
    for before, now in itertools.pairwise([looks[0], *looks]):
        if now.read < before.read - 0.5:
            found.append([])
        found[-1].append(now)
    return found


def during(looks: list[Look], shares: tuple[float, float]) -> list[Look]:
    """Those while this part of the recording was read."""
    return [each for each in looks if shares[0] <= each.read < shares[1] or each.read == shares[1] < 1]


def median_mb(looks: list[Look]) -> float:
    return float(np.median([each.rss_mb for each in looks])) if looks else float("nan")


def day_tables(looks: list[Look], result: dict[str, Any]) -> list[str]:
    """What is printed of a day."""
    hours, rows, flat = result["hours"], [], []
    for number, its in enumerate(passes(looks), 1):
        for k in range(12):
            part = during(its, (k / 12, (k + 1) / 12))
            if part:
                rows.append(
                    {
                        "pass": number,
                        "hours": f"{k * hours / 12:.3g} to {(k + 1) * hours / 12:.3g}",
                        "memory, median [MB]": median_mb(part),
                        "most [MB]": max(each.rss_mb for each in part),
                        "open files": max(each.n_files for each in part),
                        "threads": max(each.n_threads for each in part),
                        "temporary files [MB]": max(each.temporary_mb for each in part),
                    }
                )
        early, late = median_mb(during(its, EARLY)), median_mb(during(its, LATE))
        bounds = f"{EARLY[0] * hours:.3g} to {EARLY[1] * hours:.3g}", f"{LATE[0] * hours:.3g} to {hours:.3g}"
        flat.append(
            f"Pass {number}: hours {bounds[0]} {early:.0f} MB, hours {bounds[1]} {late:.0f} MB: "
            f"{100 * (late / early - 1):+.1f} %."
        )
    end = (
        f"{hours:g} h in {result['took_h']:.2f} h, real-time factor {result['took_h'] / hours:.4f}; "
        f"{result['outputs']} outputs, {'each' if result['whole'] else 'NOT each'} as long as the recording, "
        f"{result['disk_mb']:.0f} MB; most memory {max(each.rss_mb for each in looks):.0f} MB; "
        f"{len(result['left'])} files left over."
    )
    return [report.table(rows), *flat, end]


def short_file(index: int, folder: Path) -> Path:
    """The recording of this number: its format, rate, channels and length follow from it."""
    format, rate = list(FORMATS)[index % len(FORMATS)], RATES[index % len(RATES)]
    n_channels = 1 + index % 2
    samples = report.talk(0.7 + 0.37 * (index % 13), rate)
    path = folder / f"{index}.{format}"
    with AudioWriter(path, sample_rate=rate, n_channels=n_channels, format=format) as writer:
        writer.write(np.stack([np.roll(samples, 5 * k) for k in range(n_channels)]))
    return path


def many(n: int, folder: Path, **options: Any) -> list[Look]:
    """Separate `n` short recordings in this process, with these options, every fourth enhanced instead; what
    it is like after each.

    Raises:
        RuntimeError: one of them failed, or left a file behind.
    """
    looks, made = [], folder / "made"
    made.mkdir()
    for index in range(n):
        source, out = short_file(index, made), folder / "out"
        format = list(FORMATS)[index // 3 % len(FORMATS)]
        task, its = ("enhance", {}) if index % 4 == 3 else ("separate", options)
        (outcome,) = process_files([source], task, out=out, overwrite=True, format=format, **its)
        if outcome.result is None:
            raise RuntimeError(f"{source}: {outcome.error}")
        for path in [source, *(out / str(index)).iterdir()]:
            path.unlink()
        (out / str(index)).rmdir()
        if left := [*made.iterdir(), *out.iterdir()]:
            raise RuntimeError(f"{source}: left behind: {left}")
        looks.append(look(os.getpid()))
    return looks


def many_tables(looks: list[Look]) -> list[str]:
    """What is printed of many files."""
    rows = []
    n = len(looks)
    for start in range(0, n, max(1, n // 10)):
        part = looks[start : start + max(1, n // 10)]
        rows.append(
            {
                "files": f"{start + 1} to {start + len(part)}",
                "memory, median [MB]": median_mb(part),
                "most [MB]": max(each.rss_mb for each in part),
                "open files": max(each.n_files for each in part),
                "threads": max(each.n_threads for each in part),
            }
        )
    tenth = max(1, n // 10)
    early, late = median_mb(looks[tenth : 2 * tenth]), median_mb(looks[-tenth:])
    flat = f"Files {tenth + 1} to {2 * tenth}: {early:.0f} MB, the last {tenth}: {late:.0f} MB: "
    return [report.table(rows), f"{flat}{100 * (late / early - 1):+.1f} %."]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    long = commands.add_parser("day")
    long.add_argument("--hours", type=float, default=24.0)
    long.add_argument("--speech", type=Path, help="folder of recordings, a folder for each person")
    short = commands.add_parser("files")
    short.add_argument("--n", type=int, default=1000)
    for command in (long, short):
        command.add_argument("--folder", type=Path, help="where files are made; a temporary one unless given")
        command.add_argument("--quick", action="store_true", help="only see that it runs; nothing is kept")
    options, further = parser.parse_known_args()
    further = [each for each in further if each != "--"]
    before = report.machine()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="soak-") as name:
        if options.what == "day":
            hours = 0.02 if options.quick else options.hours
            looks, result = day(hours, options.speech, Path(name), *further)
            said = f"`unmingle separate {' '.join(further)}`".replace(" `", "`")
            parts, kept = [said, *day_tables(looks, result)], f"soak-{hours:g}-hours"
        else:
            parts, kept = many_tables(many(20 if options.quick else options.n, Path(name))), "soak-files"
    report.publish(kept, [before, *parts], keep=not options.quick)


if __name__ == "__main__":
    main()
