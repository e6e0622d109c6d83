"""What is made once, of recordings or by a simulation, and kept in a memory-mapped file."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from unmingle.data.utterance import Utterance
from unmingle.results.folders import replacing


class Kept(ABC):
    """Rows of values of some items, one item after the other in one file.

    Attributes:
        suffix: of the file.

    Args:
        cache: folder for the file. A second one of the same identity reads what the first one wrote.
        identity: what the values depend on, as plain values.
    """

    suffix: ClassVar[str]

    def __init__(self, cache: str | Path, identity: Any) -> None:
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        stem = Path(cache) / name
        path, ends_path = stem.with_suffix(self.suffix), stem.with_suffix(".ends.npy")
        if not ends_path.is_file():
            stem.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, ends_path)
        self._path = path.resolve()
        self._values = self._open(self._path)
        self._stops = np.load(ends_path)
        self._starts = np.append(0, self._stops[:-1])

    @abstractmethod
    def _decode(self) -> Iterator[np.ndarray]:
        """The rows of each item."""

    @abstractmethod
    def _open(self, path: Path) -> np.ndarray:
        """All rows, memory-mapped."""

    def _write(self, path: Path, ends_path: Path) -> None:
        lengths = []
        with replacing(path) as beside, beside.open("wb") as file:
            for rows in self._decode():
                file.write(rows.tobytes())
                lengths.append(len(rows))
        with replacing(ends_path) as beside, beside.open("wb") as file:
            np.save(file, np.cumsum(lengths))

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled with all of its values; a worker opens the file itself.
        return {key: value for key, value in vars(self).items() if key != "_values"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._values = self._open(self._path)

    def __len__(self) -> int:
        return len(self._stops)

    def length(self, index: int) -> int:
        """Length of one item [rows]."""
        return int(self._stops[index] - self._starts[index])

    def rows(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop` of one item, as they are kept."""
        begin = int(self._starts[index])
        stop = self.length(index) if stop is None else min(stop, self.length(index))
        return self._values[begin + start : begin + stop]


class Decoded(Kept):
    """What was decoded of some recordings.

    Attributes:
        recordings: what is in it, in order.

    Args:
        recordings: the files.
        cache: folder for the file. A second one of the same files, sizes and `kind` reads what the first one
            wrote.
        kind: what else it depends on.
    """

    def __init__(self, recordings: list[Utterance], cache: str | Path, kind: Any) -> None:
        self.recordings = recordings
        super().__init__(cache, [kind, [[str(r.path.resolve()), r.path.stat().st_size] for r in recordings]])

    def only(self, recordings: list[Utterance]) -> Self:
        """The same file, seen through some of the recordings."""
        place = {recording: index for index, recording in enumerate(self.recordings)}
        chosen = [place[recording] for recording in recordings]
        part = copy(self)
        part.recordings, part._starts, part._stops = recordings, self._starts[chosen], self._stops[chosen]
        return part
