"""Folders of SpeechBrain and weights of torchaudio become models: the same numbers; what is anything else is
refused and leaves nothing behind.

Shapes and outputs are their own: benchmarks/make_speechbrain_originals.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from asteroid_checkpoints import signal
from checkpoints_of_others import Evil, decibels
from speechbrain_checkpoints import PARTS, SMALL, expected, saved, saved_conv_tasnet

from unmingle import load, separate
from unmingle.cli import main
from unmingle.errors import InputError
from unmingle.published import hyperparams, speechbrain, torchaudio
from unmingle.published.importing import import_checkpoint
from unmingle.runtime.openvino import compile_openvino
from unmingle.training import export

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(autouse=True)
def one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import is compared at one length, which takes a third of the time."""
    monkeypatch.setattr(export, "LENGTHS", (1_000,))


def agreement(found: np.ndarray, known: dict[str, Any]) -> float:
    return decibels(found[:, :: known["step"]], np.array(known["outputs"]))


@pytest.mark.parametrize("name", SMALL)
def test_an_imported_model_returns_what_speechbrain_returned(name: str, tmp_path: Path) -> None:
    card = import_checkpoint(saved(tmp_path / name, name), format="speechbrain")
    assert card.stem == name
    separator, mixture = load(name, backend="onnxruntime"), signal(SMALL[name][2])[None]
    assert separator.sample_rate == SMALL[name][1].get("sample_rate", 8000)
    (by_openvino,) = compile_openvino(card.with_suffix(".onnx"), cached=False)(mixture[None])
    for outputs in (separator.outputs(mixture), by_openvino[0]):
        assert outputs.shape == (SMALL[name][1]["n_src"], SMALL[name][2])
        assert agreement(outputs, expected(name)) >= 60


def test_a_conv_tasnet_returns_what_torchaudio_returned(tmp_path: Path) -> None:
    model, facts, _ = torchaudio.read(saved_conv_tasnet(tmp_path / "base.pt"), 8_000)
    with torch.inference_mode():
        outputs = model(torch.from_numpy(signal(1001))[None, None])[0].numpy()
    assert outputs.shape == (2, 1001) and agreement(outputs, expected("torchaudio")) >= 60
    assert (facts.sample_rate, facts.n_src, facts.head) == (8_000, 2, "as-loud")


@pytest.mark.parametrize("name", ["sepformer-3-8k-even", "resepformer-2-8k"])
def test_a_file_with_aliases_and_training_says_the_same(name: str, tmp_path: Path) -> None:
    read = [
        speechbrain.read(saved(tmp_path / str(aliases), name, aliases=aliases)) for aliases in (False, True)
    ]
    assert read[0].model.config == read[1].model.config and read[0].facts == read[1].facts


@pytest.mark.parametrize("name", ["sepformer-2-8k", "resepformer-2-8k"])
def test_a_mixture_shorter_than_a_filter_keeps_its_length(name: str, tmp_path: Path) -> None:
    import_checkpoint(saved(tmp_path / "ours", name), format="speechbrain")
    for length in (1, 15, 16, 17):
        estimates = load("ours", backend="onnxruntime")(signal(length)[None])
        assert estimates.shape == (2, length) and np.isfinite(estimates).all()


def test_an_imported_model_is_used_from_the_shell_and_python_and_removed(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "folder")
    assert main(["import", str(folder), "--format", "speechbrain", "--name", "theirs"]) == 0
    assert capsys.readouterr().out.split() == [str(models / "theirs.onnx"), str(models / "theirs.yaml")]
    assert main(["models", "theirs"]) == 0
    assert "imported from folder (speechbrain, SHA-256" in " ".join(capsys.readouterr().out.split())
    soundfile.write(tmp_path / "talk.wav", signal(16_000), 8_000)
    out = str(tmp_path / "out")
    assert main(["separate", str(tmp_path / "talk.wav"), "--model", "theirs", "--out", out]) == 0
    assert len(list((tmp_path / "out/talk").glob("speaker-*.wav"))) == 2
    estimates = separate(signal(16_000), 8_000, model="theirs")
    assert estimates.shape == (2, 16_000) and estimates.any()
    assert main(["remove", "theirs"]) == 0
    assert list(models.iterdir()) == []


def test_the_card_says_the_task_and_that_levels_are_fitted(tmp_path: Path) -> None:
    card = import_checkpoint(saved(tmp_path / "a", "sepformer-1-16k"), format="speechbrain")
    facts = yaml.safe_load(card.read_text())["facts"]
    assert (facts["task"], facts["n_src"], facts["head"]) == ("enhance", 1, "as-loud")


def changed(folder: Path, old: str, new: str) -> Path:
    """Its hyperparams.yaml with something else instead."""
    file = folder / "hyperparams.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("!new:speechbrain.lobes.models.dual_path.Dual", "!new:os.Dual", "names !new:os.Dual_Path_Model, wh"),
        (
            "seed: 1",
            "seed: !apply:os.mkdir [RAN]\nseeds: 1",
            "names !apply:os.mkdir, which is not known here,",
        ),
        (
            "seed: 1",
            "seed: !name:os.mkdir\nseeds: 1",
            "names !name:os.mkdir, which is not known here, and no",
        ),
        ("seed: 1", "seed: !include:/etc/passwd\nseeds: 1", "names !include:/etc/passwd, which is not known"),
        ("seed: 1", "seed: !!python/object/apply:os.mkdir [RAN]\nseeds: 1", "python/object/apply:os.mkdir"),
        ("seed: 1", "seed: [" + 2000 * "[", "no YAML ("),
        ("num_spks: 2\n  in", "num_spks: 3\n  in", "numbers of voices that differ (2, 3)"),
        (
            "num_spks: 2\n  in",
            "num_spks: !ref <nothing>\n  in",
            "'<nothing>' is not the name of another entry",
        ),
        ("num_spks: 2\n  in", "num_spks: !ref <seed> * 2\n  in", "'<seed> * 2' is not the name of another"),
        ("seed: 1234", "seed: !ref <seed>", ""),
        ("sample_rate: 8000", "sample_rate: !ref <sample_rate>", "references that lead to themselves"),
        ("sample_rate: 8000", "sample_rate: 8", "sample_rate=8 is not converted; known: 1000 to 768000"),
        ("sample_rate: 8000", "rate: 8000", "does not say its sample rate; give it with --sample-rate"),
        ("K: 20", "K: 21", "Dual_Path_Model with K=21 is not converted; known: 2, 4, … 10000"),
        ("K: 20", "K: [20]", "Dual_Path_Model with K=[20] is not converted; it must be a whole number"),
        ("norm: ln", "norm: gln", "Dual_Path_Model with norm='gln' is not converted; known: ln"),
        ("norm: ln", "normal: ln", "unknown arguments of Dual_Path_Model: 'normal'"),
        ("  K: 20\n", "", "missing arguments of Dual_Path_Model: 'K'"),
        ("skip_around_intra: true", "use_global_pos_enc: true", "use_global_pos_enc=True is not converted"),
        ("nhead: 2", "nhead: 3", "differ in their sizes, which is not converted"),
        (
            "num_layers: 2\n  d_model",
            "num_layers: 1\n  d_model",
            "intra_model and inter_model differ in their",
        ),
        ("norm_before: true", "norm_before: false", "norm_before=False is not converted; known: True"),
        ("out_channels: 16", "out_channels: 12", "numbers of filters that differ (12, 16, 16)"),
        ("stride: 8", "stride: 4", "half a filter and the stride that differ (8, 4)"),
        (
            "d_ffn: 12",
            "d_ffn: 1000000",
            "SBTransformerBlock with d_ffn=1000000 is not converted; known: 1 to",
        ),
        ("masknet: *id002", "other: *id002", "has no masknet among its modules"),
        (
            "encoder: *id000",
            "encoder: *id001",
            "encoder 'speechbrain.lobes.models.dual_path.Decoder' is not c",
        ),
        (
            "masknet: *id002",
            "masknet: *id003",
            "network 'speechbrain.lobes.models.dual_path.SBTransformerBlo",
        ),
        ("intra_model: *id003", "intra_model: *id000", "intra_model is not converted unless it is a"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    old: str, new: str, message: str, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed(saved(tmp_path / "a", aliases=True), old, new.replace("RAN", str(tmp_path / "ran")))
    if not message:  # nothing reads it
        speechbrain.read(folder)
        return
    assert main(["import", str(folder), "--format", "speechbrain"]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and str(folder / "hyperparams.yaml") in said
    assert message in said
    assert not models.exists() and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("causal: false", "causal: true", "causal=True is not converted; known: False"),
        ("  causal: false\n", "", "causal=True is not converted; known: False"),
        ("mem_type: av", "mem_type: hc", "mem_type='hc' is not converted; known: av"),
        ("use_norm: true", "use_norm: false", "use_norm=False is not converted; known: True"),
        ("input_dim: 8", "input_dim: 16", "numbers of filters that differ (8, 8, 16)"),
    ],
)
def test_what_a_resepformer_cannot_be_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    folder = changed(saved(tmp_path / "a", "resepformer-2-8k"), old, new)
    with pytest.raises(InputError) as error:
        speechbrain.read(folder)
    assert message in str(error.value)


@pytest.mark.parametrize("file", ["hyperparams.yaml", *(f"{part}.ckpt" for part in PARTS)])
def test_every_file_of_the_folder_must_be_there_and_whole(file: str, tmp_path: Path, models: Path) -> None:
    path = saved(tmp_path / "a") / file
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match=f"{file}: no such file"):
        import_checkpoint(tmp_path / "a", format="speechbrain")
    rng = np.random.default_rng(0)
    damaged = [content[: len(content) // 2]]
    if file != "hyperparams.yaml":
        damaged.append(content[:-200] + rng.bytes(200))
    for each in damaged:
        path.write_bytes(each)
        with pytest.raises(InputError, match=file):
            import_checkpoint(tmp_path / "a", format="speechbrain")
    assert not models.exists()


def test_a_changed_weight_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a") / "encoder.ckpt"
    content = path.read_bytes()
    weights = content.index(torch.load(path, weights_only=True)["conv1d.weight"].numpy().tobytes())
    path.write_bytes(content[:weights] + bytes([content[weights] ^ 1]) + content[weights + 1 :])
    with pytest.raises(InputError, match=r"encoder\.ckpt: no whole checkpoint"):
        speechbrain.read(tmp_path / "a")


@pytest.mark.parametrize("format", ["speechbrain", "torchaudio"])
def test_code_in_a_checkpoint_is_not_run(format: str, tmp_path: Path, models: Path) -> None:
    folder = saved(tmp_path / "a")
    torch.save({"x": Evil(tmp_path / "ran")}, folder / "masknet.ckpt")
    path = folder if format == "speechbrain" else folder / "masknet.ckpt"
    with pytest.raises(
        InputError, match=r"masknet\.ckpt: holds code or a class \(posix\.mkdir\), which is no"
    ):
        import_checkpoint(path, format=format)
    assert not (tmp_path / "ran").exists() and not models.exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("more", torch.zeros(1), "has unknown weights, such as 'masknet.more'"),
        (
            "conv1d.weight",
            torch.zeros(8, 17, 1),
            "masknet.conv1d.weight is of shape (8, 17), which its argum",
        ),
        ("conv1d.weight", torch.full((8, 16, 1), torch.nan), "masknet.conv1d.weight has values that are no"),
        (
            "dual_mdl.0.intra_mdl.pos_enc.pe",
            torch.zeros(1, 9, 8),
            "are not the positions that are known here",
        ),
        ("dual_mdl.0.intra_mdl.pos_enc.pe", torch.zeros(8), "are not the positions that are known here"),
    ],
)
def test_other_weights_are_refused(key: str, value: torch.Tensor, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a") / "masknet.ckpt"
    torch.save(torch.load(path, weights_only=True) | {key: value}, path)
    with pytest.raises(InputError) as error:
        speechbrain.read(tmp_path / "a")
    assert message in str(error.value) and str(tmp_path / "a") in str(error.value)


def test_a_large_file_of_hyperparams_is_not_opened(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    (folder / "hyperparams.yaml").write_bytes(b"#" * (hyperparams.LARGEST_BYTES + 1))
    with pytest.raises(InputError, match=r"hyperparams\.yaml: larger than 100 kB"):
        speechbrain.read(folder)
    with pytest.raises(InputError, match=r"masknet\.ckpt: no folder; give the one that holds hyperparams"):
        speechbrain.read(folder / "masknet.ckpt")


def test_the_sample_rate_that_a_folder_says_is_not_overruled(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="says sample_rate=8000, not 16000; leave it out"):
        speechbrain.read(saved(tmp_path / "a"), 16_000)


@pytest.mark.parametrize(
    ("change", "sample_rate", "message"),
    [
        ({}, None, r"does not say its sample rate; give it with --sample-rate \(8000 for CONVTASNET_BASE"),
        ({}, 8, "--sample-rate 8 is not converted; known: 1000 to 768000"),
        ({"mask_generator.output_conv.bias": None}, 8_000, "no weights of torchaudio's ConvTasNet"),
        (
            {"mask_generator.output_conv.bias": torch.zeros(100)},
            8_000,
            "100 masks of frames, which conv_tasn",
        ),
        ({"encoder.weight": torch.zeros(512, 1, 32)}, 8_000, r"encoder.weight is of shape \(512, 1, 32\)"),
        ({"more": torch.zeros(1)}, 8_000, "has unknown weights, such as 'more'"),
    ],
)
def test_other_networks_of_torchaudio_are_refused(
    change: dict[str, Any], sample_rate: int | None, message: str, tmp_path: Path, models: Path
) -> None:
    path = saved_conv_tasnet(tmp_path / "base.pt", change)
    with pytest.raises(InputError, match=rf"base\.pt: .*{message}"):
        import_checkpoint(path, format="torchaudio", sample_rate=sample_rate)
    assert not models.exists()
