"""LibriMix built from its metadata: the same files, to the bit, as the original script writes from the same
recordings.

References:
    J. Cosentino et al., "LibriMix: an open-source dataset for generalizable speech separation", 2020. What is
    done in which order and in which precision is as in scripts/create_librimix_from_metadata.py of
    github.com/JorisCos/LibriMix.
"""

import csv
import hashlib
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from unmingle.console import track
from unmingle.errors import InputError, UsageError
from unmingle.results.folders import replacing

RATE = 16_000  # of LibriSpeech and of WHAM!'s noise [Hz]
TYPES = ("mix_clean", "mix_both", "mix_single")
EPS = 1e-10
SOURCE = "one from metadata/ of github.com/JorisCos/LibriMix, such as Libri2Mix/libri2mix_test-clean.csv"

Row = dict[str, str]
Record = dict[
    str, Any
]  # a mixture that was made: its row, length, signal-to-noise ratios and the sums of its files


def build_librimix(
    metadata: Path,
    speech: Path,
    *,
    noise: Path | None = None,
    out: Path = Path(),
    sample_rate: int = RATE,
    mode: str = "min",
    types: list[str] | None = None,
) -> tuple[Path, int, int]:
    """Build one subset of LibriMix, such as `out/Libri2Mix/wav16k/min/test`, as the metadata's columns and
    name say.

    Every file appears by renaming. `made.jsonl` lists which mixtures are there and from what they were made,
    so a run that was stopped goes on; `SHA256SUMS` covers every file. In `metadata/` beside the subset stand
    LibriMix's CSVs of paths, lengths and signal-to-noise ratios.

    Args:
        metadata: a CSV such as metadata/Libri2Mix/libri2mix_test-clean.csv of the LibriMix repository.
        speech: LibriSpeech, the folder that holds test-clean, ….
        noise: WHAM!'s noise, the folder that holds tr, cv and tt.
        sample_rate: 16000 or 8000 [Hz].
        mode: "min" cuts the voices to the shortest, "max" pads them to the longest.
        types: some of `TYPES`; unless given, all with noise and mix_clean without.

    Returns:
        The subset's folder, the number of its mixtures, and how many of them were there already.

    Raises:
        UsageError: an option that is unknown, or noise that is needed and not given.
        InputError: metadata that is none, or a recording that is missing or not as LibriMix needs it.
    """
    types = types or list(TYPES if noise is not None else TYPES[:1])
    chosen = [
        ("--sample-rate", sample_rate, (8000, RATE)),
        ("--mode", mode, ("min", "max")),
        *(("--types", type, TYPES) for type in types),
    ]
    for option, value, known in chosen:
        if value not in known:
            raise UsageError(f"{option} {value}: unknown; choose from {', '.join(map(str, known))}")
    if noise is None and types != ["mix_clean"]:
        raise UsageError(
            f"--types {','.join(types)}: needs noise; give WHAM!'s with --noise wham_noise/, or choose "
            "--types mix_clean"
        )
    try:
        import scipy.signal  # noqa: F401
    except ImportError:
        raise UsageError(
            "LibriMix is resampled with SciPy, which is missing: pip install 'unmingle[train]'"
        ) from None
    rows, parts = _read_metadata(metadata, noise is not None)
    recordings = {row["mixture_ID"]: _find(row, parts, metadata, speech, noise) for row in rows}
    n_src = len(parts) - (noise is not None)
    subset = metadata.stem.replace(f"libri{n_src}mix_", "").replace("-clean", "")
    folder = out.absolute() / f"Libri{n_src}Mix" / f"wav{sample_rate // 1000}k" / mode / subset
    for name in (*parts, *types):
        (folder / name).mkdir(parents=True, exist_ok=True)
    made = _read_made(folder / "made.jsonl", rows)

    def complete(row: Row) -> bool:
        files = [f"{name}/{row['mixture_ID']}.wav" for name in (*parts, *types)]
        return row["mixture_ID"] in made and all(
            file in made[row["mixture_ID"]]["sums"] and (folder / file).is_file() for file in files
        )

    def make(row: Row) -> Record:
        id = row["mixture_ID"]
        gains = [float(row[f"{_column(part)}_gain"]) for part in parts]
        signals = dict(
            zip(parts, _transform(_read(recordings[id], n_src), gains, sample_rate, mode), strict=True)
        )
        record = made.get(id, {"row": row, "length": len(signals["s1"]), "snrs_db": {}, "sums": {}})
        for type in types:
            added = [signals[part] for part in _parts_of(type, parts)]
            signals[type] = np.zeros_like(signals["s1"])
            for signal in added:
                signals[type] += signal
            record["snrs_db"][type] = [_snr_db(signal, signals[type] - signal) for signal in added]
        for name, samples in signals.items():
            record["sums"][f"{name}/{id}.wav"] = _write(folder / name / f"{id}.wav", samples, sample_rate)
        return record

    todo = [row for row in rows if not complete(row)]
    with (folder / "made.jsonl").open("a", encoding="utf-8") as file, ThreadPoolExecutor() as pool:
        try:
            for record in track(pool.map(make, todo), f"building {subset}", len(todo)):
                made[record["row"]["mixture_ID"]] = record
                file.write(json.dumps(record) + "\n")
                file.flush()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _write_tables(folder, [made[row["mixture_ID"]] for row in rows], parts, types)
    return folder, len(rows), len(rows) - len(todo)


def _column(part: str) -> str:
    """How the columns of "s1", "s2", … and "noise" begin."""
    return part if part == "noise" else f"source_{part[1:]}"


def _parts_of(type: str, parts: list[str]) -> list[str]:
    return {
        "mix_clean": [part for part in parts if part != "noise"],
        "mix_both": parts,
        "mix_single": ["s1", "noise"],
    }[type]


def _read_metadata(path: Path, noise: bool) -> tuple[list[Row], list[str]]:
    """The rows, one per mixture, and the parts of each: "s1", "s2", …, and "noise" if asked for."""
    if not path.is_file():
        raise InputError(f"{path}: no such metadata file; give {SOURCE}")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV ({error}); give {SOURCE}") from None
    columns = [str(column) for column in (rows[0] if rows else ())]
    n_src = max(2, len([column for column in columns if re.fullmatch(r"source_\d+_path", column)]))
    parts = [f"s{k + 1}" for k in range(n_src)] + ["noise"] * noise
    expected = ["mixture_ID", *(f"{_column(part)}_{what}" for part in parts for what in ("path", "gain"))]
    lacking = [column for column in expected if column not in columns]
    if lacking:
        raise InputError(f"{path}: no column {lacking[0]}; give {SOURCE}")
    for row in rows:
        for column in expected:
            good = (
                r"\d+(\.\d+)?([eE][-+]?\d+)?"
                if column.endswith("_gain")
                else r"[^/\\]+"
                if column == "mixture_ID"
                else ".+"
            )
            if not re.fullmatch(good, row[column] or ""):
                raise InputError(
                    f"{path}: mixture {row['mixture_ID']}: {column} is {row[column]!r}; the file is "
                    "damaged, download it again"
                )
    return rows, parts


def _find(row: Row, parts: list[str], metadata: Path, speech: Path, noise: Path | None) -> list[Path]:
    """Where the recordings of a mixture lie, in the order of its parts."""
    paths = []
    for part in parts:
        root, option = (noise, "--noise") if noise is not None and part == "noise" else (speech, "--speech")
        name = row[f"{_column(part)}_path"]
        if not (root / name).is_file():
            remedy = f"give the folder that holds {Path(name).parts[0]}/ with {option}"
            if re.search(r"sp(08|12)\.wav$", name):
                remedy = (
                    "LibriMix's augment_train_noise.py makes it from WHAM!'s noise; mix_clean is built "
                    "without it, and without --noise"
                )
            raise InputError(f"{root / name}: not there, though {metadata.name} names it; {remedy}")
        paths.append(root / name)
    return paths


def _read_made(journal: Path, rows: list[Row]) -> dict[str, Record]:
    """What an earlier run made of these very rows; a line that was cut short counts for nothing, and is taken
    out of the file.
    """
    present = {row["mixture_ID"]: row for row in rows}
    made: dict[str, Record] = {}
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["row"] == present.get(record["row"]["mixture_ID"]):
            made[record["row"]["mixture_ID"]] = record
    _replace(journal, "".join(json.dumps(record) + "\n" for record in made.values()).encode())
    return made


def _read(paths: list[Path], n_src: int) -> list[np.ndarray]:
    """The voices in full and, where it is wanted, the first channel of the noise, as long as the longest
    voice.
    """
    recordings: list[np.ndarray] = []
    for path in paths:
        longest = max(len(voice) for voice in recordings[:n_src]) if len(recordings) == n_src else None
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True, stop=longest)
        except soundfile.LibsndfileError as error:
            raise InputError(f"{path}: cannot be decoded ({error.error_string}); unpack it again") from None
        if rate != RATE:
            raise InputError(f"{path}: sampled at {rate} Hz; LibriMix is made of recordings at {RATE} Hz")
        recording = samples[:, 0]
        if longest is not None and len(recording) < longest:
            if len(recording) <= RATE // 2 + 1:
                raise InputError(
                    f"{path}: too short to be repeated ({len(recording)} samples); is this WHAM!'s noise?"
                )
            recording = repeat_noise(recording, longest)
        recordings.append(recording)
    return recordings


def repeat_noise(noise: np.ndarray, length: int) -> np.ndarray:
    """Repeat a noise up to `length` [samples], each time faded over 0.5 s into the next; float64, as the
    window is.
    """
    rising = np.hanning(RATE + 1)[: RATE // 2 + 1]
    n = len(rising)
    repeated = noise
    while len(repeated) < length:
        joint = repeated[-n:] * rising[::-1] + noise[:n] * rising
        repeated = np.concatenate([repeated[:-n], joint, noise[n:]])
    return repeated[:length]


def _transform(
    recordings: list[np.ndarray], gains: list[float], sample_rate: int, mode: str
) -> list[np.ndarray]:
    """Scaled, then resampled, then cut or padded to one length."""
    from scipy.signal import resample_poly

    signals = [
        resample_poly(recording * gain, sample_rate, RATE)
        for recording, gain in zip(recordings, gains, strict=True)
    ]
    length = (min if mode == "min" else max)(len(signal) for signal in signals)
    return [np.pad(signal[:length], (0, max(0, length - len(signal)))) for signal in signals]


def _snr_db(signal: np.ndarray, rest: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(signal**2) / (np.mean(rest**2) + EPS) + EPS))


def _write(path: Path, samples: np.ndarray, sample_rate: int) -> str:
    """Write a 16-bit WAV, which clips what is louder than full scale; return the file's SHA-256."""
    memory = io.BytesIO()
    soundfile.write(memory, samples, sample_rate, "PCM_16", format="WAV")
    _replace(path, memory.getvalue())
    return hashlib.sha256(memory.getvalue()).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    with replacing(path) as beside:
        beside.write_bytes(content)


def _write_tables(folder: Path, records: list[Record], parts: list[str], types: list[str]) -> None:
    """`SHA256SUMS` of the subset, and LibriMix's CSVs in `metadata/` beside it."""
    sums = [
        f"{digest}  {file}\n"
        for record in records
        for file, digest in record["sums"].items()
        if (folder / file).is_file()
    ]
    _replace(folder / "SHA256SUMS", "".join(sums).encode())
    (folder.parent / "metadata").mkdir(exist_ok=True)
    for type in types:
        added = _parts_of(type, parts)
        mixtures = [["mixture_ID", "mixture_path", *(f"{_column(part)}_path" for part in added), "length"]]
        metrics = [["mixture_ID", *(f"{_column(part)}_SNR" for part in added)]]
        for record in records:
            id = record["row"]["mixture_ID"]
            mixtures.append(
                [id, *(str(folder / name / f"{id}.wav") for name in (type, *added)), record["length"]]
            )
            metrics.append([id, *record["snrs_db"][type]])
        for what, table in (("mixture", mixtures), ("metrics", metrics)):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(table)
            _replace(
                folder.parent / "metadata" / f"{what}_{folder.name}_{type}.csv", text.getvalue().encode()
            )
