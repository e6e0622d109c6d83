"""Recognisers of speech that work offline, behind one call. A new one is a function and an entry of
`RECOGNISERS`.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soxr

from unmingle.errors import InputError, UsageError

RATE = 16_000  # what recognisers are trained on [Hz]
PEAK = 0.5  # to which signals are scaled, so that their level does not count
DEFAULT_RECOGNISER = "pocketsphinx"

Words = tuple[list[str], list[float]]  # what was heard, and how sure the recogniser is of its parts, 0 to 1
Recognise = Callable[[np.ndarray], Words]  # (T,) at RATE


@dataclass(frozen=True)
class Heard:
    """What a recogniser heard.

    Attributes:
        words: in lower case, without punctuation.
        confidence: mean over the words, 0 to 1; None where there are none, or the recogniser does not say.
    """

    words: tuple[str, ...]
    confidence: float | None


def plain_words(text: str) -> tuple[str, ...]:
    """Lower case, without punctuation but apostrophes within words; numbers stay as they are written.

    >>> plain_words("“Don’t!” — he said: 3 o'clock.")
    ("don't", 'he', 'said', '3', "o'clock")
    """
    return tuple(re.findall(r"\w+(?:'\w+)*", text.lower().replace("’", "'")))


class Recogniser:
    """Any of `RECOGNISERS`, with its model in memory. What it has heard once it remembers."""

    def __init__(self, recognise: Recognise) -> None:
        self._recognise = recognise
        self._heard: dict[bytes, Heard] = {}

    def __call__(self, samples: np.ndarray, sample_rate: int) -> Heard:
        """The words in `(T,)` at `sample_rate` [Hz], resampled and scaled as recognisers expect it; none in
        silence.
        """
        peak = float(np.abs(samples).max(initial=0))
        if not peak:
            return Heard((), None)
        at_rate = soxr.resample(samples, sample_rate, RATE) if sample_rate != RATE else samples
        scaled = (PEAK / peak * at_rate).astype(np.float32)
        key = hashlib.sha256(scaled.tobytes()).digest()
        if key not in self._heard:
            words, sure = self._recognise(scaled)
            heard = plain_words(" ".join(words))
            self._heard[key] = Heard(heard, float(np.mean(sure)) if heard and sure else None)
        return self._heard[key]


def _pcm(samples: np.ndarray) -> bytes:
    """`(T,)` as 16-bit integers."""
    return (samples.clip(-1, 1) * 32767).astype("<i2").tobytes()


def _pocketsphinx(folder: Path | None) -> Recognise:
    """Gaussian mixtures and trigrams; US English comes with the package. Another model's folder holds
    `*.lm.bin`, `*.dict` and, in a folder below, `mdef` with what belongs to it.
    """
    from pocketsphinx import Decoder

    files: dict[str, str] = {}
    if folder is not None:
        files = {
            "hmm": str(_within(folder, "*/mdef").parent),
            "dict": str(_within(folder, "*.dict")),
            "lm": str(_within(folder, "*.lm.bin")),
        }
    # Half as much work as without bounds, and many times less in noise; clean speech sounds the same to it.
    bounds = {"maxhmmpf": 3000, "maxwpf": 10}
    decoder = Decoder(samprate=RATE, loglevel="FATAL", **bounds, **files)

    def recognise(samples: np.ndarray) -> Words:
        decoder.reinit_feat()  # else the words depend on what was heard before
        decoder.start_utt()
        decoder.process_raw(_pcm(samples), no_search=False, full_utt=True)
        decoder.end_utt()
        if decoder.hyp() is None:
            return [], []
        spoken = [part for part in decoder.seg() if part.word[0] not in "<[+"]
        return [decoder.hyp().hypstr], [min(part.prob, 1.0) for part in spoken]

    return recognise


def _vosk(folder: Path | None) -> Recognise:
    """Kaldi's networks; a model's folder as it is unpacked."""
    import vosk

    vosk.SetLogLevel(-1)
    model = vosk.Model(str(folder))

    def recognise(samples: np.ndarray) -> Words:
        recogniser = vosk.KaldiRecognizer(model, RATE)
        recogniser.SetWords(True)
        pcm, step = _pcm(samples), RATE // 2  # a quarter of a second
        results = []
        for start in range(0, len(pcm), step):
            if recogniser.AcceptWaveform(pcm[start : start + step]):
                results.append(recogniser.Result())  # a pause ended an utterance
        results.append(recogniser.FinalResult())
        found = [word for result in results for word in json.loads(result).get("result", [])]
        return [word["word"] for word in found], [word["conf"] for word in found]

    return recognise


def _faster_whisper(folder: Path | None) -> Recognise:
    """Whisper in CTranslate2's format; a model's folder holds `model.bin`. No sampling: the same signal gives
    the same words.
    """
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", local_files_only=True)

    def recognise(samples: np.ndarray) -> Words:
        segments, _ = model.transcribe(
            samples, temperature=0.0, condition_on_previous_text=False, word_timestamps=True
        )
        found = [word for segment in segments for word in segment.words or []]
        return [word.word for word in found], [word.probability for word in found]

    return recognise


def _sherpa_onnx(folder: Path | None) -> Recognise:
    """Transducers of next-generation Kaldi; a model's folder holds `encoder*.onnx`, `decoder*.onnx`,
    `joiner*.onnx` and `tokens.txt`.
    """
    import sherpa_onnx

    files = {part: str(_within(folder, f"{part}*.onnx")) for part in ("encoder", "decoder", "joiner")}
    model = sherpa_onnx.OfflineRecognizer.from_transducer(
        **files, tokens=str(_within(folder, "tokens.txt")), sample_rate=RATE
    )

    def recognise(samples: np.ndarray) -> Words:
        stream = model.create_stream()
        stream.accept_waveform(RATE, samples)
        model.decode_stream(stream)
        sure = getattr(stream.result, "ys_probs", [])  # logarithms, of tokens; older versions have none
        return [stream.result.text], [float(np.exp(each)) for each in sure]

    return recognise


def _within(folder: Path | None, pattern: str) -> Path:
    """The file of that name, the shortest of several (`encoder.onnx`, not `encoder.int8.onnx`); InputError if
    there is none.
    """
    found = sorted(folder.glob(pattern), key=lambda path: (len(path.name), path)) if folder else []
    if not found:
        raise InputError(f"{folder}: has no {pattern}; expected the unpacked folder of a model")
    return found[0]


#: by the names that `--recogniser` takes: what loads it, the package that it needs, and whether that brings a
#: model
RECOGNISERS: dict[str, tuple[Callable[[Path | None], Recognise], str, bool]] = {
    "pocketsphinx": (_pocketsphinx, "pocketsphinx", True),
    "vosk": (_vosk, "vosk", False),
    "faster-whisper": (_faster_whisper, "faster_whisper", False),
    "sherpa-onnx": (_sherpa_onnx, "sherpa_onnx", False),
}


@lru_cache(maxsize=1)
def recogniser(text: str = DEFAULT_RECOGNISER) -> Recogniser:
    """Load the recogniser "NAME" or "NAME:FOLDER", the folder of a model; the last one stays in memory.

    Raises:
        UsageError: no such recogniser, its package is not installed, or it needs a folder.
        InputError: there is no such folder, or no model in it.
    """
    name, _, given = text.partition(":")
    if name not in RECOGNISERS:
        raise UsageError(f"--recogniser {name}: unknown; choose from {', '.join(RECOGNISERS)}")
    load, package, brings_model = RECOGNISERS[name]
    if not find_spec(package):
        bought = "'unmingle[recognition]'" if brings_model else name
        raise UsageError(f"--recogniser {name} needs the package {package}: pip install {bought}")
    if not given and not brings_model:
        raise UsageError(f"--recogniser {name} needs the folder of a model: --recogniser {name}:FOLDER")
    folder = Path(given) if given else None
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give that of a model for {name}")
    try:
        return Recogniser(load(folder))
    except InputError:
        raise
    except Exception as error:  # what libraries raise here differs
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{folder or name}: no model that {name} can load ({reason})") from None
