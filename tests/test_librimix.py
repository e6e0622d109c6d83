"""LibriMix built from metadata, beside a calculation written from the original script's facts."""

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from unmingle.cli import main
from unmingle.data.librimix import build_librimix, repeat_noise
from unmingle.data.sets import read_set
from unmingle.errors import InputError, UsageError

RATE = 16_000
LENGTHS = {"1-1-0001": 20_001, "2-2-0002": 30_000, "3-3-0003": 12_345}
GAINS = {"1-1-0001": "0.7925878276419455", "2-2-0002": "0.2142791008161834", "3-3-0003": "6.4672317278286116"}
NOISES = {"long": 40_000, "short": 9_500}
PAIRS = [
    ("1-1-0001", "2-2-0002", "long"),
    ("2-2-0002", "3-3-0003", "short"),
    ("3-3-0003", "1-1-0001", "long"),
]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LibriSpeech, WHAM noise (stereo, one file shorter than the voices) and metadata of three
    mixtures.
    """
    root = tmp_path_factory.mktemp("corpora")
    for k, (name, length) in enumerate(LENGTHS.items()):
        time = np.arange(length) / RATE
        path = root / "LibriSpeech/test-clean" / Path(*name.split("-")[:2]) / f"{name}.flac"
        path.parent.mkdir(parents=True)
        soundfile.write(
            path, 0.4 * np.sin(2 * np.pi * (150 + 90 * k + 400 * time) * time) * np.sin(9 * time + k), RATE
        )
    (root / "wham_noise/tt").mkdir(parents=True)
    for k, (name, length) in enumerate(NOISES.items()):
        noise = np.random.default_rng(k).uniform(-0.1, 0.1, (length, 2))
        soundfile.write(root / f"wham_noise/tt/{name}.wav", noise, RATE)
    rows = []
    for one, other, noise in PAIRS:
        row = {"mixture_ID": f"{one}_{other}"}
        for k, name in enumerate((one, other)):
            row |= {
                f"source_{k + 1}_path": f"test-clean/{name[0]}/{name[0]}/{name}.flac",
                f"source_{k + 1}_gain": GAINS[name],
            }
        rows.append(row | {"noise_path": f"tt/{noise}.wav", "noise_gain": "1.1114428047969456"})
    with (root / "libri2mix_test-clean.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


def build(corpora: Path, out: Path, **options: object) -> Path:
    return build_librimix(corpora / "libri2mix_test-clean.csv", corpora / "LibriSpeech", out=out, **options)[
        0
    ]


def wav(samples: np.ndarray, sample_rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="WAV")
    return file.getvalue()


def expected(corpora: Path, pair: tuple[str, str, str], sample_rate: int, mode: str) -> dict[str, np.ndarray]:
    """The original's order: read as float32, extend the noise, scale, resample, fit the lengths, sum."""
    voices = [
        soundfile.read(corpora / f"LibriSpeech/test-clean/{name[0]}/{name[0]}/{name}.flac", dtype="float32")[
            0
        ]
        for name in pair[:2]
    ]
    longest = max(LENGTHS[name] for name in pair[:2])
    noise = soundfile.read(corpora / f"wham_noise/tt/{pair[2]}.wav", dtype="float32")[0][:longest, 0]
    if len(noise) < longest:
        # 9,500 samples, each time overlapping by 8,001, until 30,000 are there
        window = np.hanning(16_001)
        whole = noise
        while len(whole) < longest:
            start = len(whole) - 8001
            whole = np.concatenate(
                [whole[:start], whole[start:] * window[8000::-1] + noise[:8001] * window[:8001], noise[8001:]]
            )
        noise = whole[:longest]
    gains = [float(GAINS[pair[0]]), float(GAINS[pair[1]]), 1.1114428047969456]
    parts = [
        resample_poly(part * gain, sample_rate, RATE)
        for part, gain in zip([*voices, noise], gains, strict=True)
    ]
    length = {"min": min, "max": max}[mode](len(part) for part in parts)
    one, other, noise = (np.pad(part[:length], (0, max(0, length - len(part)))) for part in parts)
    both = np.zeros_like(one)
    for part in (one, other, noise):
        both += part
    return {
        "s1": one,
        "s2": other,
        "noise": noise,
        "mix_clean": one + other,
        "mix_both": both,
        "mix_single": (one + noise).astype(np.float32),
    }


@pytest.mark.parametrize("sample_rate", [16_000, 8000])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_every_file_equals_the_original_script_s_to_the_bit(
    corpora: Path, tmp_path: Path, sample_rate: int, mode: str
) -> None:
    folder = build(corpora, tmp_path, noise=corpora / "wham_noise", sample_rate=sample_rate, mode=mode)
    assert folder == tmp_path / f"Libri2Mix/wav{sample_rate // 1000}k/{mode}/test"
    for pair in PAIRS:
        for name, samples in expected(corpora, pair, sample_rate, mode).items():
            assert (folder / name / f"{pair[0]}_{pair[1]}.wav").read_bytes() == wav(samples, sample_rate), (
                pair,
                name,
            )


def test_lengths_and_gains_are_the_metadata_s(corpora: Path, tmp_path: Path) -> None:
    for mode, pick in (("min", min), ("max", max)):
        folder = build(corpora, tmp_path, mode=mode)
        with (folder.parent / "metadata/mixture_test_mix_clean.csv").open() as file:
            lengths = [int(row["length"]) for row in csv.DictReader(file)]
        assert lengths == [pick(LENGTHS[one], LENGTHS[other]) for one, other, _ in PAIRS]
        for entry, (one, _, _), length in zip(read_set(folder), PAIRS, lengths, strict=True):
            item = entry.read()
            voice, _ = soundfile.read(corpora / f"LibriSpeech/test-clean/{one[0]}/{one[0]}/{one}.flac")
            both = min(length, len(voice))
            assert item.sources.shape == (2, length)
            assert (
                np.abs(item.sources[0, :both] - (voice[:both] * float(GAINS[one])).clip(-1, 1)).max()
                <= 1 / 32767
            )


def test_the_tables_name_files_lengths_and_ratios_as_librimix_does(corpora: Path, tmp_path: Path) -> None:
    folder = build(corpora, tmp_path, noise=corpora / "wham_noise")
    tables = {}
    for path in (folder.parent / "metadata").iterdir():
        with path.open() as file:
            tables[path.stem] = list(csv.DictReader(file))
    assert set(tables) == {
        f"{what}_test_mix_{type}" for what in ("mixture", "metrics") for type in ("clean", "both", "single")
    }
    assert list(tables["mixture_test_mix_both"][0]) == [
        "mixture_ID",
        "mixture_path",
        "source_1_path",
        "source_2_path",
        "noise_path",
        "length",
    ]
    assert list(tables["metrics_test_mix_single"][0]) == ["mixture_ID", "source_1_SNR", "noise_SNR"]
    assert all(
        Path(value).is_file()
        for row in tables["mixture_test_mix_single"]
        for key, value in row.items()
        if key.endswith("_path")
    )
    parts = expected(corpora, PAIRS[1], 16_000, "min")
    rest = parts["s2"] + parts["noise"]
    ratio = 10 * np.log10(np.mean(parts["s1"] ** 2) / np.mean(rest**2))
    assert float(tables["metrics_test_mix_both"][1]["source_1_SNR"]) == pytest.approx(ratio, abs=1e-3)


def test_a_build_that_was_stopped_goes_on_and_ends_with_the_same_files(corpora: Path, tmp_path: Path) -> None:
    whole, begun = build(corpora, tmp_path / "whole"), build(corpora, tmp_path / "begun")
    lines = (begun / "made.jsonl").read_text().splitlines(keepends=True)
    # The last mixture's line was cut short, the second lost a file.
    (begun / "made.jsonl").write_text(lines[0] + lines[1] + lines[2][:20])
    kept, lost = (json.loads(line)["row"]["mixture_ID"] for line in lines[:2])
    (begun / f"s2/{lost}.wav").unlink()
    before = (begun / f"s1/{kept}.wav").stat().st_ino
    _, n, n_before = build_librimix(
        corpora / "libri2mix_test-clean.csv", corpora / "LibriSpeech", out=tmp_path / "begun"
    )
    assert (n, n_before) == (3, 1)
    assert (begun / f"s1/{kept}.wav").stat().st_ino == before
    assert (begun / "SHA256SUMS").read_bytes() == (whole / "SHA256SUMS").read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_the_sums_are_those_of_the_files(corpora: Path, tmp_path: Path) -> None:
    folder = build(corpora, tmp_path, noise=corpora / "wham_noise")
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*.wav")
    }
    assert len(sums) == 3 * 6


def test_other_gains_are_built_anew(corpora: Path, tmp_path: Path) -> None:
    build(corpora, tmp_path)
    metadata = tmp_path / "libri2mix_test-clean.csv"
    metadata.write_text((corpora / metadata.name).read_text().replace(GAINS["1-1-0001"], "0.5"))
    assert build_librimix(metadata, corpora / "LibriSpeech", out=tmp_path)[1:] == (3, 1)


def test_noise_can_be_added_to_what_was_built_without_it(corpora: Path, tmp_path: Path) -> None:
    folder = build(corpora, tmp_path)
    assert not (folder / "noise").exists()
    build(corpora, tmp_path, noise=corpora / "wham_noise", types=["mix_both"])
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == 3 * 5


def test_repeated_noise_fades_from_one_end_into_the_next() -> None:
    assert np.allclose(repeat_noise(np.ones(10_000, np.float32), 26_000), 1)
    assert len(repeat_noise(np.ones(10_000, np.float32), 26_000)) == 26_000


def test_what_is_wrong_is_one_line_with_a_remedy(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata, speech, noise = (
        corpora / "libri2mix_test-clean.csv",
        corpora / "LibriSpeech",
        corpora / "wham_noise",
    )
    with pytest.raises(UsageError, match="needs noise; give WHAM!'s with --noise"):
        build_librimix(metadata, speech, out=tmp_path, types=["mix_both"])
    with pytest.raises(UsageError, match="--types mix_clear: unknown; choose from mix_clean, mix_both"):
        build_librimix(metadata, speech, out=tmp_path, types=["mix_clear"])
    with pytest.raises(
        InputError,
        match=(
            r"0001\.flac: not there, though libri2mix_test-clean\.csv names it; .* test-clean/ with "
            r"--speech"
        ),
    ):
        build_librimix(metadata, speech / "test-clean", out=tmp_path)
    with pytest.raises(InputError, match=r"long\.wav: not there.* holds tt/ with --noise"):
        build_librimix(metadata, speech, noise=speech, out=tmp_path)
    changes = {
        "no column source_2_gain; give one from metadata/ of": ("source_2_gain", "gain_of_2"),
        "mixture 1-1-0001_2-2-0002: source_1_gain is 'loud'": (GAINS["1-1-0001"], "loud"),
        r"mixture \.\./x: mixture_ID is": ("1-1-0001_2-2-0002", "../x"),
        r"longsp08\.wav: not there.*augment_train_noise\.py": ("tt/long.wav", "tt/longsp08.wav"),
    }
    for message, (old, new) in changes.items():
        other = tmp_path / metadata.name
        other.write_text(metadata.read_text().replace(old, new))
        with pytest.raises(InputError, match=message):
            build_librimix(other, speech, noise=noise, out=tmp_path)
    assert not (tmp_path / "Libri2Mix").exists()
    assert main(["mix", "librimix", str(tmp_path / "nowhere.csv"), "--speech", str(speech)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_recording_at_another_rate_is_refused(corpora: Path, tmp_path: Path) -> None:
    shutil.copytree(corpora / "LibriSpeech", tmp_path / "LibriSpeech")
    path = tmp_path / "LibriSpeech/test-clean/1/1/1-1-0001.flac"
    soundfile.write(path, np.zeros(8000), 8000)
    with pytest.raises(InputError, match=r"1-1-0001\.flac: sampled at 8000 Hz"):
        build_librimix(corpora / "libri2mix_test-clean.csv", tmp_path / "LibriSpeech", out=tmp_path)


def test_the_command_builds_what_evaluate_reads(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata, speech = str(corpora / "libri2mix_test-clean.csv"), str(corpora / "LibriSpeech")
    assert (
        main(
            ["mix", "librimix", metadata, "--speech", speech, "--out", str(tmp_path), "--sample-rate", "8000"]
        )
        == 0
    )
    assert f"3 mixtures in {tmp_path / 'Libri2Mix/wav8k/min/test'}" in capsys.readouterr().out
    assert len(read_set(tmp_path / "Libri2Mix/wav8k/min/test")) == 3
    assert len(read_set(tmp_path / "Libri2Mix/wav8k/min/metadata/mixture_test_mix_clean.csv")) == 3
    with pytest.raises(InputError, match="yet to be built: unmingle mix librimix"):
        read_set(metadata)
