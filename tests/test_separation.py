"""separate(): any length and rate, one order of voices, silence where nobody speaks."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pytest

from unmingle.errors import Cancelled, InputError, UsageError
from unmingle.facts import Facts
from unmingle.inference.arrays import separate
from unmingle.inference.pipeline import Separation

RATE = 16_000


@dataclass
class Fake:
    """A separator made of a function from a mixture `(T,)` to voices `(S, T)`."""

    voices: Callable[[np.ndarray], np.ndarray]
    facts: Facts = field(default_factory=lambda: Facts(sample_rate=RATE, n_src=2))

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        return self.voices(mixture[0])


IDENTITY = Fake(lambda mixture: np.stack([mixture, np.zeros_like(mixture)]))


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


@lru_cache
def voice(pitch: float, formant: float, seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Harmonics of a wavering pitch around one formant, syllable after syllable."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.02 * np.sin(2 * np.pi * 0.7 * t + seed))) / rate
    tones = [
        np.exp(-(((k * pitch - formant) / 300) ** 2)) * np.sin(k * phase)
        for k in range(1, 40)
        if k * pitch < rate / 2
    ]
    syllables = np.interp(
        t, np.arange(0, seconds + 1, 0.2), rng.uniform(0.1, 1, len(np.arange(0, seconds + 1, 0.2)))
    )
    return (0.1 * syllables * sum(tones)).astype(np.float32)


def split_bands(mixture: np.ndarray) -> np.ndarray:
    """Below 1 kHz and above: separates two synthetic voices that keep to their bands."""
    spectrum = np.fft.rfft(mixture)
    low = np.where(np.fft.rfftfreq(len(mixture), 1 / RATE) < 1000, spectrum, 0)
    return np.fft.irfft([low, spectrum - low], len(mixture)).astype(np.float32)


def swapping(seed: int) -> Fake:
    rng = np.random.default_rng(seed)
    return Fake(lambda mixture: split_bands(mixture)[rng.permutation(2)])


def db(wanted: np.ndarray, error: np.ndarray) -> float:
    return 10 * np.log10(
        np.sum(np.square(wanted, dtype=float)) / (np.sum(np.square(error, dtype=float)) + 1e-30)
    )


def spans(signal: np.ndarray, *seconds: tuple[float, float]) -> np.ndarray:
    """The signal within the given spans, silence elsewhere."""
    mask = np.zeros(len(signal), np.float32)
    for start, end in seconds:
        mask[int(start * RATE) : int(end * RATE)] = 1
    return signal * mask


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("n", [1, 2, 159, RATE, RATE + 1, 160_000, 160_001, 416_000, 416_001, 600 * RATE])
def test_an_identity_separator_reconstructs_any_length_exactly(n: int, batch: int) -> None:
    mixture = noise(n)
    voices = separate(mixture, RATE, model=replace(IDENTITY, facts=replace(IDENTITY.facts, batch=batch)))
    assert voices.shape == (2, n)
    assert db(mixture, voices[0] - mixture) > 120
    assert not voices[1].any()


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("seconds", [0, 0.3, 23.45])
def test_an_identity_separator_reconstructs_any_sample_rate_exactly(rate: int, seconds: float) -> None:
    mixture = noise(1 + int(seconds * rate))
    voices = separate(mixture, rate, model=IDENTITY)
    assert voices.shape == (2, len(mixture))
    assert db(mixture, voices[0] - mixture) > 120
    assert db(mixture, voices[1]) > 120


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_feeding_blocks_of_any_length_equals_feeding_everything_at_once(rate: int) -> None:
    mixture, rng = noise(25 * rate), np.random.default_rng(1)
    separation = Separation(Fake(split_bands), rate)
    ready, start = [], 0
    while start < len(mixture):
        n = int(rng.choice([0, 1, 7, 4096, 100_000]))
        ready.append(separation.feed(mixture[start : start + n][None]))
        start += n
    ready.append(separation.flush())
    once = Separation(Fake(split_bands), rate)
    whole = np.concatenate([once.feed(mixture[None]), once.flush()], axis=1)
    assert np.abs(np.concatenate(ready, axis=1) - whole).max() < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_voices_swapped_at_random_per_chunk_come_out_in_constant_order(seed: int) -> None:
    low, high = voice(110, 500, 40, 1), voice(230, 2000, 40, 2)
    voices = separate(low + high, RATE, model=swapping(seed))
    best = voices if db(low, voices[0] - low) > db(low, voices[1] - low) else voices[::-1]
    assert min(db(low, best[0] - low), db(high, best[1] - high)) > 25


@pytest.mark.parametrize("seed", range(3))
def test_a_voice_keeps_its_track_across_pauses(seed: int) -> None:
    low = spans(voice(110, 500, 80, 1), (0, 9), (25, 39), (60, 66))
    high = spans(voice(230, 2000, 80, 2), (12, 22), (30, 48), (69, 80))
    voices = separate(low + high, RATE, model=swapping(seed))
    best = voices if db(low, voices[0] - low) > db(low, voices[1] - low) else voices[::-1]
    assert min(db(low, best[0] - low), db(high, best[1] - high)) > 20


def test_one_hour_in_sounds_like_the_beginning() -> None:
    levels: list[float] = []

    def record(mixture: np.ndarray) -> np.ndarray:
        levels.append(10 * np.log10(np.mean(mixture**2)))
        return np.stack([mixture, np.zeros_like(mixture)])

    loudness = np.repeat(np.float32([1, 0.01, 0.1, 0.001]), 20 * RATE)
    mixture = noise(80 * RATE) * loudness
    voices = separate(mixture, RATE, model=Fake(record))
    assert np.ptp(levels) < 7  # a chunk across a step is fainter over its whole, not over its active part
    assert min(db(m, v - m) for m, v in zip(np.split(mixture, 4), np.split(voices[0], 4), strict=True)) > 120


def test_silence_stays_silence() -> None:
    assert not separate(np.zeros(30 * RATE), RATE, model=Fake(split_bands)).any()


def test_leakage_into_an_absent_voice_is_given_back_to_the_voice_that_speaks() -> None:
    speech = voice(110, 500, 25)
    leaking = Fake(lambda mixture: np.stack([0.85 * mixture, 0.15 * mixture]))
    voices = separate(speech, RATE, model=leaking)
    assert db(voices[0], voices[1]) > 45
    assert db(speech, voices.sum(axis=0) - speech) > 100


def test_a_quiet_voice_is_no_leakage() -> None:
    loud, quiet = voice(110, 300, 25, 1), 0.1 * voice(230, 2500, 25, 2)
    voices = separate(loud + quiet, RATE, model=Fake(split_bands))
    assert db(quiet, voices[1] - quiet) > 15


def test_voices_keep_their_sum_at_44100_hz() -> None:
    mixture = noise(25 * 44_100)
    voices = separate(mixture, 44_100, model=Fake(split_bands))
    assert db(mixture, voices.sum(axis=0) - mixture) > 60


def test_highs_go_to_the_voice_that_has_the_band_below_them() -> None:
    """Two voices take turns every half second; each one's noise reaches 20 kHz."""
    rate, turn = 44_100, np.repeat(np.arange(40) % 2, 22_050)
    hiss = noise(len(turn))
    bursts = np.stack([hiss * (turn == 0), hiss * (turn == 1)])

    def take_turns(mixture: np.ndarray) -> np.ndarray:
        t = np.arange(len(mixture)) // (RATE // 2) % 2
        return np.stack([mixture * (t == 0), mixture * (t == 1)])

    mixture = bursts.sum(axis=0)
    voices = separate(mixture, rate, model=Fake(take_turns, Facts(sample_rate=RATE, n_src=2, order="fixed")))

    def highs(signal: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(signal)
        frequencies = np.fft.rfftfreq(len(signal), 1 / rate)
        return np.fft.irfft(
            np.where((frequencies > 8_500) & (frequencies < 20_000), spectrum, 0), len(signal)
        )

    errors = [
        db(highs(burst), highs(burst) - highs(track)) for burst, track in zip(bursts, voices, strict=True)
    ]
    even = db(highs(bursts[0]), highs(bursts[0]) - highs(mixture) / 2)
    assert min(errors) > even + 6


def test_the_input_is_never_changed() -> None:
    mixture = noise(12 * RATE)
    before = mixture.copy()

    def meddle(chunk: np.ndarray) -> np.ndarray:
        chunk *= 0
        return np.stack([chunk, chunk])

    separate(mixture, RATE, model=Fake(meddle))
    assert np.array_equal(mixture, before)


def test_a_buffer_may_be_used_again_after_feeding() -> None:
    separation, buffer = Separation(IDENTITY, RATE), np.zeros(RATE, np.float32)
    mixture = noise(3 * RATE)
    for second in np.split(mixture, 3):
        buffer[:] = second
        separation.feed(buffer[None])
    assert db(mixture, separation.flush()[0] - mixture) > 120


def test_channels_are_averaged() -> None:
    stereo = np.stack([noise(RATE, 1), noise(RATE, 2)])
    assert np.allclose(separate(stereo, RATE, model=IDENTITY)[0], stereo.mean(axis=0), atol=1e-6)


def test_integers_are_scaled_by_their_range() -> None:
    samples = (3000 * noise(RATE)).astype(np.int16)
    assert np.allclose(separate(samples, RATE, model=IDENTITY)[0], samples / 32768, atol=1e-7)


def test_lists_and_doubles_are_taken_as_they_are() -> None:
    assert np.allclose(separate([0.1, -0.2, 0.3], RATE, model=IDENTITY)[0], [0.1, -0.2, 0.3], atol=1e-7)


@pytest.mark.parametrize(
    ("samples", "rate", "said"),
    [
        ([], RATE, "no samples"),
        ([0.0, float("nan")], RATE, "NaN"),
        ([0.0, float("inf")], RATE, "infinite"),
        (np.zeros((2, 2, 2)), RATE, "shape"),
        (np.zeros((1000, 2)), RATE, r"samples\.T"),
        (["a"], RATE, "type"),
        ([1, 2, 3], RATE, "int64 have no agreed full scale"),
        ([0j], RATE, "type"),
        ([0.0], 999, "1000 to 768000"),
        ([0.0], 768_001, "1000 to 768000"),
    ],
)
def test_what_is_no_recording_is_refused_with_a_remedy(samples: object, rate: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        separate(samples, rate, model=IDENTITY)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sample_rate": 44_100.5}, "sample_rate is 44100.5; give a whole number"),
        ({"sample_rate": None}, "sample_rate is None"),
        ({"speakers": "two"}, "speakers is 'two'"),
        ({"speakers": float("nan")}, "speakers is nan"),
        ({"model": 3}, "model is 3; give a name"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_by_name(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        separate(np.zeros(100), **{"sample_rate": RATE, "model": IDENTITY, **arguments})


def test_a_sample_rate_may_be_a_float() -> None:
    assert separate(np.zeros(100), float(RATE), model=IDENTITY).shape == (2, 100)


def test_a_number_of_speakers_that_the_separator_lacks_is_refused() -> None:
    for wrong in (0, 9, "two", "3-2", "2-9", 2.5):
        with pytest.raises(UsageError, match="speakers"):
            separate([0.0], RATE, speakers=wrong, model=IDENTITY)  # type: ignore[arg-type]


def test_progress_ends_at_the_whole_length() -> None:
    told: list[tuple[float, float | None]] = []
    separate(noise(12 * RATE), RATE, model=IDENTITY, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (12.0, 12.0) and [done for done, _ in told] == sorted(done for done, _ in told)


def test_progress_that_answers_false_cancels() -> None:
    with pytest.raises(Cancelled):
        separate(noise(RATE), RATE, model=IDENTITY, progress=lambda done, total: False)
