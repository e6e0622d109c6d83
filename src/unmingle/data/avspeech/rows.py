"""The tables of AVSpeech and AudioSet: one passage of a video in every row.

References:
    AVSpeech: A. Ephrat et al., "Looking to listen at the cocktail party", 2018; AudioSet: J. F. Gemmeke et
    al., "Audio Set: an ontology and human-labeled dataset for audio events", 2017.
"""

import csv
import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from unmingle.errors import InputError, UsageError

EXPECTED = (
    "'YouTube id, start, end, x, y' as in avspeech_train.csv, or 'YouTube id, start, end, \"labels\"' as in "
    "AudioSet's balanced_train_segments.csv"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A passage of a video.

    Attributes:
        number: of the row in its table, from 0; comments do not count.
        id: of the video at YouTube, or its address.
        start_s, end_s: where the passage begins and ends [s].
        x, y: of AVSpeech: where the face is when the passage begins, 0 to 1 from the left and the top.
        labels: of AudioSet: what is heard, as "/m/09x0r,/m/05zppz".
    """

    number: int
    id: str
    start_s: float
    end_s: float
    x: float | None = None
    y: float | None = None
    labels: str = ""

    @property
    def address(self) -> str:
        """Where the video is."""
        return self.id if "://" in self.id else f"https://www.youtube.com/watch?v={self.id}"

    @property
    def video(self) -> str:
        """A name of the video that may be a folder's: its id; of an address its end and a hash."""
        if "://" not in self.id:
            return self.id
        stem = re.sub("[^A-Za-z0-9_-]", "-", Path(urlsplit(self.id).path).stem)[:40]
        return f"{stem}-{hashlib.sha256(self.id.encode()).hexdigest()[:8]}"

    @property
    def clip(self) -> str:
        """A name of the passage, which no other row of the video has; AVSpeech's with the face's place."""
        face = "" if self.labels else f"-x{self.x:.3f}-y{self.y:.3f}"
        return f"{self.start_s:.3f}-{self.end_s:.3f}{face}"

    @property
    def corpus(self) -> str:
        return "AudioSet" if self.labels else "AVSpeech"


def parse_range(text: str | None) -> tuple[int, int | None]:
    """ "10:20" as the rows from 10 to before 20, counted from 0; either may be left out.

    Raises:
        UsageError: not such a range.
    """
    matched = re.fullmatch(r"(\d*):(\d*)", "0:" if text is None else text)
    first, stop = (int(number) if number else None for number in matched.groups()) if matched else (0, 0)
    if not matched or (stop is not None and stop <= (first or 0)):
        raise UsageError(f"--rows {text}: no range of rows; write first:stop, such as 0:100, 100: or :100")
    return first or 0, stop


def read_rows(path: Path, first: int = 0, stop: int | None = None) -> list[Row]:
    """Rows `first` to before `stop` of a table of AVSpeech or AudioSet.

    Raises:
        InputError: no such file, not such a table (the message names the line), or no row in that range.
    """
    rows = []
    try:
        for number, (line, cells) in enumerate(_cells(path)):
            if stop is not None and number >= stop:
                break
            if number >= first:
                rows.append(_row(number, cells, f"{path}, line {line}"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a table with {EXPECTED}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV ({error}); expected {EXPECTED}") from None
    if not rows:
        raise InputError(f"{path}: no rows from {first} on; give a table with {EXPECTED}")
    return rows


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number of the line, from 1, and cells of every row that is no comment."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        for cells in reader:
            if cells and not cells[0].startswith("#"):
                yield reader.line_num, [cell.strip() for cell in cells]


def _row(number: int, cells: list[str], where: str) -> Row:
    if len(cells) not in (4, 5):
        raise InputError(f"{where}: {len(cells)} columns; expected {EXPECTED}")
    id, times, rest = cells[0], [_number(cell) for cell in cells[1:3]], cells[3:]
    if not re.fullmatch(r"[A-Za-z0-9_-]{11}|https?://\S+", id):
        raise InputError(
            f"{where}: {id!r} is no YouTube id (11 characters) and no address; expected {EXPECTED}"
        )
    start_s, end_s = times
    if not 0 <= start_s < end_s < math.inf:
        raise InputError(
            f"{where}: no passage from {cells[1]!r} to {cells[2]!r}; expected seconds, start first"
        )
    if len(rest) == 1:
        if not rest[0]:
            raise InputError(f"{where}: no labels; expected {EXPECTED}")
        return Row(number, id, start_s, end_s, labels=rest[0])
    x, y = (_number(cell) for cell in rest)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InputError(
            f"{where}: the face is at {rest[0]!r}, {rest[1]!r}; expected two numbers from 0 to 1"
        )
    return Row(number, id, start_s, end_s, x, y)


def _number(text: str) -> float:
    """Not a number where the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
