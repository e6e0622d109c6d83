"""Checkpoints of Asteroid become models: the same numbers, wherever models are named; what is anything else
is refused and leaves nothing behind.

Shapes and outputs are Asteroid's own: benchmarks/make_asteroid_originals.py.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from asteroid_checkpoints import SMALL, expected, formula, saved, signal
from checkpoints_of_others import Evil, decibels
from web_server import Server, Visitor, voices

from unmingle import load, separate
from unmingle.beamforming import BEAMFORMERS
from unmingle.catalog import Card, cards, remove, resolve
from unmingle.cli import main
from unmingle.errors import InputError, UsageError
from unmingle.evaluation.baselines import BASELINES
from unmingle.evaluation.systems import MIXTURE
from unmingle.published import asteroid, checkpoints
from unmingle.published.importing import RESERVED, import_checkpoint
from unmingle.runtime.openvino import compile_openvino
from unmingle.training import export

pytestmark = pytest.mark.usefixtures("models")


@pytest.mark.parametrize("name", SMALL)
def test_an_imported_model_returns_what_asteroid_returned(name: str, tmp_path: Path) -> None:
    card = import_checkpoint(saved(tmp_path / f"{name}.pth", name), format="asteroid")
    assert card.stem == name
    known = expected(name)
    separator, mixture = load(name, backend="onnxruntime"), signal(SMALL[name][2])[None]
    assert separator.sample_rate == SMALL[name][1].get("sample_rate", 8000)
    (by_openvino,) = compile_openvino(card.with_suffix(".onnx"), cached=False)(mixture[None])
    for outputs in (separator.outputs(mixture), by_openvino[0]):
        assert outputs.shape == (SMALL[name][1]["n_src"], SMALL[name][2])
        assert decibels(outputs[:, :: known["step"]], np.array(known["outputs"])) >= 60


@pytest.mark.parametrize("name", ["conv-2-8k-sigmoid", "dprnn-2-8k-sigmoid"])
def test_a_mixture_shorter_than_a_filter_keeps_its_length(name: str, tmp_path: Path) -> None:
    import_checkpoint(saved(tmp_path / "ours.pth", name), format="asteroid")
    for length in (1, 15, 16, 17):
        estimates = load("ours", backend="onnxruntime")(signal(length)[None])
        assert estimates.shape == (2, length) and np.isfinite(estimates).all()


def test_an_imported_model_is_used_listed_and_removed(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a.pth", "conv-2-8k-sigmoid")
    assert main(["import", str(path), "--format", "asteroid", "--name", "theirs"]) == 0
    assert capsys.readouterr().out.split() == [str(models / "theirs.onnx"), str(models / "theirs.yaml")]
    assert main(["models"]) == 0
    assert "theirs (conv-tasnet)" in capsys.readouterr().out
    assert main(["models", "theirs"]) == 0
    assert "imported from a.pth (asteroid, SHA-256" in " ".join(capsys.readouterr().out.split())
    soundfile.write(tmp_path / "talk.wav", signal(16_000), 8_000)
    out = str(tmp_path / "out")
    assert main(["separate", str(tmp_path / "talk.wav"), "--model", "theirs", "--out", out]) == 0
    assert sorted(each.name for each in (tmp_path / "out/talk").glob("*.wav")) == [
        "speaker-1.wav",
        "speaker-2.wav",
    ]
    assert separate(signal(16_000), 8_000, model="theirs").shape == (2, 16_000)
    assert main(["remove", "theirs"]) == 0
    assert list(models.iterdir()) == []
    assert main(["separate", str(tmp_path / "talk.wav"), "--model", "theirs", "--out", out]) == 2


def test_an_imported_model_is_chosen_on_the_page(tmp_path: Path, server: Server) -> None:
    import_checkpoint(saved(tmp_path / "a.pth"), format="asteroid", name="theirs")
    visitor = Visitor(server)
    assert b'<option data-task="separate">theirs</option>' in visitor.page
    _, job = visitor.separate(voices(1.0), model="theirs")
    assert (job["state"], job["model"]) == ("done", "theirs")
    id = visitor.upload(voices(1.0))["id"]
    for task in (
        {"model": "nothing"},
        {"model": str(tmp_path / "models/theirs.onnx")},
        {"model": "theirs", "kind": "enhance"},
        {"model": ["theirs"]},
    ):
        status, said = visitor.start(id, **task)
        assert status == 400 and "no model" in said["error"]


def test_the_voices_of_an_imported_model_add_up_to_the_level_of_the_mixture(tmp_path: Path) -> None:
    # Asteroid's decoder a thousand times as loud, and upside down: SI-SDR, by which it trains, is the same.
    decoder = "decoder.filterbank._filters"
    loud = torch.from_numpy(-1000 * formula(decoder, expected("conv-2-8k-sigmoid")["shapes"][decoder]))
    import_checkpoint(saved(tmp_path / "loud.pth", state_dict={decoder: loud}), format="asteroid")
    import_checkpoint(saved(tmp_path / "plain.pth"), format="asteroid")
    mixture = signal(4000)[None]
    loud_one, plain_one = (load(name, backend="onnxruntime") for name in ("loud", "plain"))
    estimates = loud_one(mixture)
    assert np.allclose(estimates, plain_one(mixture), atol=1e-4)
    total = estimates.sum(axis=0)
    assert total @ (mixture[0] - total) == pytest.approx(0, abs=1e-3 * float(total @ total))
    assert not loud_one(np.zeros((1, 4000), np.float32)).any()


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth")
    import_checkpoint(path, format="asteroid", name="theirs")
    with pytest.raises(UsageError, match="remove it first: unmingle remove theirs"):
        import_checkpoint(path, format="asteroid", name="theirs")
    with pytest.raises(UsageError, match="duet is a model that is installed"):
        import_checkpoint(path, format="asteroid", name="duet")
    with pytest.raises(UsageError, match="letters, digits"):
        import_checkpoint(path, format="asteroid", name="../theirs")
    for name in ("mvdr", "oracle-irm"):
        with pytest.raises(UsageError, match=f"{name} means something else"):
            import_checkpoint(path, format="asteroid", name=name)
    assert {*BASELINES, *BEAMFORMERS, MIXTURE} <= set(RESERVED)


def test_after_a_removal_another_model_may_have_the_name(tmp_path: Path) -> None:
    mixture = signal(4000)[None]
    found = []
    for name in ("conv-2-8k-sigmoid", "dprnn-2-8k-sigmoid"):
        import_checkpoint(saved(tmp_path / "a.pth", name), format="asteroid")
        found.append(load("a", backend="onnxruntime")(mixture))
        remove("a")
    assert not np.allclose(*found)


def test_only_what_was_imported_is_removed(models: Path) -> None:
    with pytest.raises(UsageError, match="duet ships with unmingle and cannot be removed"):
        remove("duet")
    for name in ("../duet", "nothing"):
        with pytest.raises(UsageError, match=f"no imported model '{name}' in .*; there are: none"):
            remove(name)
    assert resolve("duet").is_file()


def test_a_damaged_card_does_not_keep_a_model_from_being_removed(tmp_path: Path, models: Path) -> None:
    import_checkpoint(saved(tmp_path / "a.pth"), format="asteroid")
    (models / "a.yaml").write_text("name: a\n")
    cards.cache_clear()
    with pytest.raises(InputError, match=r"a\.yaml: card entries missing"):
        resolve("duet")
    remove("a")
    assert resolve("duet").is_file()


def test_a_damaged_or_half_removed_model_is_removed_and_imported_again(tmp_path: Path, models: Path) -> None:
    path = saved(tmp_path / "a.pth")
    import_checkpoint(path, format="asteroid")
    (models / "a.onnx").write_bytes(b"damaged")
    with pytest.raises(InputError, match="unmingle remove a, and import or get it again"):
        load("a")
    (models / "a.onnx").unlink()
    remove("a")
    assert not list(models.iterdir())
    import_checkpoint(path, format="asteroid")
    assert load("a", backend="onnxruntime").n_src == 2


def test_files_can_go_into_another_folder(tmp_path: Path, models: Path) -> None:
    card = import_checkpoint(saved(tmp_path / "a.pth"), format="asteroid", out=tmp_path / "there")
    assert load(card.with_suffix(".onnx"), backend="onnxruntime").n_src == 2
    assert not models.exists()
    with pytest.raises(UsageError, match="exists already"):
        import_checkpoint(tmp_path / "a.pth", format="asteroid", out=tmp_path / "there")


def test_the_sample_rate_of_an_old_checkpoint_is_asked_for(tmp_path: Path, models: Path) -> None:
    path = saved(tmp_path / "a.pth", sample_rate=None)
    with pytest.raises(InputError, match="does not say its sample rate; give it with --sample-rate"):
        import_checkpoint(path, format="asteroid")
    import_checkpoint(path, format="asteroid", sample_rate=16_000)
    assert Card.read(models / "a.yaml").facts.sample_rate == 16_000
    with pytest.raises(InputError, match="says sample_rate=8000, not 16000"):
        import_checkpoint(saved(tmp_path / "b.pth"), format="asteroid", sample_rate=16_000)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_not_run(legacy: bool, tmp_path: Path, models: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"x": Evil(tmp_path / "ran")}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"a\.pth: holds code or a class \(posix\.mkdir\), which is not run"):
        import_checkpoint(path, format="asteroid")
    assert not (tmp_path / "ran").exists() and not models.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"class \(torch\.nn\.modules\.linear\.Linear\)"):
        import_checkpoint(tmp_path / "a.pth", format="asteroid")


@pytest.mark.parametrize("module", ["numpy._core", "numpy.core"])
def test_numbers_of_numpy_are_plain_numbers(module: str, tmp_path: Path) -> None:
    torch.save({"si_sdr": np.float64(19.3), "n": np.int64(3000)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as saved_by_torch,
        zipfile.ZipFile(tmp_path / "b.pth", "w") as other,
    ):
        for entry in saved_by_torch.infolist():
            content = saved_by_torch.read(entry)
            other.writestr(entry.filename, content.replace(b"cnumpy._core.", b"c" + module.encode() + b"."))
    values, _ = checkpoints.read_checkpoint(tmp_path / "b.pth")
    assert values == {"si_sdr": 19.3, "n": 3000} and {type(value) for value in values.values()} == {
        int,
        float,
    }


def test_objects_of_numpy_are_refused(tmp_path: Path) -> None:
    torch.save({"x": np.array([Evil(tmp_path / "ran")], object)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"class \(numpy"):
        checkpoints.read_checkpoint(tmp_path / "a.pth")
    torch.save({"x": np.datetime64("2026-01-01")}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="no whole checkpoint"):
        checkpoints.read_checkpoint(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


def nan() -> torch.Tensor:
    return torch.full((1,), torch.nan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name": "SuDORMRFNet"}, "network 'SuDORMRFNet' is not converted yet; known: ConvTasNet, "),
        ({"model_name": 3}, "network 3 is not converted yet"),
        ({"norm_type": "BN"}, "norm_type='BN' is not converted; known: gLN, cLN"),
        ({"causal": True}, "causal=True is not converted; known: False"),
        ({"out_chan": 8}, "out_chan=8 is not converted; known: n_filters"),
        ({"stride": 4}, "stride=4 is not converted; known: kernel_size / 2"),
        ({"conv_kernel_size": 4}, "conv_kernel_size=4 is not converted; known: 1, 3, … 63"),
        ({"n_filters": 10**9}, "n_filters=1000000000 is not converted; known: 1 to 8192"),
        ({"n_src": 2.5}, "n_src=2.5 is not converted; it must be a whole number"),
        ({"n_blocks": [3]}, "argument 'n_blocks' is no plain value"),
        (
            {"hid_chan": 8192, "n_filters": 8192, "in_chan": 8192, "out_chan": 8192, "bn_chan": 4096},
            "100 mil",
        ),
        ({"shuffle": 1}, "unknown arguments of ConvTasNet: 'shuffle'"),
        ({"\x1b[31m": 1}, r"unknown arguments of ConvTasNet: '\x1b[31m'"),
        ({"hid_chan": 13}, ".0.weight is of shape (12, 8, 1), which its arguments do not allow"),
        ({"n_blocks": 4}, "lacks weights, such as 'masker.TCN.6"),
        ({"state_dict": {"more": torch.zeros(1)}}, "has unknown weights, such as 'more'"),
        ({"state_dict": {"masker.mask_net.0.weight": nan()}}, "mask_net.0.weight has values that are no num"),
        ({"state_dict": {"masker.mask_net.0.weight": "a"}}, "mask_net.0.weight is no tensor of real numbers"),
        ({"state_dict": {"masker.mask_net.0.weight": torch.zeros(1).to_sparse()}}, "is no tensor of real"),
        ({"state_dict": {"masker.mask_net.0.weight": torch.zeros(1).expand(10**9)}}, "is of shape"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a.pth", **changes)
    assert main(["import", str(path), "--format", "asteroid"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and str(path) in said
    assert message in said
    assert not models.exists()


@pytest.mark.parametrize(
    "changes", [{"num_layers": 2}, {"rnn_type": "GRU"}, {"hop_size": 3}, {"chunk_size": 21}]
)
def test_what_a_dprnn_cannot_be_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", "dprnn-2-8k-sigmoid", **changes)
    with pytest.raises(InputError, match=f"{next(iter(changes))}=.* is not converted; known: "):
        import_checkpoint(path, format="asteroid")


def test_a_damaged_file_is_refused(tmp_path: Path, models: Path) -> None:
    whole = saved(tmp_path / "whole.pth").read_bytes()
    rng = np.random.default_rng(0)
    damaged = [b"", b"text", whole[: len(whole) // 2], whole[:-30]]
    for start in rng.integers(0, len(whole) - 200, 50):
        damaged.append(whole[:start] + rng.bytes(200) + whole[start + 200 :])
    weights = whole.index(formula(*next(iter(expected("conv-2-8k-sigmoid")["shapes"].items()))).tobytes())
    damaged.append(whole[:weights] + bytes([whole[weights] ^ 1]) + whole[weights + 1 :])
    for content in damaged:
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(InputError) as error:
            import_checkpoint(tmp_path / "a.pth", format="asteroid")
        assert str(tmp_path / "a.pth") in str(error.value)
    assert not models.exists()


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    monkeypatch.setattr(checkpoints, "LARGEST_BYTES", 200_000)
    assert (tmp_path / "bomb.pth").stat().st_size < 200_000
    with pytest.raises(InputError, match="larger than"):
        import_checkpoint(tmp_path / "bomb.pth", format="asteroid")
    monkeypatch.setattr(checkpoints, "LARGEST_BYTES", path.stat().st_size - 1)
    with pytest.raises(InputError, match="larger than"):
        import_checkpoint(path, format="asteroid")


def test_a_conversion_that_does_not_agree_leaves_nothing(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "AGREEMENT_DB", 1000.0)
    with pytest.raises(InputError, match=r"a\.pth: ONNX and PyTorch agree to \d+ dB only"):
        import_checkpoint(saved(tmp_path / "a.pth"), format="asteroid")
    assert list(models.iterdir()) == []


def test_usage_errors_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(saved(tmp_path / "a.pth"))
    assert main(["import", path, "--format", "espnet"]) == 2
    assert "--format espnet: unknown; choose from asteroid" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "none.pth"), "--format", "asteroid"]) == 1
    assert "none.pth: no such file" in capsys.readouterr().err


def test_every_network_has_names_for_its_weights() -> None:
    assert set(asteroid.ARGUMENTS) == set(asteroid.FOLLOWING) == set(asteroid.OURS) == set(asteroid.NAMES)


def test_the_card_keeps_where_the_weights_are_from(tmp_path: Path) -> None:
    card = yaml.safe_load(import_checkpoint(saved(tmp_path / "a.pth"), format="asteroid").read_text())
    assert card["licence"] == {"code": "MIT", "weights": "not stated", "data": "not stated"}
    assert card["measured"] == [] and not card["default"] and card["facts"]["head"] == "as-loud"
