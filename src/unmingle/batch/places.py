"""Where recordings and results are: paths of this machine, and addresses (s3, gs, http) through fsspec."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

from unmingle.errors import InputError, UnmingleError, UsageError
from unmingle.results.folders import replacing

INSTALL = {"gs": "gcsfs", "gcs": "gcsfs"}  # what the extra does not bring
READ_ONLY = ("http", "https")


class Unreachable(InputError):
    """A store or network that did not answer; it may another time."""


def is_address(text: str) -> bool:
    """Whether it is an address such as s3://calls/2026/, not a path."""
    return re.match(r"[a-z][a-z0-9+.-]+://", text) is not None


def protocol_of(text: str) -> str:
    return text.partition("://")[0]


def as_place(text: str) -> str:
    """The same without a slash at its end: an address, or an absolute path of this machine."""
    if is_address(text) and protocol_of(text) != "file":
        return text.rstrip("/")
    return str(Path(url2pathname(text.removeprefix("file://")) if is_address(text) else text).absolute())


def below(place: str, *names: str) -> str:
    return "/".join((place.rstrip("/"), *names))


def open_store(address: str) -> tuple[Any, str]:
    """The file system of an address, and its path there.

    Raises:
        UsageError: a package that it needs is missing, or nobody knows such addresses.
    """
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(address, use_listings_cache=False)  # others may write there
    except ImportError:
        needed = INSTALL.get(protocol_of(address), "'unmingle[batch]'")
        raise UsageError(
            f"{address}: a package for {protocol_of(address)}:// is missing: pip install {needed}"
        ) from None
    except ValueError as error:
        raise UsageError(
            f"{address}: {' '.join(str(error).split())}; give a path, s3://, gs:// or https://"
        ) from None


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Errors of a store become one line that names the address.

    Raises:
        InputError: nothing is there, or access is denied.
        Unreachable: anything else, which may be over a moment later.
    """
    try:
        yield
    except UnmingleError:
        raise
    except FileNotFoundError:
        raise InputError(f"{address}: nothing is there; check bucket and path") from None
    except PermissionError as error:
        remedy = "check the credentials in the environment"
        raise InputError(f"{address}: access denied ({_said(error)}); {remedy}") from None
    except Exception as error:  # each store has kinds of its own
        remedy = "check the network and the address"
        if "credential" in f"{type(error).__name__} {error}".lower():
            remedy = "set the credentials in the environment"
        elif protocol_of(address) in ("s3", "s3a"):
            remedy = "check the network and AWS_ENDPOINT_URL"
        wrong = f"{type(error).__name__}: {_said(error)}"
        raise Unreachable(f"{address}: cannot be reached ({wrong}); {remedy}") from None


def _said(error: Exception) -> str:
    """What a store says, in a line; of addresses the host, since what follows is the store's own language."""
    text = re.sub(r"""[a-z][a-z0-9+.-]*://(?:[^/\s"'@]*@)?([^/\s"'?]+)[^\s"']*""", r"\1", str(error))
    return f"{' '.join(text.split()):.200}"


def read_bytes(place: str) -> bytes | None:
    """What a file holds; None if there is none."""
    if not is_address(place):
        path = Path(place)
        return path.read_bytes() if path.is_file() else None
    store, path_there = open_store(place)
    with reaching(place):
        try:
            content: bytes = store.cat_file(path_there)
        except FileNotFoundError:
            return None
        return content


def write_bytes(place: str, content: bytes) -> None:
    """Write a file, which appears whole."""
    if not is_address(place):
        path = Path(place)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as beside:
                beside.write_bytes(content)
        except OSError as error:
            remedy = "choose another output folder, or make room"
            raise InputError(f"{place}: cannot be written ({error.strerror}); {remedy}") from None
        return
    store, path_there = open_store(place)
    with reaching(place):
        store.pipe_file(path_there, content)


def remove(place: str) -> None:
    """Delete a file if it is there."""
    if not is_address(place):
        return Path(place).unlink(missing_ok=True)
    store, path_there = open_store(place)
    with reaching(place):
        if store.exists(path_there):
            store.rm_file(path_there)
    return None


def files_below(place: str) -> list[str]:
    """Addresses of all files below an address, sorted; none if nothing is there."""
    store, path_there = open_store(place)
    with reaching(place):
        found = store.find(path_there)
    return sorted(store.unstrip_protocol(path) for path in found)
