"""Files of a repository on GitHub at a commit, whose SHA-256 the table has."""

import hashlib
import os
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from unmingle.console import track
from unmingle.errors import InputError
from unmingle.published.table import Download

ENDPOINT = "https://raw.githubusercontent.com"  # unless the environment variable GITHUB_ENDPOINT says another
BLOCK = 65_536  # bytes
TIMEOUT_S = 30.0


def download(name: str, place: Download, folder: Path, size_mb: float) -> Path:
    """Download the files into `folder`, which becomes the checkpoint where there are several; it is not kept
    anywhere else, and `HF_HUB_OFFLINE` forbids it.

    Args:
        name: of the row, for messages.
        place: its download.
        folder: that is there, and is removed by the caller.
        size_mb: of all of them; more than a tenth above it is refused [MB].

    Returns:
        Of the file, or of the folder.

    Raises:
        InputError: offline, not reached, not found, not whole, too large, or another file than expected.
    """
    for file in place.files:
        content = _content(name, place, file, int(1.1e6 * size_mb))
        found, expected = hashlib.sha256(content).hexdigest(), place.sha256[file]
        if found != expected:
            raise InputError(
                f"{name}: the SHA-256 of {file} is {found}, expected is {expected}; nothing was kept, try "
                "again"
            )
        (folder / Path(file).name).write_bytes(content)
    return folder / Path(place.files[0]).name if len(place.files) == 1 else folder


def _content(name: str, place: Download, file: str, most_bytes: int) -> bytes:
    host = os.environ.get("GITHUB_ENDPOINT", ENDPOINT).rstrip("/")
    instead = f"get {file} elsewhere and use: unmingle import PATH --format {place.format}"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise InputError(f"{name}: HF_HUB_OFFLINE is set; unset it once, or {instead}")
    try:
        with urlopen(f"{host}/{place.repository}/{place.revision}/{file}", timeout=TIMEOUT_S) as answer:
            length = int(answer.headers.get("Content-Length") or 0)
            content = b"".join(
                track(_blocks(answer, most_bytes), Path(file).name, -(-length // BLOCK) or None)
            )
    except HTTPError as error:
        if error.code == 404:
            reason = f"has no {file} at {place.revision[:10]}; it was moved or removed by its owner"
        else:
            reason = f"refuses it (HTTP {error.code}); try again later"
        raise InputError(f"{name}: {host}/{place.repository} {reason}") from None
    except (URLError, HTTPException, OSError, ValueError) as error:
        said = " ".join(str(getattr(error, "reason", error)).split())
        raise InputError(
            f"{name}: {host}/{place.repository} cannot be reached ({said:.100}); is there a connection? Run "
            f"the command again, set GITHUB_ENDPOINT to a mirror, or {instead}"
        ) from None
    if len(content) > most_bytes:
        raise InputError(f"{name}: {file} is larger than {most_bytes / 1e6:.1f} MB, which was not expected")
    if len(content) < length:
        raise InputError(
            f"{name}: the download of {file} ended after {len(content)} of {length} bytes; run the command "
            "again"
        )
    return content


def _blocks(answer: HTTPResponse, most_bytes: int) -> Iterator[bytes]:
    """What comes, until it is too much."""
    n_bytes = 0
    while n_bytes <= most_bytes and (block := answer.read(BLOCK)):
        n_bytes += len(block)
        yield block
