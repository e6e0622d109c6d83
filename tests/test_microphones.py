"""Several microphones: `(C, T)` reaches the network unchanged; a network of one gets the mean, once."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle import enhance, separate, separate_file
from unmingle.catalog import Card
from unmingle.errors import InputError
from unmingle.facts import Facts
from unmingle.inference.streaming import Stream
from unmingle.runtime.separator import Separator

RATE = 16_000


def recording(n_mics: int, duration_s: float = 7.3) -> np.ndarray:
    """Noise of its own level in every channel, between which nothing is alike."""
    rng = np.random.default_rng(n_mics)
    levels = 0.05 * np.arange(1, n_mics + 1)[:, None]
    return (levels * rng.standard_normal((n_mics, round(duration_s * RATE)))).astype(np.float32)


class Weighs:
    """Toy for C microphones: its outputs are two fixed sums of the channels, and it keeps
    what it was given.
    """

    def __init__(self, n_mics: int | None, n_channels: int) -> None:
        self.facts = Facts(sample_rate=RATE, n_src=2, n_mics=n_mics, order="fixed", chunk=2 * RATE)
        self.weights = np.random.default_rng(9).uniform(0.5, 1.5, (2, n_channels)).astype(np.float32)
        self.shapes: set[int] = set()

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        self.shapes.add(len(mixture))
        return self.weights @ mixture


@pytest.mark.parametrize("n_mics", [2, 6])
@pytest.mark.parametrize("fixed", [True, False])
def test_an_array_reaches_the_network_with_all_its_channels(n_mics: int, fixed: bool) -> None:
    mixture, toy = recording(n_mics), Weighs(n_mics if fixed else None, n_mics)
    voices = separate(mixture, RATE, model=toy)
    assert toy.shapes == {n_mics}
    assert np.allclose(voices.sum(axis=0), (toy.weights @ mixture).sum(axis=0), atol=1e-4)


@pytest.mark.parametrize("n_mics", [2, 6])
def test_a_file_reaches_the_network_with_all_its_channels(n_mics: int, tmp_path: Path) -> None:
    mixture, toy = recording(n_mics), Weighs(n_mics, n_mics)
    soundfile.write(tmp_path / "array.wav", mixture.T, RATE, "FLOAT")
    result = separate_file(tmp_path / "array.wav", tmp_path / "out", model=toy, rest=True)
    assert toy.shapes == {n_mics}
    assert not [note for note in result.notes if "mono" in note]
    outputs = [soundfile.read(path, dtype="float32")[0] for path in (*result.outputs, result.rest) if path]
    assert np.allclose(np.sum(outputs, axis=0), mixture[0], atol=1e-4)  # the rest is at the first microphone


def test_at_another_sample_rate_the_channels_stay_in_step() -> None:
    t = np.arange(5 * 48_000) / 48_000
    mixture = np.stack([0.2 * np.sin(2 * np.pi * 440 * t), 0.1 * np.sin(2 * np.pi * 300 * t)])
    toy = Weighs(2, 2)
    voices = separate(mixture, 48_000, model=toy)
    inner = slice(4_800, -4_800)
    assert voices.shape == (2, len(t))
    assert np.abs(voices.sum(axis=0) - (toy.weights @ mixture).sum(axis=0))[inner].max() < 5e-3


class Keeps:
    """Toy for one microphone that returns its input, and what it was given."""

    facts = Facts(sample_rate=RATE, task="enhance", n_src=1, chunk=2 * RATE)

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        assert len(mixture) == 1
        return mixture


def test_a_network_of_one_microphone_gets_the_mean() -> None:
    mixture = recording(4)
    assert np.allclose(enhance(mixture, RATE, Keeps()), mixture.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(("n_mics", "n_channels"), [(2, 1), (2, 6), (6, 2)])
def test_a_wrong_number_of_channels_is_one_line(n_mics: int, n_channels: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", recording(n_channels, 1.0).T, RATE)
    with pytest.raises(
        InputError, match=rf"a.wav: {n_channels} channels?, and .* takes {n_mics} microphones"
    ):
        separate_file(tmp_path / "a.wav", tmp_path / "out", model=Weighs(n_mics, n_mics))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n_mics", [2, 6])
def test_a_stream_reaches_the_network_with_all_its_channels(n_mics: int) -> None:
    facts = Facts(
        sample_rate=RATE, task="enhance", n_src=1, n_mics=n_mics, causal=True, latency=63, hop=64, state=1
    )

    def run(mixture: np.ndarray, state: np.ndarray) -> list[np.ndarray]:
        assert mixture.shape[1] == n_mics
        return [mixture[:, 1:2], state]

    stream = Stream(Separator(run, card=Card("toy", "toy", facts, 0, 0, None), backend="onnxruntime"))
    mixture = recording(n_mics, 0.5)
    pieces = [stream.feed(piece) for piece in np.array_split(mixture, 13, axis=1)]
    assert np.array_equal(np.concatenate([*pieces, stream.flush()], axis=1)[0], mixture[1])
