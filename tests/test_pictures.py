"""Spectrograms and curves: what is drawn is what the files hold."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle.evaluation.plots import centre_frequencies, plot_filters
from unmingle.results.pictures import (
    MAX_COLUMNS,
    magnitude_shares,
    plot_curves,
    plot_embeddings,
    principal_plane,
    spectrogram,
)

pytest.importorskip("matplotlib")


def test_a_tone_stands_at_its_frequency_with_its_level(tmp_path: Path) -> None:
    t = np.arange(2 * 16_000) / 16_000
    soundfile.write(tmp_path / "tone.wav", 0.1 * np.sin(2 * np.pi * 1_000 * t), 16_000, "FLOAT")
    levels, duration_s, top_hz = spectrogram(tmp_path / "tone.wav")
    loudest = levels[:, 100].argmax()
    assert loudest * top_hz / (len(levels) - 1) == 1_000
    assert levels[loudest, 100] == pytest.approx(-20, abs=0.01)
    assert (duration_s, top_hz) == (2, 8_000)


def test_a_long_file_takes_no_more_columns_and_keeps_its_power(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(8_000 * 60).astype(np.float32) * 0.1
    noise[len(noise) // 2 :] *= 0.1
    soundfile.write(tmp_path / "long.wav", noise, 8_000, "FLOAT")
    levels, _, top_hz = spectrogram(tmp_path / "long.wav")
    assert MAX_COLUMNS / 2 < levels.shape[1] <= MAX_COLUMNS
    assert top_hz == 4_000
    first, second = np.array_split(levels, 2, axis=1)
    assert np.median(first) - np.median(second) == pytest.approx(20, abs=0.5)


def test_a_share_of_the_magnitude_is_one_at_most_and_unknown_where_the_mixture_is_faint() -> None:
    whole, levels = (
        np.array([[-20.0, -20.0, -90.0, -20.0]]),
        np.array([[-20.0 - 20 * np.log10(2), -10.0, -90.0]]),
    )
    np.testing.assert_allclose(magnitude_shares(levels, whole, -70), [[0.5, 1.0, np.nan]])


@pytest.mark.parametrize("n", [1, 100, 129])
def test_a_file_shorter_than_a_window_has_a_spectrogram(n: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(n), 16_000)
    levels, _, _ = spectrogram(tmp_path / "short.wav")
    assert levels.shape[1] >= 1
    assert np.isfinite(levels).all()


@pytest.mark.parametrize(
    "table",
    [
        "step,minutes,train_loss,valid_si_sdri\n1,0.1,2.5,\n2,0.2,,1.5\n",
        "step,train_loss,order_switches\n1,2.5,\n2,1.5,0.3\n",
        "step,lr\n1,0.1\n",
        "loss\n1\n2\n",
        "step\n",
        "",
    ],
)
def test_curves_are_drawn_of_whatever_columns_there_are(table: str, tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text(table)
    plot_curves(tmp_path / "curves.csv", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_principal_plane_is_that_of_the_largest_variance() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((2_000, 4)) * [0.1, 3, 0.1, 1] + 5
    plane, shares = principal_plane(points)
    assert abs(np.corrcoef(plane[:, 0], points[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(plane[:, 1], points[:, 3])[0, 1]) > 0.99
    assert shares == pytest.approx([9 / 10.02, 1 / 10.02], abs=0.02)


@pytest.mark.parametrize("n_src", [1, 2, 5])
def test_embeddings_and_masks_are_drawn_for_any_number_of_voices(n_src: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = rng.dirichlet(np.ones(n_src), (129, 300)).transpose(2, 0, 1)
    names = [f"speaker-{k + 1}" for k in range(n_src)]
    loud = rng.random((129, 300)) > 0.5
    plot_embeddings(
        rng.standard_normal((20, 129, 300)),
        masks,
        loud,
        tmp_path / "embeddings.png",
        names=names,
        extent=(0, 2.4, 0, 4),
    )
    assert (tmp_path / "embeddings.png").read_bytes().startswith(b"\x89PNG")


def test_the_centre_frequency_of_a_windowed_tone_is_that_of_the_tone() -> None:
    tones = np.array([3_000, 700, 1_500])
    filters = np.hanning(64) * np.sin(2 * np.pi * tones[:, None] * np.arange(64) / 8_000 + 0.3)
    assert centre_frequencies(filters, 8_000) == pytest.approx(tones, abs=5)


def test_filters_are_drawn_and_one_that_is_all_zeros_does_no_harm(tmp_path: Path) -> None:
    filters = np.random.default_rng(0).standard_normal((12, 16))
    filters[3] = 0
    plot_filters(filters, 8_000, tmp_path / "filters.png")
    assert (tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")
