"""Passages of AVSpeech and AudioSet, downloaded: a file per row, and a table of them and of what failed."""

import csv
import io
import re
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmingle.console import track
from unmingle.data.avspeech.rows import Row, read_rows
from unmingle.data.corpora import CLIPS
from unmingle.errors import InputError, UsageError
from unmingle.results.folders import replacing

FAILURES = "failures.csv"
PAUSE_S = 12.0  # between videos: YouTube answers a guest about 300 times an hour
HEIGHT = 720  # of the largest picture that is taken
TIMEOUT_S = 20.0  # of a server that does not answer
WORK = ".download-"  # how the names of folders for whole videos begin
COLUMNS = ["path", "speaker", "kind", "corpus", "split", "id", "start", "end", "x", "y", "bytes"]
# What an answer says that every further video will get as well.
REFUSED = re.compile(
    "429|not a bot|rate-limit|resolve host|name resolution|unreachable|Failed to resolve", re.I
)


@dataclass(frozen=True)
class Downloaded:
    """What became of the rows.

    Attributes:
        n_rows: that were asked for.
        n_before: of them those that an earlier run had written.
        n_failed: of them those that failed now; `FAILURES` says why.
        n_untried: that were not tried, because the server wanted no more of us.
        refused: what it said; "" = it did not.
    """

    n_rows: int
    n_before: int
    n_failed: int
    n_untried: int
    refused: str


class Stopped(Exception):
    """The run is over; what is being done is given up."""


class Pace:
    """Lets the threads begin a video each, `pause_s` after one another, and none after `stop`."""

    def __init__(self, pause_s: float) -> None:
        self.stop, self._pause_s, self._next_s, self._lock = threading.Event(), pause_s, 0.0, threading.Lock()

    def wait(self) -> None:
        """Until it is this thread's turn; `Stopped` if that will not come."""
        with self._lock:
            now_s = time.monotonic()
            turn_s = max(now_s, self._next_s)
            self._next_s = turn_s + self._pause_s
        if self.stop.wait(turn_s - now_s):
            raise Stopped

    def check(self, *_: object) -> None:
        """`Stopped` if the run is over; also a hook for yt-dlp's progress."""
        if self.stop.is_set():
            raise Stopped


def download(
    table: Path,
    out: Path,
    *,
    audio_only: bool = False,
    rows: tuple[int, int | None] = (0, None),
    jobs: int = 1,
    pause_s: float = PAUSE_S,
    height: int = HEIGHT,
) -> Downloaded:
    """Download the passages that rows of a table name, as `out/VIDEO/PASSAGE.mp4` (or `.flac`).

    A video is downloaded once for all of its rows, and its passages are cut out of it. Every file appears by
    renaming and is then listed in `clips.csv`, which `read_recordings` reads; files that are listed there and
    have the size that is listed are kept. Rows that fail are listed in `failures.csv` and tried again by the
    next run, after the others.

    Args:
        table: of AVSpeech or AudioSet; an address in the place of an id is taken as it is.
        out: the folder; one run at a time.
        audio_only: sound alone, as 16-bit mono FLAC, else MP4 with the picture.
        rows: first, and the one after the last or None.
        jobs: videos that are downloaded at once.
        pause_s: least time between the beginnings of two downloads [s].
        height: of the largest picture that is taken [pixels].

    Raises:
        UsageError: yt-dlp is missing.
        InputError: as `read_rows`; `out` cannot be written.
    """
    try:
        import yt_dlp  # noqa: F401
    except ImportError:
        raise UsageError("downloading needs yt-dlp: pip install 'unmingle[avspeech]'") from None
    wanted = read_rows(table, *rows)
    suffix = ".flac" if audio_only else ".mp4"
    names = {row: f"{row.video}/{row.clip}{suffix}" for row in wanted}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(f"{WORK}*"):
            shutil.rmtree(left, ignore_errors=True)
        clips = _read_clips(out)
        failures = _read_failures(out)
        todo: dict[str, list[Row]] = defaultdict(list)
        n_before = 0
        for row in sorted(wanted, key=lambda row: (table.name, row.number) in failures):
            if names[row] in clips:
                failures.pop((table.name, row.number), None)
                n_before += 1
            else:
                todo[row.address].append(row)
        n_done, n_failed, refused, pace = 0, 0, "", Pace(pause_s)
        with _Log(out / CLIPS) as log, ThreadPoolExecutor(jobs) as pool:

            def one(rows: list[Row]) -> list[tuple[Row, str]]:
                return _one_video(
                    rows, out, names, table.name, pace, log, height=None if audio_only else height
                )

            try:
                pending = [pool.submit(one, rows) for rows in todo.values()]
                done = (result for future in as_completed(pending) for result in future.result())
                for row, reason in track(done, "downloading", len(wanted) - n_before):
                    key = (table.name, row.number)
                    failures.pop(key, None)
                    n_done += 1
                    if reason:
                        n_failed += 1
                        failures[key] = {"csv": key[0], "row": str(key[1]), "id": row.id, "reason": reason}
                    if REFUSED.search(reason):
                        refused = reason
                        pace.stop.set()
            finally:
                pace.stop.set()
                pool.shutdown(cancel_futures=True)
                _write_failures(out, failures)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    return Downloaded(len(wanted), n_before, n_failed, len(wanted) - n_before - n_done, refused)


def _one_video(
    rows: list[Row],
    out: Path,
    names: dict[Row, str],
    table: str,
    pace: Pace,
    log: "_Log",
    height: int | None,
) -> list[tuple[Row, str]]:
    """Download a video and cut its passages; each of its rows with "" or what went wrong. Nothing once the
    run is over.
    """
    from unmingle.data.avspeech.cutting import cut_sound, cut_video

    outcomes: list[tuple[Row, str]] = []
    try:
        pace.wait()
        with tempfile.TemporaryDirectory(prefix=WORK, dir=out) as folder:
            try:
                picture, sound = _fetch(rows[0].address, Path(folder), height, pace)
            except InputError as error:
                return [(row, str(error)) for row in rows]
            for row in rows:
                pace.check()
                path = out / names[row]
                if names[row] in {names[other] for other, reason in outcomes if not reason}:
                    outcomes.append((row, ""))  # the table holds this row twice
                    continue
                try:
                    path.parent.mkdir(exist_ok=True)
                    with replacing(path) as beside:
                        if height is None:
                            cut_sound(sound, beside, row.start_s, row.end_s)
                        else:
                            cut_video(picture, sound, beside, row.start_s, row.end_s)
                    log.add(row, names[row], path.stat().st_size, table)
                    outcomes.append((row, ""))
                except InputError as error:
                    outcomes.append((row, str(error).replace(f"{folder}/", "")))
                    with suppress(OSError):  # there are other passages in it
                        path.parent.rmdir()
    except Stopped:
        pass
    return outcomes


def _fetch(address: str, folder: Path, height: int | None, pace: Pace) -> tuple[Path, Path]:
    """Download a video; the files with its picture and its sound, which may be one.

    Raises:
        InputError: it cannot be had; the text is the reason, on one line.
        Stopped: the run is over.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    options: dict[str, Any] = {
        "format": lambda given: _choose(given["formats"], height),
        "outtmpl": str(folder / "%(format_id)s.%(ext)s"),
        "match_filter": _refuse_live,
        "logger": _Silent(),
        "progress_hooks": [pace.check],
        "socket_timeout": TIMEOUT_S,
        "retries": 3,
        "noplaylist": True,
        "playlistend": 1,
        "noprogress": True,
        "cachedir": False,
        "color": "never",
        "fixup": "never",  # FFmpeg's program would do that
    }
    try:
        with YoutubeDL(options) as downloader:
            found = downloader.extract_info(address)
    except YoutubeDLError as error:
        pace.check()
        raise InputError(" ".join(str(error).removeprefix("ERROR:").split())) from None
    entry = next(iter(found.get("entries") or [found])) or {}
    files = [Path(each["filepath"]) for each in entry.get("requested_downloads", ()) if each.get("filepath")]
    if not files:
        raise InputError("no video that can be downloaded, or a live stream")
    return files[0], files[-1]


def _refuse_live(found: dict[str, Any], *, incomplete: bool) -> str | None:
    return "a live stream" if found.get("is_live") else None


def _choose(formats: list[dict[str, Any]], height: int | None) -> Iterator[dict[str, Any]]:
    """The formats to download, from the worst to the best given: sound alone, or picture and sound, in one
    file if no two are better. Without `height` no picture is wanted.
    """
    sounds = [each for each in formats if each.get("vcodec") == "none" and each.get("acodec") != "none"]
    moving = [each for each in formats if each.get("vcodec") != "none"]
    if height is None:
        yield from (sounds or moving)[-1:]
        return
    moving = [each for each in moving if (each.get("height") or 0) <= height] or moving[:1]
    alone = [each for each in moving if each.get("acodec") == "none"]
    both = [each for each in moving if each.get("acodec") != "none"]
    yield from (alone[-1], sounds[-1]) if alone and sounds else both[-1:]


class _Silent:
    """Takes what yt-dlp would print: what matters of it is in its exceptions."""

    def debug(self, _: str) -> None:
        pass

    info = warning = error = debug


class _Log:
    """`clips.csv`, to which threads append; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def __enter__(self) -> "_Log":
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: Row, name: str, n_bytes: int, table: str) -> None:
        facts = {
            "path": name,
            "speaker": "" if row.labels else row.video,
            "kind": row.labels,
            "corpus": row.corpus,
            "split": "test" if "test" in table or "eval" in table else "train",
            "id": row.id,
            "start": row.start_s,
            "end": row.end_s,
            "x": row.x,
            "y": row.y,
            "bytes": n_bytes,
        }
        with self._lock:
            self._writer.writerow(facts)
            self._file.flush()


def _read_clips(out: Path) -> set[str]:
    """Names of the files that are there and whole; `clips.csv` is left with these alone."""
    rows: dict[str, dict[str, str]] = {}
    for row in _read_table(out / CLIPS):
        path = out / row["path"]
        if path.is_file() and str(path.stat().st_size) == row["bytes"]:
            rows[row["path"]] = row
    _write_table(out / CLIPS, COLUMNS, list(rows.values()))
    return set(rows)


Failures = dict[tuple[str, int], dict[str, str]]


def _read_failures(out: Path) -> Failures:
    return {
        (row["csv"], int(row["row"])): row for row in _read_table(out / FAILURES) if row["row"].isdecimal()
    }


def _write_failures(out: Path, failures: Failures) -> None:
    """The table of what failed; none if nothing did."""
    if failures:
        ordered = [failures[key] for key in sorted(failures)]
        _write_table(out / FAILURES, ["csv", "row", "id", "reason"], ordered)
    else:
        (out / FAILURES).unlink(missing_ok=True)


def _read_table(path: Path) -> list[dict[str, str]]:
    """Rows with all of their columns; a line that was cut short counts for nothing."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row and None not in row.values()]


def _write_table(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as beside:
        beside.write_text(text.getvalue(), encoding="utf-8", newline="")
