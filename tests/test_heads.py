"""Heads: from embeddings and single passes to voices, the same on every runtime; and counting."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from scipy.cluster.vq import kmeans2

from unmingle import catalog
from unmingle.beamforming import beamform
from unmingle.catalog import Card
from unmingle.data.batch import Batch
from unmingle.errors import UsageError
from unmingle.facts import Facts
from unmingle.heads import (
    HEADS,
    MOST_SPEAKERS,
    N_POINTS,
    cluster_masks,
    loud_bins,
    one_and_rest,
)
from unmingle.inference.arrays import separate
from unmingle.inference.files import separate_file
from unmingle.layers.stft import STFT
from unmingle.models import build
from unmingle.objectives.clustering import DeepClusteringObjective
from unmingle.runtime import loading
from unmingle.runtime.loading import load
from unmingle.runtime.separator import Separator
from unmingle.spectrogram import inverse_stft, stft
from unmingle.training.export import to_onnx

RATE, N_FFT, HOP = 8_000, 256, 64


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def voices(n_src: int, n: int = 16_000) -> np.ndarray:
    """Noise, each voice in its own band and loud in its own time."""
    spectrum, t = np.fft.rfft(noise(n_src, n)), np.arange(n) / RATE
    bands = np.arange(spectrum.shape[1]) * (n_src + 1) // spectrum.shape[1]
    rows = [
        np.fft.irfft(np.where((bands == k) | (bands == n_src), row, 0), n) for k, row in enumerate(spectrum)
    ]
    return np.stack([row * (1.1 + np.sin(5 * t + 2 * k)) for k, row in enumerate(rows)]).astype(np.float32)


def ideal_masks(sources: np.ndarray) -> np.ndarray:
    """`(S, F, N)`: 1 where a source is the loudest."""
    magnitudes = np.stack([np.abs(stft(source, N_FFT, HOP)) for source in sources])
    return (magnitudes.argmax(axis=0) == np.arange(len(sources))[:, None, None]).astype(np.float32)


def halving(mixture: np.ndarray) -> np.ndarray:
    """A one-and-rest network: half of what goes in is the one; speech is what reaches 0.01. At −25 dBFS
    (0.056) it hears three voices.
    """
    return np.concatenate(
        [mixture / 2, mixture / 2, np.full_like(mixture, np.abs(mixture).max() - 0.01)], axis=1
    )


def separator(
    infer: Callable[[np.ndarray], np.ndarray],
    head: str,
    n_src: int | None = None,
    cls: type[Separator] = Separator,
) -> Separator:
    facts = Facts(sample_rate=RATE, n_src=n_src, head=head, chunk=2 * RATE)
    return cls(
        lambda mixture: [infer(mixture)], card=Card(head, "toy", facts, 0, 0, None), backend="onnxruntime"
    )


def test_estimates_of_several_microphones_are_the_mean_of_the_networks_and_a_beamformers() -> None:
    sources, mixture = voices(2), np.stack([noise(16_000, seed=seed) for seed in range(3)])
    mixture[0] = sources.sum(axis=0)[:16_000]
    estimates = sources[:, :16_000] * np.float32(0.9)
    found = HEADS["mvdr"](lambda _: estimates[None], mixture, 2)
    assert np.allclose(2 * found - estimates, beamform("mvdr", mixture, estimates, most=2.0), atol=1e-6)
    assert np.array_equal(HEADS["mvdr"](lambda _: estimates[None], mixture[:1], 2), estimates)


@pytest.mark.parametrize("length", [1, 255, 16_001])
def test_the_spectrum_equals_that_of_the_training_floor_and_its_inverse_is_exact(length: int) -> None:
    samples = noise(length)
    real, imaginary = STFT(n_fft=N_FFT, hop=HOP)(torch.from_numpy(samples[None]))[0].numpy()
    spectrum = stft(samples, N_FFT, HOP)
    assert spectrum.shape == real.shape
    assert np.abs(spectrum - (real + 1j * imaginary)).max() < 1e-5
    assert np.abs(inverse_stft(spectrum, HOP, length) - samples).max() < 1e-6


@pytest.mark.parametrize("n_src", [1, 2, 3])
@pytest.mark.parametrize("head", ["k-means", "soft-k-means"])
def test_embeddings_that_name_the_loudest_source_give_the_separation_of_ideal_binary_masks(
    head: str, n_src: int
) -> None:
    sources = voices(n_src)
    masks = ideal_masks(sources)
    embeddings = masks + noise(*masks.shape, seed=1) / 2
    estimates = HEADS[head](lambda _: embeddings[None], sources.sum(axis=0)[None], n_src)
    expected = inverse_stft(masks * stft(sources.sum(axis=0), N_FFT, HOP), HOP, sources.shape[1])
    order = [int(np.argmax([np.dot(e, w) for e in estimates])) for w in expected]
    assert sorted(order) == list(range(n_src))
    limit_db = 40 if head == "k-means" else 15  # soft masks leave something in every voice
    assert (
        10 * np.log10(np.square(expected).sum() / (np.square(estimates[order] - expected).sum() + 1e-20))
        > limit_db
    )


@pytest.mark.parametrize("soft", [False, True])
def test_the_same_embeddings_give_the_same_bytes_and_masks_that_sum_to_one(soft: bool) -> None:
    embeddings, loud = noise(20, 129, 200), np.ones((129, 200), bool)
    assert loud.sum() > N_POINTS
    masks = cluster_masks(embeddings, loud, 3, soft=soft)
    assert masks.tobytes() == cluster_masks(embeddings.copy(), loud, 3, soft=soft).tobytes()
    assert np.allclose(masks.sum(axis=0), 1, atol=1e-6)
    assert set(np.unique(masks)) == {0, 1} or soft


def test_clusters_are_as_tight_as_those_of_scipy() -> None:
    centres = np.random.default_rng(2).standard_normal((4, 5))
    points = np.concatenate(
        [
            centre + 0.5 * np.random.default_rng(k).standard_normal((200, 5))
            for k, centre in enumerate(centres)
        ]
    )

    def scatter(owners: np.ndarray) -> float:
        return sum(
            np.square(points[owners == k] - points[owners == k].mean(axis=0)).sum() for k in np.unique(owners)
        )

    owners = cluster_masks(points.T[:, None], np.ones((1, len(points)), bool), 4).argmax(axis=0)[0]
    theirs = min(scatter(kmeans2(points, 4, minit="++", seed=seed)[1]) for seed in range(10))
    assert scatter(owners) <= theirs * 1.001


def test_silent_bins_move_no_centre() -> None:
    embeddings, loud = noise(3, 8, 50), np.zeros((8, 50), bool)
    loud[:2] = True
    moved = np.where(loud, embeddings, 100 * noise(3, 8, 50, seed=1))
    assert np.array_equal(cluster_masks(embeddings, loud, 2)[:, loud], cluster_masks(moved, loud, 2)[:, loud])
    assert loud_bins(np.array([1.0, 0.011, 0.009, 0.0])).tolist() == [True, True, False, False]


@pytest.mark.parametrize("head", ["k-means", "soft-k-means"])
@pytest.mark.parametrize(
    "mixture", [np.zeros((1, 500), np.float32), noise(1, 1)], ids=["silence", "one sample"]
)
def test_silence_and_a_single_sample_are_separated_into_what_sums_to_them(
    head: str, mixture: np.ndarray
) -> None:
    def infer(samples: np.ndarray) -> np.ndarray:
        return np.ones((1, 4, 129, stft(samples[0, 0], N_FFT, HOP).shape[1]), np.float32)

    assert np.allclose(HEADS[head](infer, mixture, 3).sum(axis=0), mixture, atol=1e-6)


def test_a_network_that_was_trained_on_two_voices_separates_three() -> None:
    torch.manual_seed(0)
    model = build("deep-clustering", hidden=16, n_layers=1, n_embedding=8, dropout=0.0)
    optimizer, sources = torch.optim.Adam(model.parameters(), 1e-2), torch.from_numpy(voices(2, 4_000))[None]
    for _ in range(5):
        optimizer.zero_grad()
        DeepClusteringObjective()(model, Batch(sources.sum(1, keepdim=True), sources))["loss"].backward()
        optimizer.step()

    def infer(mixture: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(mixture)).numpy()

    mixture = voices(3).sum(axis=0)
    estimates = separate(mixture, RATE, speakers=3, model=separator(infer, "k-means"))
    assert estimates.shape == (3, 16_000)
    assert (np.square(estimates).sum(axis=1) > 0.01 * np.square(mixture).sum()).all()
    assert np.abs(estimates.sum(axis=0) - mixture).max() < 1e-5


@pytest.mark.parametrize("n_src", [1, 2, 5])
def test_a_number_that_is_asked_for_takes_one_pass_less(n_src: int) -> None:
    passes = []
    estimates = one_and_rest(lambda mixture: passes.append(mixture) or halving(mixture), noise(1, 100), n_src)
    assert len(passes) == n_src - 1
    assert np.allclose(estimates.sum(axis=0), noise(1, 100)[0])
    assert len(estimates) == n_src


@pytest.mark.parametrize(
    ("level", "heard"), [(0.0, 0), (0.011, 1), (0.03, 2), (0.056, 3), (100.0, MOST_SPEAKERS)]
)
def test_voices_are_counted_until_nobody_speaks_in_the_rest(level: float, heard: int) -> None:
    mixture = np.full((1, 100), level, np.float32)
    estimates = one_and_rest(halving, mixture, None)
    assert estimates.shape == (heard, 100)
    assert not heard or np.allclose(estimates.sum(axis=0), level)


def test_a_separator_without_a_number_of_its_own_takes_any_up_to_five() -> None:
    free = separator(halving, "one-and-rest")
    assert [len(free.for_speakers(n)(noise(1, 50))) for n in (1, 3, 5)] == [1, 3, 5]
    assert (free.n_src, free.for_speakers(3).n_src) == (None, 3)
    for wrong in (0, MOST_SPEAKERS + 1):
        with pytest.raises(UsageError, match="separates 1 to 5 speakers"):
            free.for_speakers(wrong)


def test_a_shipped_network_serves_any_number_and_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, path = build("deep-clustering", hidden=4, n_layers=1, n_embedding=3).eval(), tmp_path / "any.onnx"
    to_onnx(model, path)
    card = {
        "name": "any",
        "model": "deep-clustering",
        "facts": model.facts.to_dict(),
        "parameters": 1,
        "size_bytes": 1,
    }
    path.with_suffix(".yaml").write_text(
        yaml.safe_dump({**card, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    )
    monkeypatch.setattr(catalog, "folders", lambda: [tmp_path])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for kept in (catalog.cards, loading._catalogued):
        kept.cache_clear()
    try:
        for n_src in (3, 2, None, 4):
            loaded = load("any" if n_src != 4 else None, speakers=n_src)
            assert loaded.n_src == n_src
            assert loaded(noise(1, 1_000)).shape == (n_src or 2, 1_000)
        by_openvino, by_onnxruntime = (
            load("any", speakers=3, backend=backend)(noise(1, 4_000))
            for backend in ("openvino", "onnxruntime")
        )
        assert by_openvino.shape == by_onnxruntime.shape == (3, 4_000)
        soundfile.write(tmp_path / "talk.wav", noise(16_000), 16_000)
        separate_file(tmp_path / "talk.wav", tmp_path / "out", speakers=3, model="any", plot=True)
        assert (tmp_path / "out/talk/embeddings.png").read_bytes().startswith(b"\x89PNG")
    finally:
        for kept in (catalog.cards, loading._catalogued):
            kept.cache_clear()
