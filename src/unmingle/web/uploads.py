"""What visitors uploaded, and what was made of it: each recording in a folder of its own, reached by its
visitor alone, and removed afterwards.
"""

import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from unmingle.errors import InputError, UnmingleError
from unmingle.inference.outputs import output_stems
from unmingle.web.faces import Seen

PER_VISITOR = 4
NO_ROOM = "the server's disk has no room for this file now; try again later, or a shorter recording"


class Refused(UnmingleError):
    """A limit is reached for now; the text says which, and what to do."""


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Attributes:
        max_bytes: size of an upload [bytes].
        max_s: duration of a recording [s].
        n_jobs: how many are separated at once.
        n_waiting: how many more may wait.
        keep_s: a recording is removed so long after it was last used [s].
    """

    max_bytes: int = 10**9
    max_s: float = 4 * 3600
    n_jobs: int = 1
    n_waiting: int = 20
    keep_s: float = 3600

    @property
    def size(self) -> str:
        """The largest upload, in words."""
        return f"{self.max_bytes / 1e9:.3g} GB" if self.max_bytes >= 1e8 else f"{self.max_bytes / 1e6:.3g} MB"

    @property
    def duration(self) -> str:
        """The longest recording, in words."""
        return f"{self.max_s / 3600:.3g} hours" if self.max_s >= 3600 else f"{self.max_s / 60:.3g} minutes"


class Work(Protocol):
    """What is done with an upload; see `unmingle.web.jobs.Job`."""

    @property
    def is_over(self) -> bool: ...
    def cancel(self) -> None: ...
    def when_over(self, callback: Callable[[], None], /) -> None: ...


@dataclass
class Upload:
    """An upload and its results.

    Attributes:
        id: nobody can guess it.
        visitor: whose it is.
        folder: holds all of its files.
        name: what its visitor calls it.
        duration_s: as declared; None = unknown [s].
        job: the latest that was asked for.
        sample_name: what its visitor calls the sample of a voice that is wanted; "" = none.
        seen: whose faces are in it, once they were asked for.
        used: when it was last asked for [s, `time.monotonic`].
    """

    visitor: str
    folder: Path
    name: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    duration_s: float | None = None
    job: Work | None = None
    sample_name: str = ""
    seen: Seen | None = None
    used: float = field(default_factory=time.monotonic)

    @property
    def stem(self) -> str:
        """What names of files that are downloaded begin with."""
        return output_stems([self.name])[0]

    @property
    def source(self) -> Path:
        """The upload."""
        return self._place("upload", self.name)

    @property
    def sample(self) -> Path:
        """The sample of a voice."""
        return self._place("sample", self.sample_name)

    def _place(self, kind: str, name: str) -> Path:
        """Where a file that the visitor calls `name` lies; of its name, the suffix is kept."""
        suffix = Path(name).suffix
        return self.folder / f"{kind}{suffix if re.fullmatch(r'[.][A-Za-z0-9]{1,8}', suffix) else ''}"

    def in_words(self, error: Exception) -> str:
        """An error's line, with the visitor's name for the file instead of paths on this machine."""
        named = str(error).replace(str(self.source), self.name).replace(str(self.sample), self.sample_name)
        return " ".join(named.replace(f"{self.folder}/", "").split())


def plain_name(name: str) -> str:
    """A file's name as the visitor's machine says it, without folders and what cannot be printed."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"[\x00-\x1f]", "_", last).strip(" .")[-120:] or "recording"


class Uploads:
    """All recordings that are there, in one folder; safe to use from several threads.

    Args:
        folder: where their folders are made.
        limits: what is allowed.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits, self._lock = folder, limits, threading.Lock()
        self._all: dict[str, Upload] = {}

    def new(self, visitor: str, name: str, n_bytes: int) -> Upload:
        """Make the folder of a recording that is about to be uploaded.

        Args:
            visitor: whose it will be.
            name: the file's name on the visitor's machine.
            n_bytes: its size [bytes]; 0 = unknown.

        Raises:
            Refused: the visitor has too many, or the disk has no room.
            InputError: too large.
        """
        name = plain_name(name)
        self.check_size(name, n_bytes)
        # The upload, with noise, and its voices.
        if shutil.disk_usage(self._folder).free < 4 * n_bytes + 2**28:
            raise Refused(NO_ROOM)
        with self._lock:
            if sum(recording.visitor == visitor for recording in self._all.values()) >= PER_VISITOR:
                raise Refused(
                    f"you have {PER_VISITOR} recordings open; close one of the other tabs with this page"
                )
            recording = Upload(visitor, self._folder / secrets.token_hex(8), name)
            recording.folder.mkdir()  # an OSError leaves nothing
            self._all[recording.id] = recording
        return recording

    def check_size(self, name: str, n_bytes: int) -> None:
        """InputError if so many bytes are too many."""
        if n_bytes > self._limits.max_bytes:
            raise InputError(
                f"{name}: larger than {self._limits.size}, which is the limit here; choose a shorter "
                "recording, or save it as MP3 first"
            )

    def check_duration(self, name: str, duration_s: float) -> None:
        """InputError if so many seconds are too many."""
        if duration_s > self._limits.max_s:
            raise InputError(
                f"{name}: longer than {self._limits.duration}, which is the limit here; cut it into parts, "
                "or use the command line"
            )

    def get(self, visitor: str, id: str) -> Upload | None:
        """A recording of this visitor; None if there is none of this name, or it is somebody else's."""
        with self._lock:
            recording = self._all.get(id)
        if recording is None or not secrets.compare_digest(recording.visitor.encode(), visitor.encode()):
            return None
        recording.used = time.monotonic()
        return recording

    def remove(self, recording: Upload) -> None:
        """Forget a recording at once, and delete its files: at once, or as soon as its job has stopped."""
        with self._lock:
            self._all.pop(recording.id, None)
        if recording.job is None:
            shutil.rmtree(recording.folder, ignore_errors=True)
        else:
            recording.job.cancel()
            recording.job.when_over(lambda: shutil.rmtree(recording.folder, ignore_errors=True))

    def remove_unused(self) -> None:
        """Remove what nobody has asked for in `keep_s` and no job is at work on."""
        before = time.monotonic() - self._limits.keep_s
        with self._lock:
            found = [recording for recording in self._all.values() if recording.used < before]
        for recording in found:
            if recording.job is None or recording.job.is_over:
                self.remove(recording)

    def remove_all(self) -> None:
        """Remove everything; for the end."""
        for recording in list(self._all.values()):
            self.remove(recording)
