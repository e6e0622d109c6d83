"""Results on disk: files and folders that appear whole or not at all."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unmingle.errors import InputError


def own_name(name: str) -> bool:
    """Whether a file of that name in a folder of results is one of ours, which a run may replace."""
    from unmingle.media.writer import FORMATS  # codecs take long to import, and not everybody here needs them

    return bool(
        re.fullmatch(
            rf"(speaker-\d+|face(-\d+)+|voice|rest)\.({'|'.join(FORMATS)})|face(-\d+)+\.(jpg|mp4|mkv)|faces\.json|(spectrogram|embeddings|timeline)\.png|speakers\.rttm|labels\.txt",
            name,
        )
    )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what is there afterwards takes the place of `path`, or after an
    exception nothing does.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class OutputFolder:
    """A folder of results that appears whole or not at all; a context manager.

    Entering gives the path of a hidden folder beside the wanted one; files are written into it, and closed.
    Leaving renames them into place. After any exception (Ctrl-C included) nothing is left behind: no file, no
    hidden folder, no parent that was made for it. A folder that exists already keeps what else is in it; only
    an earlier run's files (`own_name`) and files of the names just written are replaced, and put back if that
    fails. Two inputs of one name need two folders: the caller chooses the path.

    Args:
        path: the wanted folder.
        overwrite: replace an earlier run's files; otherwise they are an error.

    Raises:
        InputError: not a folder, not writable, results are there already, disk full.
    """

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        self.path, self._overwrite = Path(path), overwrite
        self._target = self.path.resolve()
        self._work = self._target.parent / f".unmingle-{secrets.token_hex(6)}"
        self._old = self._work / "replaced"
        self._made: list[Path] = []

    def check(self) -> None:
        """The errors that entering would raise, where a long work comes before it; nothing is made."""
        try:
            for folder in (self.path, *self.path.parents):
                if folder.exists() and not folder.is_dir():
                    raise InputError(f"{folder}: a file, not a folder; choose another output folder")
            self._replaced([])
            if self.path.exists() and not os.access(self.path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise self._message(error) from None

    def __enter__(self) -> Path:
        self.check()
        try:
            self._made = [folder for folder in self._work.parents if not folder.exists()]
            self._work.mkdir(parents=True)
        except BaseException as error:
            self._clean()
            if isinstance(error, OSError):
                raise self._message(error) from None
            raise
        return self._work

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if error is None:
                self._commit()
        except OSError as failed:
            error = failed
        except BaseException:
            self._clean()
            raise
        self._clean()
        is_ours = isinstance(error, OSError) and (
            error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or self._is_inside(error)
        )
        if isinstance(error, OSError) and (kind is None or is_ours):
            raise self._message(error) from None

    def _replaced(self, names: list[str]) -> list[str]:
        """Names in the folder that give way to the files `names` and to an earlier run's; an error unless
        overwriting.
        """
        existing = sorted(file.name for file in self.path.iterdir()) if self.path.exists() else []
        replaced = [name for name in existing if own_name(name) or name in names]
        if replaced and not self._overwrite:
            remedy = "choose another output folder, or overwrite it (--overwrite, in Python overwrite=True)"
            raise InputError(f"{self.path / replaced[0]}: exists already; {remedy}")
        return replaced

    def _commit(self) -> None:
        names = [file.name for file in self._work.iterdir()]
        replaced = self._replaced(names)
        if not self._target.exists():
            self._work.replace(self._target)
            return
        self._old.mkdir()
        moves = [(self._target / name, self._old / name) for name in replaced] + [
            (self._work / name, self._target / name) for name in names
        ]
        done: list[tuple[Path, Path]] = []
        try:
            for source, destination in moves:
                source.replace(destination)
                done.append((source, destination))
        except BaseException:
            for source, destination in reversed(done):
                destination.replace(source)
            raise
        shutil.rmtree(self._old, ignore_errors=True)

    def _clean(self) -> None:
        if not any(
            self._old.glob("*")
            # there is something only when putting an earlier run's files back has failed: better left than
            # lost
        ):
            shutil.rmtree(self._work, ignore_errors=True)
        for folder in self._made:  # innermost first; one with something in it stays
            with suppress(OSError):
                folder.rmdir()

    def _is_inside(self, error: OSError) -> bool:
        return error.filename is not None and self._work in Path(os.fsdecode(error.filename)).parents

    def _message(self, error: OSError) -> InputError:
        place = self.path / Path(os.fsdecode(error.filename)).name if self._is_inside(error) else self.path
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return InputError(
                f"{place}: no room to write it ({error.strerror}); free some disk space, or choose another "
                "output folder"
            )
        return InputError(f"{place}: cannot be written ({error.strerror}); choose another output folder")
