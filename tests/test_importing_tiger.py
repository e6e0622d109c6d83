"""Checkpoints of TIGER become models: the same numbers as its authors' program; what is anything else is
refused and leaves nothing behind.

Shapes and outputs are the program's own: benchmarks/make_tiger_originals.py.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asteroid_checkpoints import formula, signal
from checkpoints_of_others import Evil, decibels
from tiger_checkpoints import LENGTHS, SMALL, expected, saved

from unmingle import load
from unmingle.catalog import Card
from unmingle.errors import InputError
from unmingle.models.tiger import nearest
from unmingle.published import checkpoints, tiger
from unmingle.published.importing import import_checkpoint
from unmingle.published.table import find_published
from unmingle.runtime.openvino import compile_openvino

pytestmark = pytest.mark.usefixtures("models")


@pytest.mark.parametrize("name", SMALL)
def test_its_network_returns_what_theirs_returned(name: str, tmp_path: Path) -> None:
    model, facts, _ = tiger.read(saved(tmp_path / "a", name))
    assert (facts.sample_rate, facts.n_src, facts.head) == (
        SMALL[name]["sample_rate"],
        SMALL[name]["num_sources"],
        "",
    )
    known = expected(name)
    for length, step, outputs in zip(LENGTHS, known["steps"], known["outputs"], strict=True):
        with torch.inference_mode():
            found = model(torch.from_numpy(signal(length))[None, None])[0].numpy()
        assert decibels(found[:, ::step], np.array(outputs)) >= 60


def test_an_imported_one_returns_what_theirs_returned(tmp_path: Path) -> None:
    card = import_checkpoint(saved(tmp_path / "theirs"), format="tiger")
    assert (card.stem, Card.read(card).model) == ("theirs", "tiger")
    known, length = expected("tiger-2-16k"), LENGTHS[1]
    separator, mixture = load("theirs", backend="onnxruntime"), signal(length)[None]
    (by_openvino,) = compile_openvino(card.with_suffix(".onnx"), cached=False)(mixture[None])
    for outputs in (separator.outputs(mixture), by_openvino[0]):
        assert decibels(outputs[:, :: known["steps"][1]], np.array(known["outputs"][1])) >= 60
    for length in (1, 319, 641):
        estimates = separator(signal(length)[None])
        assert estimates.shape == (2, length) and np.isfinite(estimates).all()
        assert np.allclose(estimates.sum(0), signal(length), atol=1e-5)


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "best_model.pth"])
def test_weights_that_torch_saved_are_read(weights: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", weights=weights)
    if weights == "best_model.pth":
        state = torch.load(folder / weights, weights_only=True)
        torch.save({"model_name": "TIGER", "state_dict": state, "model_args": {}}, folder / weights)
    ours = tiger.read(folder / weights).model.state_dict()
    for key, tensor in tiger.read(saved(tmp_path / "b")).model.state_dict().items():
        assert torch.equal(ours[key], tensor)


@pytest.mark.parametrize("rate", [(7, 121), (23, 355), (50, 100), (178, 355), (301, 150)])
def test_places_are_those_of_interpolate_with_its_rounding(rate: tuple[int, int]) -> None:
    n_others, n = rate
    wanted = torch.nn.functional.interpolate(torch.arange(n_others)[None, None].float(), size=n)[0, 0]
    assert torch.equal(nearest(torch.arange(n), n, n_others), wanted.long())


def test_arguments_that_config_json_leaves_out_are_those_of_their_program(tmp_path: Path) -> None:
    path = saved(tmp_path / "a") / "config.json"
    config = json.loads(path.read_text())
    for key in ("att_n_head", "num_sources", "att_stride"):
        del config[key]
    path.write_text(json.dumps(config))
    assert tiger.read(tmp_path / "a").model.config["n_heads"] == 4


def test_the_published_one_is_that_of_the_paper() -> None:
    row = find_published("tiger-speech")
    assert row.download is not None and set(row.download.sha256) == set(row.download.files)
    assert row.parameters == 821_932


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, models: Path) -> None:
    folder = saved(tmp_path / "a", weights="pytorch_model.bin")
    torch.save({"x": Evil(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"holds code or a class \(posix\.mkdir\), which is not run"):
        import_checkpoint(folder, format="tiger")
    assert not (tmp_path / "ran").exists() and not models.exists()


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_truncated_file_is_refused(weights: str, tmp_path: Path, models: Path) -> None:
    folder = saved(tmp_path / "a", weights=weights)
    content = (folder / weights).read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 1):
        (folder / weights).write_bytes(content[:length])
        with pytest.raises(InputError, match="no whole"):
            import_checkpoint(folder, format="tiger")
    assert not models.exists()


def test_a_changed_byte_is_seen_where_there_are_checksums(tmp_path: Path) -> None:
    path = saved(tmp_path / "a", weights="pytorch_model.bin") / "pytorch_model.bin"
    content = bytearray(path.read_bytes())
    weight = "separator.frame_path.0.res_conv.weight"
    place = content.find(formula(weight, expected("tiger-2-16k")["shapes"][weight]).tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="no whole checkpoint"):
        import_checkpoint(path, format="tiger")


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "a")
    monkeypatch.setattr(checkpoints, "LARGEST_BYTES", 1000)
    with pytest.raises(InputError, match="not opened"):
        import_checkpoint(folder, format="tiger")


def nan(*shape: int) -> torch.Tensor:
    return torch.full(shape, torch.nan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 0}, "unknown arguments of TIGER: 'dropout'"),
        ({"win": 641}, "win=641 is not converted; known: 2, 4, … 65536"),
        ({"win": 512}, "257 bins at 16000 Hz are too few"),
        ({"num_sources": 1}, "num_sources=1 is not converted; known: 2 to 10"),
        ({"num_sources": 3}, r"n_features \(8\) a multiple of n_src"),
        ({"num_blocks": "2"}, "num_blocks='2' is not converted; it must be a whole number"),
        ({"num_blocks": 10**9}, "num_blocks=1000000000 is not converted; known: 1 to 64"),
        ({"out_channels": [8]}, r"out_channels=\[8\] is not converted"),
        ({"in_channels": 8192, "out_channels": 4096}, "100 million"),
        ({"upsampling_depth": 4}, "has unknown weights, such as "),
        ({"upsampling_depth": 6}, "lacks weights, such as "),
        ({"att_n_head": 8}, "lacks weights, such as "),
        ({"in_channels": 13}, "which its arguments do not allow"),
        ({"state_dict": {"BN.66.1.bias": None}}, "lacks weights, such as 'BN.66.1.bias'"),
        ({"state_dict": {"BN.67.1.bias": nan(1)}}, "has unknown weights, such as 'BN.67.1.bias'"),
        ({"state_dict": {"BN.3.1.weight": nan(8, 3, 1)}}, "BN.0.1.weight and others do not fit"),
        ({"state_dict": {"BN.3.1.bias": nan(8)}}, "values that are no numbers"),
        ({"state_dict": {"BN.3.1.bias": torch.zeros(8, dtype=torch.int32)}}, "no tensor of real numbers"),
    ],
)
def test_what_is_not_known_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path, models: Path
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        import_checkpoint(saved(tmp_path / "a", **changes), format="tiger")
    assert "\n" not in str(refused.value) and not models.exists()


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 90_000, " " * 200_000])
def test_a_config_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (saved(tmp_path / "a") / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json: no JSON of arguments"):
        tiger.read(tmp_path / "a")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    with pytest.raises(InputError, match="says sample_rate=16000, not 8000"):
        tiger.read(folder, 8000)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds none of model\.safetensors, "):
        tiger.read(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: cannot be read .*beside the weights"):
        tiger.read(folder)
