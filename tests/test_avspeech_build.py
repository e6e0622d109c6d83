"""Training files for Looking to Listen, built of made voices and read back."""

import csv
import doctest
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle.cli import main
from unmingle.data.avspeech import build as module
from unmingle.data.avspeech.build import POWER, build, check_separator, compress, spectrogram
from unmingle.errors import InputError, UsageError

torch = pytest.importorskip("torch")
crm = pytest.importorskip("unmingle.layers.crm")

RATE = 16_000


def voice(path: Path, seed: int, seconds: float = 3.5, sample_rate: int = RATE) -> None:
    """Harmonics whose level goes up and down, with breath."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = sum(np.sin(2 * np.pi * (100 + 17 * seed) * k * time + rng.uniform(0, 6)) / k for k in range(1, 20))
    path.parent.mkdir(parents=True, exist_ok=True)
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * (2 + seed) * time)
    soundfile.write(path, 0.1 * tone * swell + 0.003 * rng.standard_normal(len(time)), sample_rate)


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five clips of four videos, one of them too short, and a silent one."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("a/1", "a/2", "b_x/1", "c/1")):
        voice(tmp_path / f"clips/{name}.flac", k, sample_rate=RATE if k else 48_000)
    voice(tmp_path / "clips/d/1.flac", 5, seconds=2.9)
    soundfile.write(tmp_path / "clips/c/2.flac", np.zeros(4 * RATE), RATE)
    for k in range(2):
        voice(tmp_path / f"noise/hum/{k}.flac", 10 + k)
    return tmp_path / "clips"


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {path.relative_to(folder).as_posix(): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def test_names_say_which_voices_a_mixture_is_of_and_which_voice_a_mask_makes(
    clips: Path, tmp_path: Path
) -> None:
    build(clips, tmp_path / "out", n=5)
    names = set(arrays(tmp_path / "out"))
    clean = ["0:a", "1:a", "2:b_x", "3:c"]
    pairs = [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert names == {
        *(f"clean/{name}.npy" for name in clean),
        *(f"mix/{clean[i]}.{clean[j]}.npy" for i, j in pairs),
        *(f"crm/clean:{clean[k]} mix:{clean[i]}.{clean[j]}.npy" for i, j in pairs for k in (i, j)),
    }


def test_names_with_noise_say_which(clips: Path, tmp_path: Path) -> None:
    build(clips, tmp_path / "out", noise=tmp_path / "noise", n=5)
    for path in (tmp_path / "out/mix").iterdir():
        one, other, noise, _ = path.name.split(".")
        assert noise in ("n:0:hum", "n:1:hum")
        assert (tmp_path / f"out/crm/clean:{other} mix:{one}.{other}.{noise}.npy").is_file()


@pytest.mark.parametrize("noisy", [False, True])
def test_a_mixture_times_a_mask_is_the_voice(clips: Path, tmp_path: Path, noisy: bool) -> None:
    out = tmp_path / "out"
    build(clips, out, noise=tmp_path / "noise" if noisy else None, n=5)
    with (out / "mixtures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    for row in rows:
        mixture = compress(np.load(out / row["mix"]).astype(float), 1 / POWER)
        for k in (1, 2):
            clean = compress(np.load(out / row[f"clean_{k}"]).astype(float), 1 / POWER)
            stored = np.load(out / row[f"crm_{k}"]).astype(float)
            assert np.abs(stored).max() <= 10
            mask = crm.decompress(torch.from_numpy(np.moveaxis(stored, -1, 0)))
            made = np.moveaxis(crm.apply(mask, torch.from_numpy(np.moveaxis(mixture, -1, 0))).numpy(), 0, -1)
            error = np.square(made - clean).sum(-1)
            assert error.sum() < 1e-4 * np.square(clean).sum()  # the whole: -40 dB
            exact = np.abs(stored).max(-1) < 9.9  # parts of the mask below 52
            assert exact.mean() > 0.99
            assert (error[exact] ** 0.5 < 2e-3 * np.hypot(*np.moveaxis(clean, -1, 0))[exact] + 1e-6).all()


def test_files_hold_three_seconds_in_298_frames_of_257_bins(clips: Path, tmp_path: Path) -> None:
    build(clips, tmp_path / "out", n=3)
    for array in arrays(tmp_path / "out").values():
        assert array.shape == (298, 257, 2) and array.dtype == np.float32 and np.isfinite(array).all()


def test_a_spectrogram_is_scipy_s() -> None:
    signal = pytest.importorskip("scipy.signal")
    samples = np.random.default_rng(0).standard_normal(48_000)
    _, _, wanted = signal.stft(
        samples,
        window="hann",
        nperseg=400,
        noverlap=240,
        nfft=512,
        boundary=None,
        padded=False,
        scaling="spectrum",
    )
    found = spectrogram(samples)
    assert np.allclose(
        found[..., 0] + 1j * found[..., 1], wanted.T * 200
    )  # SciPy divides by the window's sum


def test_the_same_seed_writes_the_same_files_and_another_other_pairs(clips: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 5)):
        build(clips, tmp_path / name, noise=tmp_path / "noise", n=2, seed=seed)
    one, same, other = (arrays(tmp_path / name) for name in ("one", "same", "other"))
    assert one.keys() == same.keys() and all(np.array_equal(one[name], same[name]) for name in one)
    assert one.keys() != other.keys()


def test_a_build_that_was_stopped_goes_on_and_other_options_are_refused(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(clips, out, n=5)
    before = {path: path.stat().st_ino for path in out.glob("mix/*")}
    lost = next(iter(before))
    lost.unlink()
    build(clips, out, n=5)
    assert {path: path.stat().st_ino for path in out.glob("mix/*") if path != lost} == {
        path: number for path, number in before.items() if path != lost
    }
    assert lost.is_file()
    with pytest.raises(InputError, match="other clips or options"):
        build(clips, out, n=5, seed=2)
    with pytest.raises(InputError, match="holds other files"):
        build(clips, clips, n=5)


def test_more_mixtures_than_pairs_are_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 clips of 3 s make 5 pairs of two speakers; lower --n 6"):
        build(clips, tmp_path / "out", n=6)


def test_the_command_builds_and_says_what_was_left_out(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["avspeech", "build", str(clips), "--out", "out", "--n", "5", "--separator", "_"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.out == "5 mixtures of 4 voices in out\n"
    assert "2 clips left out: shorter than 3 s, or silent" in said.err
    assert (tmp_path / "out/mix/2_b_x.3_c.npy").is_file()
    assert not [name for name in arrays(tmp_path / "out") if ":" in name]


def test_a_separator_that_names_cannot_be_taken_apart_at_is_refused() -> None:
    for separator in ("", ".", "/", "x", "-", "::"):
        with pytest.raises(UsageError, match="choose :, _"):
            check_separator(separator)


def test_the_examples_in_the_docstrings_are_true() -> None:
    found = doctest.testmod(module, extraglobs={"np": np})
    assert found.attempted > 0 and found.failed == 0
