"""evaluate and compare on a set, models and weights made here: one loop, one table,
honest counts.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from test_metrics import RATE, talk

from unmingle.catalog import Card, cards
from unmingle.cli import main
from unmingle.data.sets import read_set
from unmingle.errors import InputError
from unmingle.evaluation.compare import compare, shipped
from unmingle.evaluation.evaluate import evaluate, measured_rows, resampled, statistics, write_rows
from unmingle.evaluation.published import published_name, read_published
from unmingle.evaluation.report import paired_test, quality
from unmingle.evaluation.summary import macs_per_second
from unmingle.evaluation.systems import system
from unmingle.models import build
from unmingle.training.export import export
from unmingle.training.export import summarise as for_the_card
from unmingle.weights_file import save_weights

TINY = {"n_features": 8, "hidden": 8, "n_blocks": 1}
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of three mixtures of two voices, in the second of which one is silent; two trainings' weights;
    and one of them exported.
    """
    root = tmp_path_factory.mktemp("bench")
    for index in range(3):
        voices = talk(2, 0.6 + 0.1 * index, seed=index)
        if index == 1:
            voices[1] = 0
        for name, samples in (("mix_clean", voices.sum(axis=0)), ("s1", voices[0]), ("s2", voices[1])):
            (root / "set" / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(root / "set" / name / f"m{index}.wav", samples, RATE, "FLOAT")
    training = {"minutes": 1.0, "clock": "cpu", "threads": 1, "hours_of_audio": 1.0, "steps": 1}
    recipe = {"data": {"corpora": [], "speech": "made"}}
    for name, model in (
        ("band", build("band-split", **TINY)),
        (
            "causal",
            build(
                "conv-tasnet",
                n_filters=16,
                n_hidden=8,
                n_features=8,
                n_skip=8,
                n_blocks=2,
                n_repeats=1,
                norm="cLN",
            ),
        ),
    ):
        save_weights(
            root / f"{name}.safetensors", model, model.state_dict(), recipe=recipe, training=training
        )
    export(root / "band.safetensors", "exported", out=root)
    return root


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def compared(folder: Path) -> Path:
    """What `compare` wrote about the set."""
    models = [str(folder / name) for name in ("exported.onnx", "causal.safetensors")]
    compare(folder / "set", folder / "out", models=models, published=True, backend="auto")
    return folder / "out"


def test_the_table_has_a_row_for_every_model_the_mixture_and_each_oracle(compared: Path) -> None:
    names = [row["model"].rsplit("/", 1)[-1] for row in table(compared / "compare.csv")]
    oracles = ["oracle-ibm", "oracle-irm", "oracle-wiener", "oracle-psm", "oracle-cirm"]
    assert names == ["exported.onnx", "causal.safetensors", "mixture", *oracles]
    assert len(table(compared / "rows.csv")) == 3 * len(names)
    assert (compared / "compare.png").read_bytes().startswith(b"\x89PNG")
    text = (compared / "compare.md").read_text(encoding="utf-8")
    assert all(f"| {row['model']} |" in text for row in table(compared / "compare.csv"))


def test_a_comparison_resumed_measures_only_what_its_rows_lack(
    compared: Path, folder: Path, tmp_path: Path
) -> None:
    rows = [row for row in table(compared / "rows.csv") if row["model"] != "oracle-irm"]
    write_rows(rows, tmp_path / "rows.csv")
    models = [str(folder / name) for name in ("exported.onnx", "causal.safetensors")]
    compare(folder / "set", tmp_path, models=models, published=True, resume=True)
    before, after = table(compared / "rows.csv"), table(tmp_path / "rows.csv")
    times = [(row["model"], row["separation_s"]) for row in before if row["model"] == models[0]]
    assert [
        (row["model"], row["separation_s"]) for row in after if row["model"] == models[0]
    ] == times  # to the digit: it was not timed again
    assert [row["si_sdri"] for row in after] == [row["si_sdri"] for row in before]
    (tmp_path / "rows.csv").write_text("model,seconds\nduet,long\n", encoding="utf-8")
    with pytest.raises(InputError, match="not the rows of a comparison"):
        compare(folder / "set", tmp_path, models=models, resume=True)


def test_a_comparison_that_breaks_off_keeps_the_rows_that_it_would_have_taken_over(
    compared: Path, folder: Path, tmp_path: Path
) -> None:
    write_rows(
        [row for row in table(compared / "rows.csv") if not row["model"].endswith("causal.safetensors")],
        tmp_path / "rows.csv",
    )
    broken = shutil.copytree(folder / "set", tmp_path / "set")
    (broken / "s1" / "m2.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"m2\.wav"):
        compare(
            broken,
            tmp_path,
            models=[str(folder / name) for name in ("exported.onnx", "causal.safetensors")],
            resume=True,
        )
    assert len({row["model"] for row in table(tmp_path / "rows.csv")}) == 7


def test_a_model_is_described_by_what_it_declares(compared: Path, folder: Path) -> None:
    exported, causal, mixture, *_ = table(compared / "compare.csv")
    card = Card.read(folder / "exported.yaml")
    assert float(exported["parameters_m"]) == pytest.approx(card.parameters / 1e6, rel=1e-4)
    assert float(exported["macs_per_second_g"]) == pytest.approx(
        macs_per_second(build("band-split", **TINY)) / 1e9, rel=1e-4
    )
    assert (exported["causal"], exported["latency_ms"]) == ("no", "")
    assert (causal["causal"], float(causal["latency_ms"])) == (
        "yes",
        pytest.approx(1000 * 31 / RATE, rel=1e-4),
    )
    assert float(exported["real_time_factor"]) > 0
    assert [mixture[key] for key in ("parameters_m", "macs_per_second_g", "causal", "real_time_factor")] == [
        ""
    ] * 4


def test_the_mixture_gains_nothing_and_the_oracles_gain_most(compared: Path) -> None:
    gains = {row["model"]: row["si_sdri_db"] for row in table(compared / "compare.csv")}
    assert float(gains["mixture"]) == 0
    assert min(float(gains[name]) for name in ("oracle-ibm", "oracle-irm", "oracle-wiener", "oracle-psm")) > 5
    assert gains["oracle-cirm"] == ""


def test_missing_values_are_left_out_counted_and_explained(compared: Path) -> None:
    rows = [row for row in table(compared / "rows.csv") if row["model"] == "oracle-irm"]
    assert [row["si_sdri"] == "" for row in rows] == [False, True, False]
    assert "voice 2 has a silent reference" in rows[1]["missing"]
    row = next(row for row in table(compared / "compare.csv") if row["model"] == "oracle-irm")
    assert row["si_sdri_db_missing"] == "1"
    assert float(row["si_sdri_db"]) == pytest.approx(
        np.mean([float(row["si_sdri"]) for row in rows if row["si_sdri"]]), rel=1e-4
    )
    text = (compared / "compare.md").read_text(encoding="utf-8")
    assert "(−1)" in text
    assert "voice 2 has a silent reference (1 of 3 mixtures)" in text


def test_published_figures_stand_in_a_column_of_their_own(compared: Path) -> None:
    rows = {row["model"]: row for row in table(compared / "compare.csv")}
    assert rows["oracle-irm"]["published"] == "12.2 SI-SDRi on WSJ0-2mix"
    assert rows["mixture"]["published"] == ""
    text = (compared / "compare.md").read_text(encoding="utf-8")
    assert "| conv-tasnet | 5.1 | 15.3 SI-SDRi on WSJ0-2mix" in text
    assert "WSJ0-3mix" not in text


def test_weights_find_the_figures_of_the_model_that_their_name_begins_with() -> None:
    figures = read_published(2)
    assert published_name("conv-tasnet-causal", figures) == "conv-tasnet-causal"
    assert published_name("conv-tasnet-small", figures) == "conv-tasnet"
    assert published_name("duet", figures) is None
    assert all(
        float(figure["db"]) > 0 and figure["measure"] in ("SI-SDRi", "SDRi")
        for figure in [*figures, *read_published(3)]
    )


def test_the_interval_is_students_and_the_test_is_paired() -> None:
    def rows(gains: list[float | None]) -> list[dict[str, Any]]:
        other = dict.fromkeys(("sdri", "pesq_nb", "pesq_wb", "stoi", "estoi", "separation_s"))
        return [{"si_sdri": gain, "seconds": 1.0, **other} for gain in gains]

    first = rows([1.0, 2.0, 3.0, 4.0, 5.0, None])
    assert quality(first)["si_sdri_db"] == 3
    assert quality(first)["si_sdri_ci_db"] == pytest.approx(2.776 * np.sqrt(2.5 / 5), abs=1e-3)
    better = rows([1.5, 2.6, 3.7, 4.8, None, 9.0])
    assert paired_test(better, first)["difference_db"] == pytest.approx(0.65)
    assert paired_test(better, first)["p_value"] == pytest.approx(0.125)
    assert paired_test(first, first) == {"difference_db": None, "p_value": None}
    assert quality(rows([None]))["si_sdri_db"] is None
    assert quality(rows([1.0]))["si_sdri_ci_db"] is None


def test_evaluate_and_compare_say_the_same(compared: Path, folder: Path) -> None:
    rows, summary = evaluate(str(folder / "exported.onnx"), folder / "set", measures=("si-sdr", "sdr"))
    exported = table(compared / "compare.csv")[0]
    assert summary["si_sdri_db"]["mean"] == pytest.approx(float(exported["si_sdri_db"]), rel=1e-4)
    assert summary["sdri_db"]["mean"] == pytest.approx(float(exported["sdri_db"]), rel=1e-4)
    assert [row["si_sdr"] is None for row in rows] == [False, True, False]
    assert summary["si_sdr_db"]["missing"] == 1
    assert sum(summary["missing"].values()) == 2  # its SI-SDR and its SDR, each with what hangs on them


def test_a_card_takes_what_was_measured_only_if_there_is_something() -> None:
    summary = {
        "set": "a/b.csv",
        "n": 3,
        "sample_rate": 8_000,
        "options": " --first 3",
        "si_sdri_db": {"mean": 1.234},
        "snri_db": {"mean": 2.0},
    }
    expected = {
        "set": "b.csv at 8 kHz",
        "n": 3,
        "si_sdri_db": 1.23,
        "snri_db": 2.0,
        "command": "unmingle evaluate x a/b.csv --first 3",
    }
    assert for_the_card(summary, "x") == expected
    for wrong in ({**summary, "snri_db": {"mean": None}}, {"set": "a/b.csv", "n": 3, "options": ""}):
        with pytest.raises(InputError, match="--measures"):
            for_the_card(wrong, "x")


def test_means_skip_what_is_missing() -> None:
    rows = [{"x": 1.0}, {"x": None}, {"x": 4.0}]
    assert statistics(rows, "x") == {"mean": 2.5, "median": 2.5, "p5": pytest.approx(1.15), "missing": 1}
    assert statistics(rows[1:2], "x") == {"mean": None, "median": None, "p5": None, "missing": 1}


def test_a_set_is_resampled_as_a_whole(folder: Path) -> None:
    item = read_set(folder / "set")[0].read()
    half = resampled(item, 8_000)
    assert half.sample_rate == 8_000
    assert half.sources.shape == (2, item.sources.shape[1] // 2)
    assert np.allclose(half.mixture[0], half.sources.sum(axis=0) + half.noise)
    assert resampled(item, None) is item
    (row,) = measured_rows(system("oracle-irm", 2), read_set(folder / "set")[:1], ("pesq",), 8_000, {})
    assert row["pesq_nb"] is not None
    assert row["missing"] == "pesq_wb: needs 16000 Hz, not 8000"


def test_what_ships_for_so_many_speakers_is_compared_by_itself() -> None:
    assert shipped(2)[0] == next(card.name for card in cards() if card.default and card.facts.n_mics == 1)
    assert shipped(17) == []


def test_the_commands_print_tables_and_json(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    assert (
        main(
            [
                "evaluate",
                "oracle-wiener",
                str(folder / "set"),
                "--json",
                "--measures",
                "si-sdr",
                "--csv",
                str(tmp_path / "rows.csv"),
            ]
        )
        == 0
    )
    summary = json.loads(capsys.readouterr().out)
    assert summary["si_sdri_db"]["mean"] > 5
    assert summary["real_time_factor"] is None
    assert len(table(tmp_path / "rows.csv")) == 3
    rows = tmp_path / "rows.csv"
    arguments = [str(folder / "set"), "--measures", "si-sdr,stoi", "--csv", str(rows)]
    assert main(["evaluate", "mixture", *arguments]) == 0
    said = capsys.readouterr().out
    assert "voice 2 has a silent reference" in said and said.endswith(f"rows: {rows}\n")
    models = ["--models", str(folder / "causal.safetensors"), "--first", "1", "--sample-rate", "8000"]
    assert main(["compare", str(folder / "set"), *models, "--out", str(tmp_path / "out")]) == 0
    assert "| oracle-psm |" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compare.csv",
        "compare.md",
        "compare.png",
        "rows.csv",
    ]
    assert main(["summary", str(folder / "causal.safetensors")]) == 0
    assert "latency          1.9 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "about"),
    [
        (["compare", "missing"], 1, "missing: no such CSV or folder"),
        (["compare", "SET", "--models", "nobody"], 2, "no model 'nobody'"),
        (["compare", "SET", "--models", "duet,,"], 2, "a name is empty"),
        (["compare", "SET", "--models", ""], 2, "a name is empty"),
        (["compare", "SET", "--peers", "unpublished"], 2, "choose published"),
        (["compare", "SET", "--first", "0"], 2, "--first"),
        (["compare", "SET", "--sample-rate", "10"], 2, "--sample-rate"),
        (["compare", "SET", "--models", "mixture", "--out", "SET/s1/m0.wav"], 1, "cannot be made"),
        (["evaluate", "oracle-best", "SET"], 2, "no 'oracle-best'; there are oracle-ibm"),
        (["evaluate", "mixture", "SET", "--measures", "loudness"], 2, "choose from si-sdr"),
        (["evaluate", "mixture", "SET", "--csv", "SET/none/rows.csv"], 1, "cannot be written"),
        (["evaluate", "hush", "SET"], 2, "takes one voice out of noise, and this set has 2 speakers; choose"),
        (["evaluate", "trio", "SET"], 2, "separates 3 speakers, and this set has 2 speakers; choose"),
        (["summary", "nobody"], 2, "no model 'nobody'"),
        (["summary", "nobody.yaml"], 2, "no such recipe"),
        (["summary", "nobody.safetensors"], 1, "not a weights file"),
        (["summary", "nobody.onnx"], 2, "no model 'nobody.onnx'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, about: str, folder: Path, capsys: Captured
) -> None:
    assert main([argument.replace("SET", str(folder / "set")) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert about in captured.err
    assert captured.err.startswith("unmingle: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
