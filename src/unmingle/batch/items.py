"""Which recordings there are, and where the results of each go."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from unmingle.batch import lhotse
from unmingle.batch.places import (
    READ_ONLY,
    as_place,
    files_below,
    is_address,
    open_store,
    protocol_of,
    reaching,
)
from unmingle.errors import InputError, UsageError
from unmingle.inference.outputs import output_stems
from unmingle.media.recording import AUDIO_SUFFIXES, find_inputs, what_is_in


@dataclass(frozen=True)
class Item:
    """A recording of many.

    Attributes:
        input: its absolute path or address, by which it is known; of a cut, `manifest#id`.
        source: what is read.
        folder: of its results, relative to the output folder. While it is not known yet, where the recording
            lies below the folder that was given.
        options: of this one alone: its passage and channel.
        cut: its line in a Lhotse manifest.
    """

    input: str
    source: str
    folder: str
    options: dict[str, Any] = field(default_factory=dict)
    cut: dict[str, Any] | None = None


def list_items(inputs: Iterable[str], out: str) -> list[Item]:
    """Every recording once, in the order of the inputs; folders are sorted. What lies below `out` is left
    out.

    Raises:
        InputError: there is nothing, or it cannot be reached.
        UsageError: standard input, which is no file.
    """
    found: dict[str, Item] = {}
    for text in inputs:
        if text == "-":
            raise UsageError(
                "- is one recording, without a manifest; leave out --engine, --workers and addresses"
            )
        place = as_place(text)
        if lhotse.is_manifest(place):
            items = [
                Item(f"{place}#{cut['id']}", *lhotse.passage(cut, place), cut) for cut in lhotse.read(place)
            ]
        else:
            items = [Item(name, name, relative) for name, relative in _recordings(text, place)]
        for item in items:
            if not item.source.startswith(f"{out}/"):
                found.setdefault(item.input, item)
    return list(found.values())


def _recordings(text: str, place: str) -> list[tuple[str, str]]:
    """Names of the recordings that an argument stands for, and where they lie below it."""
    if not is_address(place):
        path = Path(place)
        if not path.exists() and set(text) & set("*?["):
            root = Path(*path.parts[: next(i for i, part in enumerate(path.parts) if set(part) & set("*?["))])
            paths = [each for each in sorted(root.glob(str(path.relative_to(root)))) if each.is_file()]
        elif path.is_dir():
            root, paths = path, find_inputs([path])
            if paths == [path]:
                raise InputError(f"{text}: a folder {what_is_in(path)}")
        else:
            root, paths = path.parent, [path]
        if not paths or not paths[0].exists():
            raise InputError(f"{text}: no such file or folder; check the path")
        return [(str(each), each.relative_to(root).as_posix()) for each in paths]
    if protocol_of(place) in READ_ONLY and not text.endswith("/"):
        return [(text, unquote(PurePosixPath(urlsplit(text).path).name))]
    root_address = place
    if "*" in place:
        store, path_there = open_store(place)
        with reaching(place):
            found = sorted(store.unstrip_protocol(each) for each in store.glob(path_there))
        root_address = place[: place.index("*")].rpartition("/")[0]
    elif protocol_of(place) in READ_ONLY:
        found = [each for each in files_below(f"{place}/") if each.startswith(f"{place}/")]
    else:
        found = files_below(place)
        if found == [place]:
            return [(place, PurePosixPath(place).name)]
        if not found:  # which may be because there is no such bucket
            store, path_there = open_store(place)
            with reaching(place):
                store.ls(path_there)
    relative = [(each, each.removeprefix(f"{root_address}/")) for each in found]
    recordings = [(each, name) for each, name in relative if _is_recording(name)]
    if not recordings:
        raise InputError(f"{text}: no recording is there; check bucket and path")
    return recordings


def _is_recording(relative: str) -> bool:
    path = PurePosixPath(urlsplit(relative).path)
    return path.suffix.lower() in AUDIO_SUFFIXES and not any(part.startswith(".") for part in path.parts)


def with_folders(items: Iterable[Item], known: Mapping[str, str]) -> list[Item]:
    """The items with folders of their own: those that the manifest knows keep theirs, others get the
    recording's name, below the folders in which it lies, numbered where it is taken.
    """
    taken = {folder.casefold() for folder in known.values()}
    placed = []
    for item in items:
        folder = known.get(item.input)
        if folder is None:
            path = PurePosixPath(item.folder)
            stem = output_stems([path.name])[0]
            parts = [
                re.sub(r'[<>:"\\|?*\x00-\x1f]', "_", part)
                for part in path.parent.parts
                if part not in ("..", "/")
            ]
            wanted = folder = "/".join((*parts, stem))
            count = 1
            while folder.casefold() in taken:
                count += 1
                folder = f"{wanted}-{count}"
            taken.add(folder.casefold())
        placed.append(Item(item.input, item.source, folder, item.options, item.cut))
    return placed
