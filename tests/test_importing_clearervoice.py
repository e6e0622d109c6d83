"""Checkpoints of ClearerVoice-Studio's MossFormer2 become models: the same numbers as its program; what is
anything else is refused and leaves nothing behind.

Shapes and outputs are the program's own: benchmarks/make_clearervoice_originals.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asteroid_checkpoints import signal
from checkpoints_of_others import Evil, decibels
from clearervoice_checkpoints import LENGTHS, SMALL, expected, saved, weights

from unmingle import load
from unmingle.catalog import Card
from unmingle.errors import InputError
from unmingle.published import clearervoice
from unmingle.published.importing import import_checkpoint
from unmingle.published.table import find_published
from unmingle.runtime.openvino import compile_openvino

BLOCKS = "mask_net.mdl.intra_mdl.mossformerM"


pytestmark = pytest.mark.usefixtures("models")


@pytest.mark.parametrize("name", SMALL)
def test_its_network_returns_what_theirs_returned(name: str, tmp_path: Path) -> None:
    sizes, known = SMALL[name], expected(name)
    model, facts, _ = clearervoice.read(saved(tmp_path / "a", name), sizes["sampling_rate"])
    assert (facts.sample_rate, facts.n_src, facts.head) == (
        sizes["sampling_rate"],
        sizes["num_spks"],
        "as-loud",
    )
    for length, step, outputs in zip(LENGTHS, known["steps"], known["outputs"], strict=True):
        with torch.inference_mode():
            found = model(torch.from_numpy(signal(length))[None, None])[0].numpy()
        assert decibels(found[:, ::step], np.array(outputs)) >= 60


def test_an_imported_one_returns_what_theirs_returned(tmp_path: Path) -> None:
    card = import_checkpoint(saved(tmp_path / "theirs"), format="clearervoice", sample_rate=16_000)
    assert (card.stem, Card.read(card).model) == ("theirs", "mossformer2")
    known, length = expected("moss-2-16k"), LENGTHS[1]
    separator, mixture = load("theirs", backend="onnxruntime"), signal(length)[None]
    by_openvino = compile_openvino(card.with_suffix(".onnx"), cached=False)
    for outputs in (separator.outputs(mixture), by_openvino(mixture[None])[0][0]):
        assert decibels(outputs[:, :: known["steps"][1]], np.array(known["outputs"][1])) >= 60
    for length in (1, 15, 17):
        short = signal(length)[None]
        for outputs in (separator(short), by_openvino(short[None])[0][0]):
            assert outputs.shape == (2, length) and np.isfinite(outputs).all()


def test_weights_of_several_graphics_cards_are_the_same(tmp_path: Path) -> None:
    ours = clearervoice.read(saved(tmp_path / "a"), 16_000).model.state_dict()
    path = saved(tmp_path / "b", prefix="module.") / "last_best_checkpoint.pt"
    for key, tensor in clearervoice.read(path, 16_000).model.state_dict().items():
        assert torch.equal(ours[key], tensor)


def test_the_published_one_has_its_commit_and_the_sha_256_of_its_files() -> None:
    row = find_published("mossformer2-ss-16k")
    assert row.download is not None and set(row.download.sha256) == set(row.download.files)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, models: Path) -> None:
    torch.save({"model": {}, "x": Evil(tmp_path / "ran")}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"holds code or a class \(posix\.mkdir\), which is not run"):
        import_checkpoint(tmp_path / "a.pt", format="clearervoice", sample_rate=16_000)
    assert not (tmp_path / "ran").exists() and not models.exists()


def test_a_truncated_or_changed_file_is_refused(tmp_path: Path, models: Path) -> None:
    path = saved(tmp_path / "a") / "last_best_checkpoint.pt"
    content = path.read_bytes()
    changed = bytearray(content)
    weight = "mask_net.conv1d_out.weight"
    changed[content.find(weights(weight, expected("moss-2-16k")["shapes"][weight]).tobytes())] ^= 1
    for part in (b"", content[:1000], content[:-1], bytes(changed)):
        path.write_bytes(part)
        with pytest.raises(InputError, match="no whole checkpoint"):
            import_checkpoint(path.parent, format="clearervoice", sample_rate=16_000)
    assert not models.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"enc.conv1d.weight": None}, r"no weights of a MossFormer2 .*, such as enc\.conv1d\.weight"),
        ({"enc.conv1d.weight": torch.zeros(15, 1, 16)}, "enc.conv1d.weight of 15 is not converted; known: 2"),
        ({"mask_net.conv1d_out.weight": torch.zeros(24, 16, 1)}, "it must be a whole number"),
        ({"dec.weight": None}, r"lacks weights, such as 'dec\.weight'"),
        ({f"{BLOCKS}.layers.1.to_out.mdl.0.g": None}, "lacks weights"),
        ({f"{BLOCKS}.layers.2.to_out.mdl.0.g": torch.ones(1)}, "lacks weights"),
        ({"mask_net.shuffle": torch.ones(1)}, "has unknown weights, such as 'mask_net.shuffle'"),
        ({"dec.weight": torch.zeros(16, 1, 15)}, "dec.weight is of shape"),
        ({"dec.weight": torch.full((16, 1, 16), torch.nan)}, "values that are no numbers"),
        ({"dec.weight": "weight"}, "no tensor of real numbers"),
        ({f"{BLOCKS}.layers.0.rotary_pos_emb.freqs": torch.ones(16)}, "other positions than are known"),
    ],
)
def test_what_is_not_known_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path, models: Path
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        import_checkpoint(saved(tmp_path / "a", **changes), format="clearervoice", sample_rate=16_000)
    assert "\n" not in str(refused.value) and not models.exists()


def test_something_else_is_refused(tmp_path: Path) -> None:
    for content in ([1], {"model": 3}, {"model": {3: 4}}):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(InputError, match="no checkpoint of ClearerVoice-Studio"):
            clearervoice.read(tmp_path / "a.pt", 16_000)


def test_the_sample_rate_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say its sample rate; give it with --sample-rate"):
        clearervoice.read(saved(tmp_path / "a"))


@pytest.mark.parametrize("name", ["", "../last_best_checkpoint.pt", "/etc/passwd", ".."])
def test_weights_lie_in_the_folder_that_names_them(name: str, tmp_path: Path) -> None:
    (saved(tmp_path / "a") / "last_best_checkpoint").write_text(name)
    with pytest.raises(InputError, match="is no name of a file beside it"):
        clearervoice.read(tmp_path / "a", 16_000)
    (tmp_path / "a/last_best_checkpoint").unlink()
    with pytest.raises(InputError, match="has no last_best_checkpoint"):
        clearervoice.read(tmp_path / "a", 16_000)
