"""Answers that are files: one of them, a range of it, or all in an archive."""

import mimetypes
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile, ZipInfo

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

PIECE = 2**20
SHOWN = ("audio/", "video/", "image/png", "image/jpeg")


def file_response(path: Path, download_name: str | None) -> Response:
    """A file or a range of it, as sound or a picture and nothing else, whatever was uploaded."""
    try:
        status = path.stat()
    except FileNotFoundError:  # its visitor has just removed it
        raise HTTPException(404) from None
    kind = mimetypes.guess_type(path.name)[0] or ""
    kind = kind if kind.startswith(SHOWN) else "application/octet-stream"
    return FileAnswer(path, media_type=kind, filename=download_name, stat_result=status)


class FileAnswer(FileResponse):
    """A file that may be removed before it is opened, which is when the answer begins: 404 then."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin: list[Message] = []

        async def when_opened(message: Message) -> None:
            if message["type"] == "http.response.start":
                begin.append(message)
                return
            while begin:
                await send(begin.pop())
            await send(message)

        try:
            await super().__call__(scope, receive, when_opened)
        except FileNotFoundError:
            raise HTTPException(404) from None


def zipped(files: dict[str, Path]) -> Iterator[bytes]:
    """An archive of files, uncompressed, piece by piece. They are opened now, so that it is whole even where
    they are removed meanwhile.

    Raises:
        HTTPException: 404, one of them is not there any more.
    """
    with ExitStack() as stack:
        try:
            opened = {name: stack.enter_context(path.open("rb")) for name, path in files.items()}
        except FileNotFoundError:
            raise HTTPException(404) from None
        return archived(opened, stack.pop_all())


def archived(files: Mapping[str, BinaryIO], stack: ExitStack) -> Iterator[bytes]:
    """The same of files that are open, which `stack` closes."""
    taken = bytearray()

    class Sink(RawIOBase):
        def write(self, piece: Any) -> int:
            taken.extend(piece)
            return len(piece)

    with stack, ZipFile(Sink(), "w") as archive:
        for name, file in files.items():
            status = os.fstat(file.fileno())
            entry = ZipInfo(name, time.localtime(status.st_mtime)[:6])
            entry.external_attr, entry.file_size = (status.st_mode & 0xFFFF) << 16, status.st_size
            with archive.open(entry, "w", force_zip64=status.st_size >= 2**31) as target:
                while piece := file.read(PIECE):
                    target.write(piece)
                    yield bytes(taken)
                    taken.clear()
    yield bytes(taken)
