"""The audio files of one recording, written together."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np


class Tracks:
    """The files of one recording, written together; a context manager.

    WAV holds floats and is written at once. A format that clips waits in a temporary file of floats beside
    the outputs until it is known how loud the loudest of them is; then all are written with one common gain.

    Attributes:
        sample_rate: of the files: the nearest that the format has [Hz].
    """

    def __init__(self, paths: list[Path], sample_rate: int, format: str) -> None:
        from unmingle.media.writer import AudioWriter

        self._writers = [AudioWriter(path, sample_rate=sample_rate, format=format) for path in paths]
        self.sample_rate = self._writers[0].sample_rate
        self._peak, self._folder, self._clips = 0.0, paths[0].parent, format != "wav"
        self._stack = ExitStack()

    def __enter__(self) -> "Tracks":
        for writer in self._writers:
            self._stack.enter_context(writer)
        if self._clips:
            self._floats: IO[bytes] = self._stack.enter_context(tempfile.TemporaryFile(dir=self._folder))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, rows: np.ndarray) -> None:
        """Append `(files, t)`."""
        if not self._clips:
            for writer, row in zip(self._writers, rows, strict=True):
                writer.write(row[None])
        elif rows.size:
            self._peak = max(self._peak, float(np.abs(rows).max()))
            self._floats.write(rows.T.astype("<f4").tobytes())

    def finish(self) -> float:
        """Complete the files; return the gain that was applied to all of them."""
        gain = min(1.0, 1 / self._peak) if self._peak else 1.0
        if self._clips:
            self._floats.seek(0)
            while block := self._floats.read(4 * len(self._writers) * 2**18):
                for writer, row in zip(
                    self._writers, np.frombuffer(block, "<f4").reshape(-1, len(self._writers)).T, strict=True
                ):
                    writer.write(np.float32(gain) * row[None])
        for writer in self._writers:
            writer.close()
        return gain
