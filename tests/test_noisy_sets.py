"""One voice and noise: CSVs with noise, tones and rooms, the builder of the fixed lists, baselines, and plain
recordings.
"""

import csv
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from test_metrics import RATE, talk

from unmingle.cli import main
from unmingle.data.entries import noise_passage
from unmingle.data.mixer import convolve, room
from unmingle.data.sets import read_plain, read_set, tasks
from unmingle.errors import InputError, UsageError
from unmingle.evaluation import baselines
from unmingle.evaluation.baselines import BASELINES, baseline
from unmingle.evaluation.compare import compare
from unmingle.evaluation.evaluate import evaluate
from unmingle.evaluation.systems import system
from unmingle.metrics.ratios import si_sdr, snr

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three made speakers of two utterances each, three kinds of noise and a split for which nothing may be
    drawn, with the lists of them.
    """
    root = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)
    voices, noises = [], []
    for speaker in range(3):
        for number in range(2):
            path = root / "speech" / f"p{speaker}" / f"{speaker}-{number}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, talk(1, 5.1 + 0.3 * number, seed=2 * speaker + number)[0], RATE)
            voices.append(
                {
                    "path": path.relative_to(root).as_posix(),
                    "split": "train" if speaker == 2 else "valid",
                    "speaker": f"p{speaker}",
                }
            )
    for kind, rate in (("air_conditioner", RATE), ("dog_bark", 48_000), ("street", RATE)):
        for number, split in enumerate(("valid", "train")):
            path = root / "noise" / f"{kind}-{number}.flac"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(2 * rate), rate)
            noises.append({"path": path.relative_to(root).as_posix(), "split": split, "kind": kind})
    write_csv(root / "voices.csv", voices)
    write_csv(root / "noises.csv", noises)
    return root


def one_row(**more: Any) -> dict[str, Any]:
    return {
        "mixture_id": "m",
        "source_1_path": "speech/p0/0-0.flac",
        "source_1_gain": 0.5,
        **more,
        "samples": 40_000,
    }


@pytest.fixture(scope="module")
def noisy(corpora: Path) -> Path:
    """A set of four mixtures: two tasks, two ratios."""
    rows = []
    for index in range(4):
        what = "noise/street-0.flac" if index < 2 else "tone:1000"
        noise = {"noise_path": what, "noise_start": 100 * index, "noise_gain": 0.05 + 0.1 * (index % 2)}
        about = {"task": "street" if index < 2 else "tone", "kind": "any", "snr_db": 5 - 5 * (index % 2)}
        rows.append({**one_row(**noise, **about), "mixture_id": f"m{index}", "samples": 24_000})
    return write_csv(corpora / "noisy.csv", rows)


def test_a_csv_s_noise_begins_where_it_says_goes_round_and_has_its_gain(corpora: Path) -> None:
    path = write_csv(
        corpora / "one.csv",
        [
            one_row(
                noise_path="noise/street-0.flac", noise_start=1_000, noise_gain=0.25, kind="street", snr_db=-5
            )
        ],
    )
    (entry,) = read_set(path)
    item = entry.read()
    voice, noise = (
        soundfile.read(corpora / name, dtype="float32")[0]
        for name in ("speech/p0/0-0.flac", "noise/street-0.flac")
    )
    assert np.array_equal(item.sources, 0.5 * voice[None, :40_000])
    assert np.allclose(item.noise, 0.25 * np.concatenate([noise[1_000:], noise[:9_000]]), atol=1e-7)
    assert entry.about == {"kind": "street", "snr_db": -5.0}


def test_noise_at_another_rate_is_resampled_to_the_voice_s(corpora: Path) -> None:
    (entry,) = read_set(write_csv(corpora / "one.csv", [one_row(noise_path="noise/dog_bark-0.flac")]))
    # Its two seconds are 32,000 samples here.
    assert np.array_equal(entry.read().noise[:8_000], entry.read().noise[32_000:])
    assert entry.read().noise.std() > 0.01


def test_a_made_tone_has_its_frequency_and_phase_0(corpora: Path) -> None:
    (entry,) = read_set(
        write_csv(corpora / "one.csv", [one_row(noise_path="tone:1234.5", noise_start=7, noise_gain=0.1)])
    )
    expected = 0.1 * np.sin(2 * np.pi * 1234.5 * np.arange(40_000) / RATE)
    assert np.abs(entry.read().noise - expected).max() < 1e-6


def test_a_room_leaves_the_reference_dry_and_what_it_adds_is_noise(corpora: Path) -> None:
    (entry,) = read_set(write_csv(corpora / "one.csv", [one_row(room_seed=7, t60_s=0.2)]))
    item = entry.read()
    dry = soundfile.read(corpora / "speech/p0/0-0.flac", dtype="float32")[0][:40_000]
    assert np.array_equal(item.sources[0], 0.5 * dry)
    assert np.allclose(
        item.mixture[0], 0.5 * convolve(dry, room(np.random.default_rng(7), RATE, 0.2)), atol=1e-6
    )
    assert np.array_equal(item.mixture, entry.read().mixture)
    assert 0 < snr(item.mixture[0], item.sources[0]) < 30


def test_a_csv_s_tasks_are_chosen_the_first_by_default_or_all(
    noisy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tasks(noisy) == ["street", "tone", "all"]
    assert [entry.id for entry in read_set(noisy)] == ["m0", "m1"]
    assert [entry.id for entry in read_set(noisy, task="tone", first=1)] == ["m2"]
    assert len(read_set(noisy, task="all")) == 4
    with pytest.raises(UsageError, match=r"--task rain: not in .*noisy.csv; choose from street, tone, all"):
        read_set(noisy, task="rain")
    assert main(["evaluate", "mixture", str(noisy), "--json"]) == 0
    printed = capsys.readouterr()
    assert "measuring street; --task also knows tone, all" in printed.err
    assert json.loads(printed.out)["task"] == "street"


@pytest.mark.parametrize(
    ("row", "about"),
    [
        ({"noise_path": "tone:high"}, r"m: .*'high'"),
        (
            {"noise_path": "noise/street-0.flac", "noise_start": "soon"},
            r"one.csv: m: .*'soon'; mend this row",
        ),
        ({"noise_path": "noise/nowhere.flac"}, r"has no noise/nowhere.flac .*--speech FOLDER"),
    ],
)
def test_a_wrong_cell_is_named(row: dict[str, str], about: str, corpora: Path) -> None:
    with pytest.raises(InputError, match=about):
        read_set(write_csv(corpora / "one.csv", [one_row(**row)]))[0].read()


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("make_noisy_sets")
    monkeypatch.setattr(module, "N_NOISY", 8)
    monkeypatch.setattr(module, "N_TASK", 4)
    return module


def build(
    builder: Any, corpora: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> dict[str, bytes]:
    out.mkdir()
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "make_noisy_sets.py",
            str(corpora / "voices.csv"),
            str(corpora / "noises.csv"),
            "--out",
            str(out),
            *options,
        ],
    )
    builder.main()
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_the_builder_of_the_noisy_lists_gives_the_same_bytes_for_the_same_seed(
    builder: Any, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(builder, corpora, tmp_path / "first", monkeypatch)
    assert first == build(builder, corpora, tmp_path / "again", monkeypatch)
    assert not set(first.values()) & set(
        build(builder, corpora, tmp_path / "other", monkeypatch, "--seed", "5").values()
    )
    for name, n in (("valid-noisy.csv", 8), ("valid-tasks.csv", 20)):
        entries, rows = (
            read(tmp_path / "first" / name)
            for read in (lambda path: read_set(path, corpora, "all" if tasks(path) else None), read_csv)
        )
        assert len(entries) == len(rows) == n
        for entry, row in zip(entries, rows, strict=True):
            item = entry.read()
            assert np.abs(item.mixture).max() < 1
            assert "/p2/" not in row["source_1_path"]
            assert "-1.flac" not in row["noise_path"]
            voice, noise = (
                item.sources[0],
                float(row["noise_gain"])
                * noise_passage(
                    corpora / row["noise_path"] if ":" not in row["noise_path"] else row["noise_path"],
                    int(row["noise_start"]),
                    len(item.noise),
                    RATE,
                ),
            )
            heard = voice if not row.get("t60_s") else item.mixture[0] - noise
            ratio = 10 * np.log10(
                np.square(heard, dtype=np.float64).sum() / np.square(noise, dtype=np.float64).sum()
            )
            assert ratio == pytest.approx(float(row["snr_db"]), abs=0.01)
            if not row.get("t60_s"):
                assert snr(item.mixture[0], voice) == pytest.approx(float(row["snr_db"]), abs=0.01)


@pytest.mark.parametrize(("name", "n_tasks"), [("valid-noisy", 1), ("valid-tasks", 5)])
def test_the_fixed_lists_have_as_many_mixtures_at_every_ratio_and_for_every_task(
    name: str, n_tasks: int
) -> None:
    rows = read_csv(BENCHMARKS / f"{name}.csv")
    assert len({row["mixture_id"] for row in rows}) == 200
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        cell = row.get("task", ""), row["snr_db"]
        counts[cell] = counts.get(cell, 0) + 1
        assert row["source_1_path"].startswith("librispeech-test-other/")
        assert 5 * RATE <= int(row["samples"]) <= 10 * RATE
    assert set(counts.values()) == {200 // n_tasks // 4}
    assert len(counts) == 4 * n_tasks
    kinds = [row["kind"] for row in rows if row.get("task", "") in ("", "general-noise")]
    assert max(map(kinds.count, kinds)) - min(map(kinds.count, kinds)) <= 1


def test_the_baseline_of_one_voice_is_the_mixture_s_own_ratio(noisy: Path) -> None:
    rows, _ = evaluate("oracle-irm", noisy, task="all", measures=("si-sdr",))
    for row, entry in zip(rows, read_set(noisy, task="all"), strict=True):
        item = entry.read()
        assert row["si_sdr"] - row["si_sdri"] == pytest.approx(si_sdr(item.mixture[0], item.sources[0]))
        assert row["si_sdri"] > 5
        assert (row["task"], row["snr_db"]) == (entry.about["task"], entry.about["snr_db"])


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("sample_rate", [16_000, 8_000])
def test_the_estimate_of_a_baseline_is_as_long_as_the_mixture_and_not_a_sample_late(
    name: str, sample_rate: int
) -> None:
    pytest.importorskip(BASELINES[name][1])
    for length in (30_001, 100, 1):
        assert baseline(name)(talk(1, 2.0, sample_rate)[0][:length], sample_rate).shape == (
            min(length, 2 * sample_rate),
        )
    voice = talk(1, 2.0, sample_rate)[0]
    noise = 0.003 * np.random.default_rng(0).standard_normal(len(voice)).astype(np.float32)
    estimate = baseline(name)(voice + noise, sample_rate)
    lags = np.arange(-200, 201)
    correlation = [voice[200:-200] @ np.roll(estimate, -lag)[200:-200] for lag in lags]
    assert lags[int(np.argmax(correlation))] == 0
    assert estimate.dtype == np.float32
    assert np.isfinite(baseline(name)(0 * voice, sample_rate)).all()


def test_a_baseline_that_is_not_installed_or_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="returns one voice, and this set has 2"):
        system("rnnoise", 2)
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"noisereduce needs the package noisereduce: pip install 'unmingle\[peers\]'"
    ):
        system("noisereduce", 1)


def test_one_voice_is_compared_with_tables_by_ratio_and_by_task(noisy: Path, tmp_path: Path) -> None:
    text = compare(noisy, tmp_path / "out", models=[], task="all", measures=("si-sdr", "stoi"))
    assert "4 mixtures of one speaker and noise" in text
    assert "--task all --measures si-sdr,stoi" in text
    rows = {row["model"]: row for row in read_csv(tmp_path / "out/compare.csv")}
    assert list(rows) == ["mixture", "oracle-ibm", "oracle-irm", "oracle-wiener", "oracle-psm", "oracle-cirm"]
    assert float(rows["oracle-psm"]["si_sdri_db"]) > float(rows["oracle-irm"]["si_sdri_db"]) > 5
    assert "| ESTOI |" in text
    assert "| SDRi [dB] |" not in text
    assert "by task:\n\n| model | street | tone |" in text
    assert "| model | 0 | 5 |\n|---|---|---|\n| mixture | 0.00 | 0.00 |" in text
    measured = read_csv(tmp_path / "out/rows.csv")
    of_irm = [row for row in measured if row["model"] == "oracle-irm"]
    gains = [
        np.mean([float(row["si_sdri"]) for row in of_irm if float(row["snr_db"]) == ratio])
        for ratio in (0, 5)
    ]
    assert f"| oracle-irm | {gains[0]:.2f} | {gains[1]:.2f} |" in text
    compare(noisy, tmp_path / "out", models=[], task="all", measures=("si-sdr", "stoi"), resume=True)
    assert read_csv(tmp_path / "out/rows.csv") == measured
    assert "by task" not in compare(
        noisy, tmp_path / "out", models=[], task="tone", measures=("si-sdr",), resume=True
    )


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder of two recordings without references, one of them silent."""
    (tmp_path / "talks").mkdir()
    for name, gain in (("a.wav", 1), ("b.flac", 0)):
        soundfile.write(tmp_path / "talks" / name, gain * talk(1, 1.0)[0], RATE)
    return tmp_path / "talks"


def test_recordings_without_references_are_measured_before_and_after(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("speechmos")
    assert main(["evaluate", "mixture", str(plain), "--json", "--csv", str(tmp_path / "rows.csv")]) == 0
    summary = json.loads(capsys.readouterr().out)
    first, silent = read_csv(tmp_path / "rows.csv")
    assert first["mixture_id"] == "a.wav"
    assert 1 < float(first["dnsmos_ovrl"]) == float(first["dnsmos_ovrl_before"]) < 5
    assert silent["dnsmos_sig"] == ""
    assert "mixture: is silent" in silent["missing"]
    assert summary["dnsmos_ovrl"]["missing"] == summary["dnsmos_ovrl_before"]["missing"] == 1
    assert main(["evaluate", "mixture", str(plain), "--first", "1"]) == 0
    assert "DNSMOS OVRL before" in capsys.readouterr().out


def test_what_needs_references_is_refused_where_there_are_none(plain: Path) -> None:
    for model, options in (
        ("mixture", {}),
        ("oracle-irm", {"measures": ("dnsmos",)}),
        ("mixture", {"measures": ("dnsmos",), "task": "x"}),
    ):
        with pytest.raises(
            UsageError,
            match="recordings without references; leave oracles and --task out, and measure dnsmos and wer",
        ):
            evaluate(model, plain, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="duet tells voices apart, it does not enhance"):
        evaluate("duet", plain, measures=("dnsmos",))
    with pytest.raises(InputError, match="recordings without references, which only evaluate takes"):
        read_set(plain)


def test_folders_that_hold_or_are_parts_of_sets_are_no_plain_recordings(plain: Path) -> None:
    assert [entry.id for entry in read_plain(plain)] == ["a.wav", "b.flac"]
    (plain / "mix_clean").mkdir()
    assert read_plain(plain) == []
    assert read_plain(plain / "mix_clean") == []
    (plain / "mix_clean").rename(plain.parent / "mix_clean")
    assert read_plain(plain) == []
    assert read_plain(plain / "a.wav") == []
