"""Answers that are files: one of them, a range of it, or all in an archive."""

import mimetypes
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

PIECE = 2**20
SHOWN = ("audio/", "video/", "image/png", "image/jpeg")


def file_response(path: Path, download_name: str | None) -> Response:
    """A file or a range of it, as sound or a picture and nothing else, whatever was uploaded."""
    if not path.is_file():
        raise HTTPException(404)
    kind = mimetypes.guess_type(path.name)[0] or ""
    kind = kind if kind.startswith(SHOWN) else "application/octet-stream"
    return FileResponse(path, media_type=kind, filename=download_name)


def zipped(files: dict[str, Path]) -> Iterator[bytes]:
    """An archive of files, uncompressed, piece by piece."""
    taken = bytearray()

    class Sink(RawIOBase):
        def write(self, piece: Any) -> int:
            taken.extend(piece)
            return len(piece)

    with ZipFile(Sink(), "w") as archive:
        for name, path in files.items():
            with (
                path.open("rb") as file,
                archive.open(
                    ZipInfo.from_file(path, name), "w", force_zip64=path.stat().st_size >= 2**31
                ) as entry,
            ):
                while piece := file.read(PIECE):
                    entry.write(piece)
                    yield bytes(taken)
                    taken.clear()
    yield bytes(taken)
