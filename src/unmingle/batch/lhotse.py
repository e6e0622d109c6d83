"""Manifests of Lhotse (JSON, a line per recording or cut): read as input, and written of the results.

References:
    P. Żelasko et al., "Lhotse: a speech data representation library for the modern deep learning ecosystem",
    2021, arXiv:2110.12561; the fields are those of lhotse 1.33.
"""

import gzip
import json
from collections.abc import Iterable
from typing import Any

from unmingle.batch.places import as_place, read_bytes
from unmingle.errors import InputError

SUFFIXES = (".jsonl", ".jsonl.gz")
PLACES = ("file", "url")  # of a source; a command would be run


def is_manifest(place: str) -> bool:
    return place.lower().endswith(SUFFIXES)


def read(place: str) -> list[dict[str, Any]]:
    """The lines of a manifest of cuts or recordings.

    Raises:
        InputError: there is none, or a line is neither.
    """
    content = read_bytes(place)
    if content is None:
        raise InputError(f"{place}: no such file; check the path")
    try:
        text = gzip.decompress(content) if place.lower().endswith(".gz") else content
        lines = [json.loads(line) for line in text.decode().splitlines() if line.strip()]
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{place}: not JSON by lines ({error}); give a manifest that Lhotse wrote") from None
    seen = set()
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or not isinstance(line.get("id"), str):
            raise InputError(f"{place}: line {number} has no id; give recordings or cuts that Lhotse wrote")
        if line["id"] in seen:
            raise InputError(f"{place}: line {number}: {line['id']} is there twice; make the ids unique")
        seen.add(line["id"])
        passage(line, place)
    if not lines:
        raise InputError(f"{place}: empty; give a manifest with recordings or cuts")
    return lines


def passage(line: dict[str, Any], place: str) -> tuple[str, str, dict[str, Any]]:
    """What is read for a line, what it is called, and which passage and channel of it, as options of
    `separate_file`.

    Raises:
        InputError: it is no recording in one file nor a cut of one.
    """
    whole = "sources" in line
    recording = line if whole else line.get("recording")
    sources = recording.get("sources") if isinstance(recording, dict) else None
    if not isinstance(recording, dict) or not isinstance(sources, list) or len(sources) != 1:
        remedy = "save it as one audio file first (in Lhotse: save_audio)"
        raise InputError(f"{place}: {line['id']} ({line.get('type', 'line')}) is not of one file; {remedy}")
    source = sources[0]
    if (
        not isinstance(source, dict)
        or source.get("type") not in PLACES
        or not isinstance(source.get("source"), str)
    ):
        remedy = f"only {' and '.join(PLACES)} are read"
        raise InputError(f"{place}: the source of {line['id']} is no file; {remedy}")
    options: dict[str, Any] = {}
    try:
        if not whole:
            start_s, duration_s, channel = (
                float(line["start"]),
                float(line["duration"]),
                line.get("channel", 0),
            )
            if start_s > 0:
                options["start_s"] = start_s
            if start_s + duration_s < float(recording["duration"]) - 0.5 / float(recording["sampling_rate"]):
                options["end_s"] = start_s + duration_s
            if isinstance(channel, int) and len(source["channels"]) > 1:
                options["channel"] = source["channels"].index(channel) + 1
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{place}: {line['id']} is no cut ({error!r}); give cuts that Lhotse wrote"
        ) from None
    # Names of folders have no suffix to lose.
    return as_place(source["source"]), f"{line['id'].replace('/', '_')}.cut", options


def as_cuts(cut: dict[str, Any], row: Any, task: str) -> Iterable[dict[str, Any]]:
    """A cut per output of a recording: the output is a recording of its own, with supervisions where its
    person speaks. What was enhanced keeps the supervisions of the cut.

    Args:
        cut: the line that was the input.
        row: of the manifest.
        task: "separate" or "enhance".
    """
    for output in row.outputs:
        name = output.rpartition("/")[2].partition(".")[0]
        id = f"{cut['id']}-{name}"
        duration = row.n_samples / row.sample_rate
        recording = {
            "id": id,
            "sources": [{"type": "url" if "://" in output else "file", "channels": [0], "source": output}],
            "sampling_rate": row.sample_rate,
            "num_samples": row.n_samples,
            "duration": duration,
            "channel_ids": [0],
        }
        kept = cut.get("supervisions", []) if task == "enhance" else []
        supervisions = [{**each, "recording_id": id, "channel": 0} for each in kept]
        spoken = [each for each in row.segments or () if each["speaker"] == name]
        supervisions += [
            {
                "id": f"{id}-{k}",
                "recording_id": id,
                "start": each["start_s"],
                "duration": round(min(each["end_s"], duration) - each["start_s"], 6),
                "channel": 0,
                "speaker": id,
            }
            for k, each in enumerate(spoken)
        ]
        yield {
            "id": id,
            "start": 0,
            "duration": duration,
            "channel": 0,
            "supervisions": supervisions,
            "recording": recording,
            "custom": {"input": row.input},
            "type": "MonoCut",
        }


def written(lines: Iterable[dict[str, Any]]) -> bytes:
    """Lines as the content of a `.jsonl.gz`."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return gzip.compress(text.encode(), mtime=0)
