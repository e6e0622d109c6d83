"""Training files for Looking to Listen: compressed spectrograms of voices and of their mixtures, and the
masks that lead from one to the other.

References:
    A. Ephrat et al., "Looking to listen at the cocktail party: a speaker-independent audio-visual model for
    speech separation", 2018.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from unmingle.console import track
from unmingle.data.corpora import read_mono, read_recordings
from unmingle.data.utterance import Utterance
from unmingle.errors import InputError, UsageError
from unmingle.results.folders import replacing

RATE, LENGTH = 16_000, 48_000  # 3 s
WINDOW, HOP, N_FFT = 400, 160, 512  # 25 ms, 10 ms
POWER = 0.3
LEVEL = 0.05  # root mean square of every voice and, before its gain, of the noise
SILENT = 1e-4  # root mean square below which a clip holds no voice
FOLDERS = ("clean", "mix", "crm")
ABOUT, LIST = "about.json", "mixtures.csv"


@dataclass(frozen=True)
class Built:
    """How many clips were mixed, and how many were too short or silent."""

    n_voices: int
    n_left_out: int


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Real and imaginary part under a Hann window: `(T,)` → float64 `(N, 257, 2)`; 3 s are 298 frames."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * hann, N_FFT)
    return np.stack([spectrum.real, spectrum.imag], -1)


def compress(spectrum: np.ndarray, exponent: float = POWER) -> np.ndarray:
    """Magnitude to a power, phase kept: `(…, 2)` → same. With `1 / POWER` it undoes itself.

    >>> compress(np.array([0.0, -16.0]), 0.5).tolist()
    [0.0, -4.0]
    """
    magnitude = np.hypot(spectrum[..., 0], spectrum[..., 1])[..., None]
    return spectrum * np.where(magnitude > 0, magnitude, 1.0) ** (exponent - 1)


def check_separator(separator: str) -> None:
    """UsageError unless a name can be taken apart at it on every system, or it is the colon."""
    if separator not in (":", "_", "=", "+", "~"):
        raise UsageError(f"--separator {separator}: not possible; choose :, _, =, + or ~")


def build(
    clips: Path,
    out: Path,
    *,
    noise: Path | None = None,
    n: int = 1000,
    seed: int = 1,
    noise_gain: float = 0.3,
    separator: str = ":",
) -> Built:
    """Write `n` mixtures of two voices: `out/clean/0:id.npy`, `mix/0:id.1:id.npy` (with noise
    `mix/0:id.1:id.n:2:id.npy`) and `crm/clean:0:id mix:0:id.1:id.npy`, each float32 `(298, 257, 2)`.

    The first 3 s of every clip count, at one level for all; clips that are shorter or silent are left out.
    The number is that of the clip in its list, the id its speaker's. A pair of voices, of two videos, is
    mixed once. What is written depends on clips, noises and options alone. Every file appears by renaming; a
    run that was stopped goes on; `mixtures.csv` appears at the end.

    Args:
        clips, noise: as `read_recordings` takes them.
        n: number of mixtures.
        seed: of the pairs and noises that are drawn.
        noise_gain: of the noise, whose level is a voice's before that; 0.3 is the paper's.
        separator: stands in the place of ":" in the names.

    Raises:
        UsageError: PyTorch is missing.
        InputError: no clips, too few for `n`, one that cannot be decoded, or `out` holds other files.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UsageError(
            "masks are computed by PyTorch, which is missing: pip install 'unmingle[train]'"
        ) from None
    try:
        voices, noises = read_recordings(clips), read_recordings(noise) if noise is not None else []
        usable = [k for k, clip in enumerate(track(voices, "reading clips")) if _read(clip) is not None]
        heard = [k for k, clip in enumerate(track(noises, "reading noises")) if _read(clip) is not None]
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from None
    if noise is not None and not heard:
        raise InputError(f"{noise}: no noise of 3 s in it; give another --noise")
    pairs = _draw_pairs([(k, voices[k].speaker) for k in usable], n, seed, clips)
    drawn = np.random.default_rng([seed, 1]).choice(heard, n) if heard else [None] * n
    facts: dict[str, object] = {
        "seed": seed,
        "noise_gain": noise_gain if heard else None,
        "separator": separator,
    }
    for what, listed in (("clips", voices), ("noises", noises)):
        content = "".join(f"{each.path.resolve()} {each.path.stat().st_size}\n" for each in listed)
        facts[what] = hashlib.sha256(content.encode()).hexdigest()
    _begin(out, facts)

    def name(recording: Utterance, number: int) -> str:
        return f"{number}{separator}{re.sub('[^A-Za-z0-9_-]', '-', recording.speaker)}"

    def save(file: str, array: np.ndarray) -> None:
        with replacing(out / file) as beside, beside.open("wb") as opened:
            np.save(opened, array.astype(np.float32))

    rows = []
    for pair, number in track(zip(pairs, drawn, strict=True), "mixing", n):
        names = [name(voices[k], k) for k in pair]
        added = [f"n{separator}{name(noises[number], number)}"] if number is not None else []
        stem = ".".join([*names, *added])
        masks = [f"crm/clean{separator}{each} mix{separator}{stem}.npy" for each in names]
        files = [f"mix/{stem}.npy", *(f"clean/{each}.npy" for each in names), *masks]
        rows.append(dict(zip(("mix", "clean_1", "clean_2", "crm_1", "crm_2"), files, strict=True)))
        if all((out / file).is_file() for file in files):
            continue
        signals = [_level(voices[k]) for k in pair]
        mixture = signals[0] + signals[1]
        if number is not None:
            mixture = mixture + noise_gain * _level(noises[number])
        spectra = [spectrogram(signal) for signal in signals]
        whole = spectrogram(mixture)
        for file, spectrum in zip(files, [whole, *spectra], strict=False):
            save(file, compress(spectrum))
        for file, spectrum in zip(masks, spectra, strict=True):
            save(file, _mask(spectrum, whole))
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(out / LIST) as beside:
        beside.write_text(text.getvalue(), encoding="utf-8", newline="")
    return Built(len({k for pair in pairs for k in pair}), len(voices) - len(usable))


def _mask(source: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """The compressed complex mask `(N, 257, 2)` that makes the source of the mixture."""
    import torch

    from unmingle.layers import crm

    parts = [torch.from_numpy(np.moveaxis(spectrum, -1, 0)) for spectrum in (source, mixture)]
    return np.moveaxis(crm.compress(crm.compute(*parts)).numpy(), 0, -1)


@lru_cache(maxsize=256)
def _read(recording: Utterance) -> np.ndarray | None:
    """The first 3 s of a clip, float32 `(48000,)`; None if it is shorter or silent."""
    samples = read_mono(recording.path, RATE)[:LENGTH]
    return samples if len(samples) == LENGTH and np.square(samples).mean() > SILENT**2 else None


def _level(recording: Utterance) -> np.ndarray:
    samples = _read(recording)
    assert samples is not None
    return samples * (LEVEL / np.sqrt(np.square(samples).mean()))


def _draw_pairs(clips: list[tuple[int, str]], n: int, seed: int, source: Path) -> list[tuple[int, int]]:
    """`n` different pairs of clips of two speakers."""
    speakers = [speaker for _, speaker in clips]
    same = sum(count * (count - 1) // 2 for count in np.unique(speakers, return_counts=True)[1].tolist())
    possible = len(clips) * (len(clips) - 1) // 2 - same
    if n > possible:
        raise InputError(
            f"{source}: {len(clips)} clips of 3 s make {possible} pairs of two speakers; lower --n {n}"
        )

    def draw() -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([seed, 0])
        while True:
            one, other = sorted(rng.integers(len(clips), size=2).tolist())
            if speakers[one] != speakers[other]:
                yield clips[one][0], clips[other][0]

    pairs: dict[tuple[int, int], None] = {}  # keeps the order, and each once
    for pair in draw():
        pairs[pair] = None
        if len(pairs) == n:
            break
    return list(pairs)


def _begin(out: Path, facts: dict[str, object]) -> None:
    """Make the folders; an error if what is in them was made otherwise."""
    about = out / ABOUT
    if about.is_file() and json.loads(about.read_text(encoding="utf-8")) != facts:
        raise InputError(f"{out}: holds what was built of other clips or options; choose another --out")
    if not about.is_file() and out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: holds other files; choose another --out")
    for folder in FOLDERS:
        (out / folder).mkdir(parents=True, exist_ok=True)
    with replacing(about) as beside:
        beside.write_text(json.dumps(facts, indent=1), encoding="utf-8")
