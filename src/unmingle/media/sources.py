"""Files, pipes and file objects as something that can seek, and that FFmpeg reads."""

import errno
import os
import re
import shutil
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import av

from unmingle.errors import InputError
from unmingle.media.containers import reason_of
from unmingle.media.recording import what_is_in

NO_ADDRESSES = "an address, not a file; download it first, and give the file"


def open_source(source: str | Path | BinaryIO, stack: ExitStack) -> tuple[BinaryIO, str]:
    """A file that can seek, closed by `stack` unless it is the caller's, and its name for messages."""
    if isinstance(source, str | Path):
        path, name = Path(source), str(source)
        try:
            if path.is_dir():
                raise InputError(f"{name}: a folder {what_is_in(path)}")
            if not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISFIFO(mode)):
                raise InputError(f"{name}: a device, not a file; choose an audio file")
            file: BinaryIO = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            raise InputError(
                f"{name}: {NO_ADDRESSES if re.match('[a-z]{2,}:/', name) else 'no such file; check the path'}"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{name}: cannot be opened ({reason_of(error)}); check its name and permissions"
            ) from None
    else:
        file, name = source, str(getattr(source, "name", "file object"))
    try:
        if not file.seekable() or not isinstance(getattr(file, "name", ""), str):
            # FFmpeg wants a name that is text.
            spool = cast(BinaryIO, stack.enter_context(tempfile.NamedTemporaryFile(prefix="unmingle-")))  # noqa: SIM115
            shutil.copyfileobj(file, spool, 2**20)
            file = spool
        size = file.seek(0, os.SEEK_END)
    except OSError as error:
        wrong = f"cannot be copied to a temporary file ({reason_of(error)})"
        raise InputError(f"{name}: {wrong}; save it as a file and give that file's name") from None
    if not size:
        raise InputError(f"{name}: empty (0 bytes); choose a file with sound")
    return file, name


class ForFFmpeg:
    """A file that can seek, as FFmpeg expects it: going to a place that no file has, as damaged ones ask for,
    is refused by a number, not by an exception, which PyAV would print.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.name = file, getattr(file, "name", "")
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position, or a negative number."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError, ValueError):
            return -errno.EINVAL


def open_container(file: BinaryIO) -> Any:
    """Open a file with FFmpeg, from where it stands; a playlist in it does not make us open other files or
    addresses.

    Raises:
        av.FFmpegError, OSError, ValueError: FFmpeg does not know what it is.
    """
    return av.open(
        cast(BinaryIO, ForFFmpeg(file)), metadata_errors="ignore", options={"protocol_whitelist": ""}
    )
