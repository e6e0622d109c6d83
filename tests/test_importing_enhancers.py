"""Checkpoints of published enhancers become models with the same numbers, which stream; what is anything else
is refused and leaves nothing behind.

Shapes and outputs are the originals' own: benchmarks/make_enhancer_originals.py.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from checkpoints_of_others import Evil, decibels
from enhancer_checkpoints import expected, mixture, saved_deepfilternet, saved_dtln, saved_gtcrn

import unmingle
from unmingle import load
from unmingle.errors import InputError
from unmingle.published import deepfilternet, gtcrn
from unmingle.published.importing import import_checkpoint


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The ONNX file of each format's checkpoint."""
    folder = tmp_path_factory.mktemp("enhancers")
    checkpoints = {
        "deepfilternet": saved_deepfilternet(folder / "deepfilternet.tar.gz"),
        "dtln": saved_dtln(folder / "dtln"),
        "gtcrn": saved_gtcrn(folder / "gtcrn.tar"),
    }
    return {
        name: import_checkpoint(path, format=name, out=folder / "models").with_suffix(".onnx")
        for name, path in checkpoints.items()
    }


RATES = {"deepfilternet": 48_000, "dtln": 16_000, "gtcrn": 16_000}


@pytest.mark.parametrize("name", RATES)
def test_an_imported_enhancer_returns_what_the_original_returned(
    name: str, imported: dict[str, Path]
) -> None:
    known, samples = expected(name), mixture()[None]
    separator = load(imported[name], backend="onnxruntime")
    found = separator.outputs(samples)
    assert (separator.facts.task, separator.facts.sample_rate, found.shape) == (
        "enhance",
        RATES[name],
        samples.shape,
    )
    assert decibels(found[0, :: known["step"]], np.array(known["outputs"])) >= 60


@pytest.mark.parametrize("name", ["dtln", "gtcrn"])
def test_an_imported_enhancer_streams_as_it_runs_at_once(name: str, imported: dict[str, Path]) -> None:
    separator, samples = load(imported[name], backend="onnxruntime"), mixture()
    stream = unmingle.Stream(separator)
    parts = [stream.feed(part) for part in np.array_split(samples, 13)]
    streamed = np.concatenate([*parts, stream.flush()], axis=1)
    assert np.allclose(streamed, separator.outputs(samples[None]), atol=1e-4 * np.abs(streamed).max())


def refused(path: Path, format: str, tmp_path: Path, **arguments: Any) -> str:
    """What is said of a checkpoint that leaves nothing behind."""
    with pytest.raises(InputError) as error:
        import_checkpoint(path, format=format, name="a", out=tmp_path / "models", **arguments)
    assert not list((tmp_path / "models").glob("*")) and str(path) in str(error.value)
    return str(error.value)


def test_weights_of_gtcrn_alone_are_a_checkpoint_too(tmp_path: Path) -> None:
    state = torch.load(saved_gtcrn(tmp_path / "a.tar"), weights_only=True)["model"]
    torch.save(state, tmp_path / "b.pt")
    from_file, from_weights = (gtcrn.read(tmp_path / name).model.state_dict() for name in ("a.tar", "b.pt"))
    assert all(torch.equal(value, from_weights[key]) for key, value in from_file.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"erb.erb_fc.weight": None}, "lacks weights, such as 'erb.erb_fc.weight'"),
        ({"more": torch.zeros(1)}, "has unknown weights, such as 'more'"),
        ({"dpgrnn1.inter_fc.weight": torch.zeros(16, 15)}, "is of shape (16, 15)"),
        ({"dpgrnn1.inter_fc.bias": torch.full((16,), torch.nan)}, "has values that are no numbers"),
    ],
)
def test_a_gtcrn_with_other_weights_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refused(saved_gtcrn(tmp_path / "a.tar", **changes), "gtcrn", tmp_path)


def test_what_is_no_checkpoint_of_gtcrn_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for content in ([1, 2], {"model": 3}, {3: torch.zeros(1)}):
        torch.save(content, path)
        assert "no checkpoint of GTCRN" in refused(path, "gtcrn", tmp_path)
    saved_gtcrn(path)
    assert "for 16000 Hz, not 8000" in refused(path, "gtcrn", tmp_path, sample_rate=8000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "no whole checkpoint of PyTorch" in refused(path, "gtcrn", tmp_path)
    at = whole.index(
        next(iter(torch.load(saved_gtcrn(path), weights_only=True)["model"].values())).numpy().tobytes()
    )
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert "no whole checkpoint of PyTorch" in refused(path, "gtcrn", tmp_path)


def test_code_in_a_gtcrn_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"model": {}, "optimizer": Evil(tmp_path / "ran")}, tmp_path / "a.tar")
    assert "holds code or a class (posix.mkdir)" in refused(tmp_path / "a.tar", "gtcrn", tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lstm_4_W": None}, "lacks weights, such as 'lstm_4_W'"),
        ({"more": np.zeros(1, np.float32)}, "has unknown weights, such as 'more'"),
        ({"lstm_4_B": np.zeros((1, 1000), np.float32)}, "lstm_4_B is of shape (500,)"),
        ({"dense_2/kernel:0": np.zeros((128, 256), np.float32)}, "dense_2/kernel:0 is of shape (256, 128)"),
        ({"lstm_5_R": np.full((1, 512, 128), np.inf, np.float32)}, "lstm_5_R has values that are no numbers"),
        (
            {"model_2/instant_layer_normalization_1/add/y:0": np.array(1e-5, np.float32)},
            "not DTLN's, whose layer norm adds 1e-7",
        ),
    ],
)
def test_a_dtln_with_other_weights_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refused(saved_dtln(tmp_path / "a", **changes), "dtln", tmp_path)


def test_what_is_no_dtln_is_refused(tmp_path: Path) -> None:
    folder = saved_dtln(tmp_path / "a")
    assert "no folder; give the one that holds" in refused(folder / "model_1.onnx", "dtln", tmp_path)
    assert "DTLN is for 16000 Hz, not 8000" in refused(folder, "dtln", tmp_path, sample_rate=8000)
    path, both = (
        folder / "model_2.onnx",
        [(folder / f"model_{number}.onnx").read_bytes() for number in (1, 2)],
    )
    for content in (b"", b"text", both[1][: len(both[1]) // 2]):
        path.write_bytes(content)
        assert "model_2.onnx: no whole ONNX file" in refused(folder, "dtln", tmp_path)
    path.write_bytes(both[0])  # another whole one
    assert "not DTLN's" in refused(folder, "dtln", tmp_path)
    path.unlink()
    assert "model_2.onnx: no such file" in refused(folder, "dtln", tmp_path)


def test_weights_that_lie_outside_an_onnx_file_are_not_read(tmp_path: Path) -> None:
    folder = saved_dtln(tmp_path / "a")
    model = onnx.load(folder / "model_1.onnx")
    onnx.save(
        model, folder / "model_1.onnx", save_as_external_data=True, location="weights", size_threshold=0
    )
    assert (folder / "weights").is_file()
    assert "model_1.onnx: no whole ONNX file with its weights" in refused(folder, "dtln", tmp_path)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ("", {"enc/erb_conv1/0/Conv.1": None}, "lacks weights, such as 'enc/erb_conv1/0/Conv.1'"),
        ("", {"enc/more/Conv.1": np.zeros(1, np.float32)}, "has unknown weights, such as 'enc/more/Conv.1'"),
        ("", {"enc/emb_gru/GRU.2": np.zeros((1, 7, 256), np.float32)}, "GRU.2 is of shape (7, 256)"),
        ("", {"df_dec/df_skip/Einsum.1": np.zeros((16, 32, 15), np.float32)}, "is of shape (16, 32, 15)"),
        ("\n[df]\nsr = 48000", {}, "config.ini is not that of a DeepFilterNet"),
    ],
)
def test_a_deepfilternet_with_other_weights_is_refused(
    config: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = saved_deepfilternet(tmp_path / "a.tar.gz", config, **changes)
    assert message in refused(path, "deepfilternet", tmp_path)


def test_a_deepfilternet_of_another_configuration_is_refused() -> None:
    known = expected("deepfilternet")["config"]
    deepfilternet.check_config(Path("a"), known.encode())
    for changed, message in (
        (known.replace("conv_ch = 64", "conv_ch = 32"), "conv_ch='32' is not converted; known: 64"),
        (known.replace("[df]", "[df]\nshuffle = 1"), "shuffle='1' is not converted; known: none"),
        (known.replace("nb_df = 96", ""), "nb_df=None is not converted; known: 96"),
        (known.replace("[df]", "[fd]"), "config.ini is not that of a DeepFilterNet"),
    ):
        with pytest.raises(InputError) as error:
            deepfilternet.check_config(Path("a"), changed.encode())
        assert message in str(error.value)


def test_what_is_no_archive_of_deepfilternet_is_refused(tmp_path: Path) -> None:
    path = saved_deepfilternet(tmp_path / "a.tar.gz")
    assert "for 48000 Hz, not 16000" in refused(path, "deepfilternet", tmp_path, sample_rate=16_000)
    whole = path.read_bytes()
    half = len(whole) // 2
    changed = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
    for content in (b"", b"text", whole[:half], whole[:-5], changed, gzip.compress(b"text")):
        path.write_bytes(content)
        assert "no whole archive of DeepFilterNet3's ONNX files" in refused(path, "deepfilternet", tmp_path)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(10**6)))
    monkeypatch.setattr(deepfilternet, "LARGEST_BYTES", 500_000)
    assert "larger than" in refused(tmp_path / "a.tar.gz", "deepfilternet", tmp_path)
