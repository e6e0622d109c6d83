"""A separator that is told something: the cue goes along every path, cut in step with the samples."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unmingle import Stream, separate, separate_file
from unmingle.catalog import Card
from unmingle.errors import UsageError
from unmingle.facts import Cue, Facts
from unmingle.runtime.separator import Separator

RATE, CUE_RATE = 8_000, 50
LOW_HZ, HIGH_HZ = 500.0, 1_500.0
HOP = RATE // CUE_RATE


def tones(duration_s: float) -> np.ndarray:
    """Two tones `(2, T)`."""
    t = np.arange(round(duration_s * RATE)) / RATE
    return np.stack([0.2 * np.sin(2 * np.pi * hz * t) for hz in (LOW_HZ, HIGH_HZ)]).astype(np.float32)


def projections(mixture: np.ndarray) -> np.ndarray:
    """What of a mixture `(T,)` is each of the two tones `(2, T)`, by a filter that looks 32
    samples around.
    """
    width = 65
    n = np.arange(width) - width // 2
    low = 2 * 1_000 / RATE * np.sinc(2 * 1_000 / RATE * n) * np.hanning(width + 2)[1:-1]
    lower = np.convolve(mixture, low, "same").astype(np.float32)
    return np.stack([lower, mixture - lower])


class KeepsOneTone:
    """Toy: the cue `which`, 50 values a second, says which tone is kept: 0 the low one, 1 the high one."""

    def __init__(self, chunk: int = 2 * RATE) -> None:
        self.facts = Facts(
            sample_rate=RATE, task="enhance", n_src=1, cues=(Cue("which", CUE_RATE),), chunk=chunk
        )

    def __call__(self, mixture: np.ndarray, cues: Any) -> np.ndarray:
        which = np.repeat(cues["which"], HOP)[: mixture.shape[1]]
        low, high = projections(mixture[0])
        return np.where(which > 0.5, high, low)[None]


class KeepsTheChosenTone:
    """Toy: the cue has no time axis: the frequency of the tone to keep [kHz]; outputs: it, the rest."""

    facts = Facts(sample_rate=RATE, n_src=2, order="cued", cues=(Cue("khz"),), chunk=2 * RATE)

    def __call__(self, mixture: np.ndarray, cues: Any) -> np.ndarray:
        parts = projections(mixture[0])
        return parts[::-1] if cues["khz"] > 1 else parts


def switching(duration_s: float, at_s: float) -> np.ndarray:
    """The low tone first, from `at_s` on the high one."""
    return (np.arange(round(duration_s * CUE_RATE)) >= at_s * CUE_RATE).astype(np.float32)


def snr_db(estimate: np.ndarray, reference: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(reference**2) / np.sum((estimate - reference) ** 2)))


@pytest.mark.parametrize("at_s", [1.0, 3.5, 7.2])
def test_a_cue_is_cut_in_step_with_the_chunks(at_s: float) -> None:
    low, high = tones(9.0)
    expected = np.where(np.arange(len(low)) < at_s * RATE, low, high)
    from unmingle import enhance

    voice = enhance(low + high, RATE, KeepsOneTone(), cues={"which": switching(9.0, at_s)})
    inner = slice(200, -200)
    assert snr_db(voice[inner], expected[inner]) > 25


def test_a_file_and_an_array_give_the_same(tmp_path: Path) -> None:
    mixture = tones(5.3).sum(axis=0)
    soundfile.write(tmp_path / "tones.wav", mixture, RATE, "FLOAT")
    cues = {"khz": 1.5}
    result = separate_file(tmp_path / "tones.wav", tmp_path / "out", model=KeepsTheChosenTone(), cues=cues)
    expected = separate(mixture, RATE, model=KeepsTheChosenTone(), cues=cues)
    for path, row in zip(result.outputs, expected, strict=True):
        assert np.allclose(soundfile.read(path, dtype="float32")[0], row, atol=1e-6)
    assert snr_db(expected[0][200:-200], tones(5.3)[1][200:-200]) > 25


def test_a_cue_without_a_time_axis_reaches_every_chunk_whole() -> None:
    low, high = tones(9.0)
    for khz, wanted in ((0.5, low), (1.5, high)):
        voices = separate(low + high, RATE, model=KeepsTheChosenTone(), cues={"khz": khz})
        assert snr_db(voices[0][200:-200], wanted[200:-200]) > 25


def test_at_another_sample_rate_the_cue_keeps_its_time() -> None:
    import soxr

    low, high = tones(6.0)
    mixture = soxr.resample(low + high, RATE, 16_000)
    from unmingle import enhance

    voice = enhance(mixture, 16_000, KeepsOneTone(), cues={"which": switching(6.0, 3.0)})
    expected = soxr.resample(np.where(np.arange(len(low)) < 3.0 * RATE, low, high), RATE, 16_000)
    assert snr_db(voice[400:-400], expected[400:-400]) > 20


def streaming_toy() -> Separator:
    """Gates its input by a timed cue, scaled by a cue without a time axis; its state is the last sample."""
    facts = Facts(
        sample_rate=RATE,
        task="enhance",
        n_src=1,
        causal=True,
        latency=HOP - 1,
        hop=HOP,
        state=1,
        cues=(Cue("open", CUE_RATE), Cue("gain")),
        chunk=10 * HOP,
    )

    def run(mixture: np.ndarray, gate: np.ndarray, gain: np.ndarray, state: np.ndarray) -> list[np.ndarray]:
        opened = np.repeat(gate, HOP, axis=-1)[:, None, : mixture.shape[-1]]
        return [mixture * opened * gain[:, None, None], mixture[:, 0, -1:]]

    return Separator(run, card=Card("toy", "toy", facts, 0, 0, None), backend="onnxruntime")


@pytest.mark.parametrize("sizes", [(HOP,), (37, 500, 1), (5_000,)])
def test_a_stream_takes_its_cue_in_step(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    mixture = rng.standard_normal(40 * HOP + 17).astype(np.float32)
    gate = (rng.random(41) > 0.5).astype(np.float32)
    stream = Stream(streaming_toy(), cues={"gain": 0.5})
    parts, place, turn, given = [], 0, 0, 0
    while place < len(mixture):
        stop = min(place + sizes[turn % len(sizes)], len(mixture))
        n_values = -(-stop // HOP) - given
        cues = {"open": gate[given : given + n_values]} if n_values else {"open": gate[:0]}
        if n_values:
            parts.append(stream.feed(mixture[place:stop], cues))
        else:
            parts.append(stream.feed(mixture[place:stop], {}))
        given += n_values
        place, turn = stop, turn + 1
    parts.append(stream.flush())
    expected = 0.5 * mixture * np.repeat(gate, HOP)[: len(mixture)]
    assert np.allclose(np.concatenate(parts, axis=1)[0], expected, atol=1e-6)


def test_the_same_model_gives_the_same_offline() -> None:
    rng = np.random.default_rng(1)
    mixture, gate = rng.standard_normal((1, 10 * HOP + 5)), (rng.random(11) > 0.5).astype(np.float32)
    estimates = streaming_toy()(mixture.astype(np.float32), {"open": gate, "gain": 2.0})
    assert np.allclose(estimates, 2 * mixture * np.repeat(gate, HOP)[: mixture.shape[1]], atol=1e-5)


@pytest.mark.parametrize(
    ("cues", "message"),
    [
        (None, "this separator needs the cues: khz; given are: none"),
        ({"khz": 1.0, "faces": 2.0}, "needs the cues: khz; given are: faces, khz"),
        ({"khz": [1.0, 2.0]}, r"the cue khz is of shape \(2,\); expected \(\)"),
    ],
)
def test_a_cue_that_is_missing_or_wrong_is_named(cues: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        separate(tones(1.0).sum(axis=0), RATE, model=KeepsTheChosenTone(), cues=cues)


def test_a_cue_for_a_separator_without_cues_is_refused() -> None:
    with pytest.raises(UsageError, match="needs the cues: none; given are: faces"):
        separate(tones(1.0).sum(axis=0), RATE, cues={"faces": np.zeros((3, 2))})


def test_a_stream_whose_cue_lies_behind_says_so() -> None:
    stream = Stream(streaming_toy(), cues={"gain": 1.0})
    with pytest.raises(UsageError, match="the cue open lies behind the samples"):
        stream.feed(np.zeros(3 * HOP, np.float32), {"open": np.zeros(1, np.float32)})


def test_facts_with_cues_survive_a_card() -> None:
    facts = streaming_toy().facts
    assert Facts.from_dict(facts.to_dict()) == facts
    assert io.StringIO(str(facts.to_dict())).read().count("'rate'") == 2
