"""Toy separators with a cue, and with 1, 2 and 6 microphones, train through a recipe from sets on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from unmingle.data.mixture import Mixture
from unmingle.data.segments import SegmentDataset
from unmingle.data.sets import read_set, write_mixtures
from unmingle.errors import InputError, UsageError
from unmingle.facts import Cue, Facts
from unmingle.metrics.ratios import si_sdr
from unmingle.models import MODELS, build
from unmingle.training.batches import build_segments
from unmingle.training.recipe import read_recipe
from unmingle.training.trainer import train
from unmingle.weights_file import load_model

RATE, TONES_HZ, FRAMES = 8000, (500.0, 1500.0), 50.0  # [Hz], [Hz], cue frames [Hz]
GAIN_DB = 15.0  # that training must bring at least


class TonePicker(nn.Module):
    """A filter per tone and microphone; the cue `keep` (0 or 1) chooses which filter is the output.

    Args:
        n_mics: number of microphones.
        rate: of the cue [Hz]; None for one value per mixture.
    """

    def __init__(self, *, n_mics: int = 1, rate: float | None = None) -> None:
        super().__init__()
        self.facts = Facts(RATE, n_src=1, n_mics=n_mics, cues=(Cue("keep", rate),), order="cued")
        self.rate = rate
        self.filters = nn.Conv1d(n_mics, 2, 65, padding=32, bias=False)

    def forward(self, mixture: Tensor, keep: Tensor) -> Tensor:
        """`(B, C, T)` and `(B,)` or `(B, N)` → `(B, 1, T)`."""
        if self.rate is None:
            keep = keep[:, None]
        else:
            frame = (torch.arange(mixture.shape[-1], device=mixture.device) * self.rate / RATE).long()
            keep = keep[:, frame.clamp(max=keep.shape[1] - 1)]
        tones = self.filters(mixture)
        return torch.where(keep > 0.5, tones[:, 1], tones[:, 0])[:, None]


def mixtures(n: int, n_mics: int, rate: float | None, seed: int) -> list[Mixture]:
    """Two tones, of which the cue says the one to keep, and hum that every second microphone has upside down.

    With one microphone there is no hum, because nothing could tell it from the tones.
    """
    found, time = [], np.arange(RATE // 2) / RATE
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        tones = 0.1 * np.sin(2 * np.pi * (np.outer(TONES_HZ, time) + rng.random((2, 1))))
        hum = 0.3 * np.sin(2 * np.pi * rng.uniform(300, 2000) * time) * (n_mics > 1)
        keep = rng.integers(2, size=() if rate is None else round(len(time) / RATE * rate))
        each = np.broadcast_to(keep, len(time)) if rate is None else keep[(time * rate).astype(int)]
        source = np.where(each, tones[1], tones[0])
        signs = (-1.0) ** np.arange(n_mics)[:, None]
        mixture = (tones.sum(axis=0) + signs * hum).astype(np.float32)
        sources = source[None].astype(np.float32)
        cues = {"keep": keep.astype(np.float32)}
        found.append(Mixture(mixture, sources, mixture[0] - sources[0], RATE, f"{index:03d}", cues=cues))
    return found


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Write the sets and a recipe for so many microphones and a cue of this rate; returns its path."""
    monkeypatch.setitem(MODELS, "tone-picker", TonePicker)

    def write(n_mics: int, rate: float | None) -> Path:
        for name, n, seed in (("train", 24, 1), ("valid", 4, 2), ("test", 4, 3)):
            write_mixtures(mixtures(n, n_mics, rate, seed), tmp_path / name, noisy=True)
        path = tmp_path / "recipe.yaml"
        values = {
            "model": {"name": "tone-picker", "n_mics": n_mics, "rate": rate},
            "objective": {"name": "waveform-pit", "si_sdr": 0.5, "snr": 0.5},
            "data": {
                "set": str(tmp_path / "train"),
                "valid_set": str(tmp_path / "valid"),
                "sample_rate": RATE,
                "n_src": 1,
                "n_valid": 4,
                "length_s": 0.25,
                "valid_length_s": 0.5,
            },
            "optimizer": {"name": "adamw", "lr": 0.01, "warm_up": 5},
            "trainer": {
                "steps": 150,
                "batch_size": 8,
                "validate_every": 150,
                "ema": 0.9,
                "precision": "32-true",
                "device": "cpu",
            },
        }
        path.write_text(yaml.safe_dump(values))
        return path

    return write


@pytest.mark.parametrize(
    ("n_mics", "rate"), [(1, None), (1, FRAMES), (2, FRAMES), (6, None)], ids=["1", "1-timed", "2-timed", "6"]
)
def test_a_separator_with_a_cue_and_microphones_learns_to_keep_the_tone_that_the_cue_names(
    recipe, n_mics: int, rate: float | None, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    weights = train(read_recipe(recipe(n_mics, rate)), tmp_path / "run", progress=False)
    torch.manual_seed(0)
    scores = []
    for model in (load_model(weights).eval(), build("tone-picker", n_mics=n_mics, rate=rate)):
        for entry in read_set(tmp_path / "test"):
            item = entry.read()
            assert item.mixture.shape[0] == n_mics
            with torch.no_grad():
                keep = torch.as_tensor(item.cues["keep"])[None]
                estimate = model(torch.from_numpy(item.mixture)[None], keep=keep)[0, 0].numpy()
            scores.append(si_sdr(estimate, item.sources[0]))
    assert np.mean(scores[:4]) > np.mean(scores[4:]) + GAIN_DB


def test_a_timed_cue_is_cut_in_step_with_the_samples(tmp_path: Path) -> None:
    step = round(RATE / FRAMES)
    keep = np.arange(50, dtype=np.float32)
    samples = np.repeat(keep, step)[None] / 100
    item = Mixture(samples, samples, np.zeros(len(samples[0]), np.float32), RATE, "m", cues={"keep": keep})
    write_mixtures([item], tmp_path / "set", noisy=True)
    facts = TonePicker(rate=FRAMES).facts
    segments = SegmentDataset(read_set(tmp_path / "set"), seed=1, n_items=20, length=10 * step, facts=facts)
    for segment in segments:
        frames = segment.mixture[0, ::step] * 100
        assert segment.cues["keep"].shape == (10,)
        assert np.abs(segment.cues["keep"] - frames).max() <= 1


def test_a_set_without_the_model_s_cue_is_refused(recipe, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    made = read_recipe(recipe(1, None))
    (tmp_path / "train/cues/keep/003.npy").unlink()
    with pytest.raises(InputError, match=r"cues/keep/003\.npy: not there, though the model needs this cue"):
        build_segments(made.data, TonePicker().facts)


def test_a_set_of_another_number_of_microphones_is_refused(recipe) -> None:  # type: ignore[no-untyped-def]
    made = read_recipe(recipe(2, None))
    with pytest.raises(UsageError, match="the model takes 6 microphones, but 2 in"):
        build_segments(made.data, TonePicker(n_mics=6).facts)


def test_a_model_of_several_microphones_is_not_trained_on_mixtures_of_one(recipe, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    made = read_recipe(recipe(1, None), ["model={name: conv-tasnet}"])
    made.data.set = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "microphones", Microphones)
        made.model = {"name": "microphones"}
        with pytest.raises(UsageError, match=r"takes 2 microphones.*set data\.n_mics=\[2,2\]"):
            train(made, tmp_path / "run", progress=False)


class Microphones(TonePicker):
    """Two microphones, no cue."""

    def __init__(self) -> None:
        super().__init__(n_mics=2)
        self.facts = Facts(RATE, n_src=1, n_mics=2)
