"""`get()`: a published model is downloaded, from Hugging Face's hub or from GitHub, and imported."""

import hashlib
import re
import tempfile
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit
from urllib.request import getproxies

from unmingle.console import stage
from unmingle.errors import InputError, UsageError
from unmingle.published import github
from unmingle.published.importing import FORMATS, free_name, import_checkpoint, need_packages
from unmingle.published.table import Download, Published, find_published


def get(name: str, *, as_name: str | None = None, out: Path | None = None) -> Path:
    """Download a published model and import it; see `import_checkpoint`.

    From the hub the download is that of huggingface_hub: it goes on where it was interrupted, lies in its
    cache (`HF_HOME`), shows its progress, and obeys `HF_HUB_OFFLINE` and `HF_ENDPOINT`. The commit is fixed,
    and the file's SHA-256 is compared with the one that the hub states for that commit. From GitHub see
    `github.download`.

    Args:
        name: of a row in `published()` that has a download.
        as_name: of the model; the same unless given.
        out: folder for the files instead of the user's own.

    Returns:
        The card's path.

    Raises:
        UsageError: there is no such model, it cannot be converted yet, the name is taken, or a package is
            missing.
        InputError: it could not be downloaded, or not converted; nothing is left but what was downloaded.
    """
    row = find_published(name)
    if row.download is None:
        raise UsageError(f"{name}: {row.why_not}; it is at {row.source}")
    assert row.download.format in FORMATS
    from_hub = row.download.host == "huggingface"
    need_packages(*(("huggingface_hub",) if from_hub else ()))
    as_name = free_name(as_name or name, out)
    size = f" ({row.size_mb:g} MB)" if row.size_mb else ""
    stage(f"downloading {row.download.repository}{size}")
    with tempfile.TemporaryDirectory(prefix="unmingle-") as folder:
        if from_hub:
            path = download(name, row.download)
        else:
            assert row.size_mb is not None
            path = github.download(name, row.download, Path(folder), row.size_mb)
        return import_checkpoint(
            path,
            format=row.download.format,
            name=as_name,
            out=out,
            sample_rate=row.sample_rate,
            training=origin(row),
            licence=row.licence,
        )


def download(name: str, place: Download) -> Path:
    """Where the checkpoint lies in the hub's cache, after it was downloaded if need be: its file, or the
    folder of its files. InputError says why it could not be, or that a file is another than expected.
    """
    paths = []
    for file in place.files:
        path = _download(name, place, file)
        expected = place.sha256.get(file) or _hash_of_the_hub(path)
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if expected not in (None, found):
            path.resolve().unlink(missing_ok=True)  # what is damaged must not be found again
            path.unlink(missing_ok=True)
            raise InputError(f"{path}: its SHA-256 is {found}, expected is {expected}; get the file again")
        paths.append(path)
    return paths[0] if len(paths) == 1 else paths[0].parents[place.files[0].count("/")]


def _download(name: str, place: Download, file: str) -> Path:
    from huggingface_hub import constants, hf_hub_download, logging
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    logging.set_verbosity_error()  # else each of its retries is a line
    where = f"{constants.ENDPOINT}/{place.repository}"
    try:
        return Path(
            hf_hub_download(
                place.repository,
                file,
                revision=place.revision,
                library_name="unmingle",
                local_files_only=not answers(constants.ENDPOINT),  # else it tries for 24 s
            )
        )
    except LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            reason = "HF_HUB_OFFLINE is set, and it was not downloaded before; unset it once"
        else:
            reason = (
                f"{where} cannot be reached; is there a connection? Run the command again to go on, set "
                f"HF_ENDPOINT to a mirror, or get {file} elsewhere and use: unmingle import FILE "
                f"--format {place.format}"
            )
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError):
        reason = f"{where} has no {file} at {place.revision[:10]}; it was moved or removed by its owner"
    except HfHubHTTPError as error:
        reason = f"{where} refuses it ({str(error).splitlines()[0]:.100}); try again later"
    except Exception as error:  # of the network's packages, or the disk's; an interrupted one goes on later
        said = " ".join(str(error).split())
        reason = f"the download failed ({type(error).__name__}: {said:.200}); run the command again to go on"
    raise InputError(f"{name}: {reason}")


def origin(row: Published) -> str:
    """What the card says of where the weights are from."""
    assert row.download is not None
    host = "github.com/" if row.download.host == "github" else ""
    place = f"downloaded from {host}{row.download.repository} at {row.download.revision}"
    if row.si_sdri_db is None:
        return place
    figure = f"SI-SDRi {row.si_sdri_db:.2f} dB on {row.set}"
    return f"{place}; its authors measured {figure}, which was not measured again here"


def answers(address: str) -> bool:
    """Whether anything listens at a web address, found out within 5 s; behind a proxy it is assumed."""
    place = urlsplit(address)
    if getproxies():
        return True
    try:
        with create_connection((place.hostname or "", place.port or 443), timeout=5):
            return True
    except OSError:
        return False


def _hash_of_the_hub(path: Path) -> str | None:
    """The SHA-256 by which the hub's cache calls a large file; None for another name."""
    return path.resolve().name if re.fullmatch(r"[0-9a-f]{64}", path.resolve().name) else None
