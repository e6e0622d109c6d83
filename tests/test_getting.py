"""Published models are listed, downloaded and imported; the hub is a server on this machine."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asteroid_checkpoints import saved
from hub_server import Hub
from speechbrain_checkpoints import saved as saved_folder

from unmingle.catalog import Card
from unmingle.cli import main
from unmingle.cli.published import published_table
from unmingle.published.importing import FORMATS
from unmingle.published.table import published

NAME = "conv-tasnet-libri2-clean-8k"
NETWORKS = {
    "Conv-TasNet",
    "DPRNN",
    "DTLN",
    "DeepFilterNet",
    "GTCRN",
    "MossFormer2",
    "RE-SepFormer",
    "SepFormer",
    "TIGER",
}
needs_hub = pytest.mark.skipif(not find_spec("huggingface_hub"), reason="needs huggingface_hub")


@pytest.fixture
def checkpoint(tmp_path: Path) -> bytes:
    return saved(tmp_path / "a.pth", "conv-2-8k-sigmoid").read_bytes()


def get(
    tmp_path: Path, endpoint: str, *arguments: str, name: str = NAME, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with caches and models of its own."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "UNMINGLE_MODELS": str(tmp_path / "models"),
        **variables,
    }
    command = [sys.executable, "-m", "unmingle", "get", name, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def one_line(run: subprocess.CompletedProcess[str]) -> str:
    """What a run that failed said of it, in one line."""
    said = [line for line in run.stderr.splitlines() if line.startswith("unmingle: ")]
    assert run.returncode in (1, 2) and len(said) == 1, run.stderr
    assert "Traceback" not in run.stderr
    return said[0]


def left(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "models").glob("*"))


@needs_hub
def test_a_published_model_is_downloaded_and_imported(tmp_path: Path, checkpoint: bytes) -> None:
    row = next(row for row in published() if row.name == NAME)
    assert row.download is not None
    with Hub(checkpoint) as hub:
        run = get(tmp_path, hub.url)
        assert run.returncode == 0, run.stderr
        path = f"/{row.download.repository}/resolve/{row.download.revision}/{row.download.files[0]}"
        assert {path for _, path, _ in hub.requests} == {path}
    card = Card.read(tmp_path / "models" / f"{NAME}.yaml")
    assert run.stdout.split() == [str(card.path), str(card.path.with_suffix(".yaml"))]
    assert card.licence == row.licence and card.measured == []
    assert row.download.repository in card.training and "14.76 dB on Libri2Mix" in card.training
    # The file lies in the hub's own cache: another import needs no network.
    again = get(tmp_path, "http://127.0.0.1:9", "--name", "again", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "models/again.onnx").read_bytes() != b""


@needs_hub
def test_a_published_folder_is_downloaded_and_imported_and_one_changed_file_is_an_error(
    tmp_path: Path,
) -> None:
    folder = saved_folder(tmp_path / "folder", "resepformer-2-8k")
    with Hub(b"") as hub:
        hub.files = {file.name: file.read_bytes() for file in folder.iterdir()}
        hub.files["encoder.ckpt"] = hub.files["decoder.ckpt"]
        said = one_line(get(tmp_path, hub.url, name="resepformer-wsj02mix"))
        assert "has unknown weights, such as 'encoder.weight'" in said or "lacks weights" in said
        assert left(tmp_path) == []
    with Hub(b"") as hub:
        hub.files = {file.name: file.read_bytes() for file in folder.iterdir()}
        run = get(tmp_path / "again", hub.url, name="resepformer-wsj02mix")
        assert run.returncode == 0, run.stderr
    card = Card.read(tmp_path / "again/models/resepformer-wsj02mix.yaml")
    assert (card.model, card.facts.n_src, card.facts.sample_rate) == ("resepformer", 2, 8_000)


@needs_hub
def test_a_download_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(13_000_000)  # huggingface_hub keeps whole blocks of 10 MB
    code = (
        "from unmingle.published.hub import download\n"
        "from unmingle.published.table import Download\n"
        "print(download('ours', Download('asteroid', 'some/body', 40 * '1', ['file.bin'])))"
    )
    with Hub(content) as hub:
        hub.cut = [12_000_000]
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub")}
        for _ in range(2):  # an older huggingface_hub gives up, and goes on when it is called again
            run = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True
            )
        ranges = [wanted for method, _, wanted in hub.requests if method == "GET"]
    assert Path(run.stdout.strip()).read_bytes() == content, run.stderr
    assert ranges[0] == "" and re.match(r"bytes=1\d{7}-", ranges[1]), ranges


@needs_hub
def test_a_truncated_download_is_an_error(tmp_path: Path, checkpoint: bytes) -> None:
    with Hub(checkpoint[:20_000], says=checkpoint) as hub:
        said = one_line(get(tmp_path, hub.url))
    assert said.startswith(f"unmingle: {NAME}: the download failed (") and "run the command again" in said
    assert left(tmp_path) == []


@needs_hub
def test_a_changed_download_is_an_error_and_not_found_again(tmp_path: Path, checkpoint: bytes) -> None:
    changed = checkpoint[:20_000] + bytes([checkpoint[20_000] ^ 1]) + checkpoint[20_001:]
    with Hub(changed, says=checkpoint) as hub:
        assert "its SHA-256 is" in one_line(get(tmp_path, hub.url))
        assert left(tmp_path) == []
        hub.content = checkpoint
        assert get(tmp_path, hub.url).returncode == 0


@needs_hub
def test_a_host_that_cannot_be_reached_is_an_error(tmp_path: Path) -> None:
    said = one_line(get(tmp_path, "http://127.0.0.1:9"))
    assert "http://127.0.0.1:9/JorisCos/" in said and "cannot be reached; is there a connection?" in said


@needs_hub
def test_offline_mode_is_obeyed(tmp_path: Path, checkpoint: bytes) -> None:
    with Hub(checkpoint) as hub:
        said = one_line(get(tmp_path, hub.url, HF_HUB_OFFLINE="1"))
        assert hub.requests == []
    assert "HF_HUB_OFFLINE is set, and it was not downloaded before" in said


@needs_hub
def test_a_repository_that_is_gone_is_an_error(tmp_path: Path, checkpoint: bytes) -> None:
    with Hub(checkpoint) as hub:
        hub.found = False
        assert "it was moved or removed by its owner" in one_line(get(tmp_path, hub.url))


@needs_hub
def test_a_name_that_is_taken_is_said_before_the_download(tmp_path: Path, checkpoint: bytes) -> None:
    with Hub(checkpoint) as hub:
        assert "duet is a model that is installed" in one_line(get(tmp_path, hub.url, "--name", "duet"))
        assert hub.requests == []


def test_a_misspelt_name_finds_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "dprnn-wsj02mix-8k"]) == 2
    assert "did you mean dprnn-wsj0-2mix-8k? " in capsys.readouterr().err


def test_the_list_of_models_points_at_what_others_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", NAME]) == 2
    assert f"unmingle models --available {NAME}" in capsys.readouterr().err


def test_every_row_of_the_table_is_whole() -> None:
    rows = published()
    assert len({row.name for row in rows}) == len(rows) == 29
    for row in rows:
        assert re.fullmatch(r"[\w-]+", row.name) and row.source.startswith("https://")
        assert set(row.licence) == {"code", "weights", "data"} and all(row.licence.values())
        assert (row.download is None) == bool(row.why_not)
        assert row.task == ("enhance" if row.n_src == 1 else "separate")
        if row.download:
            assert row.download.format in FORMATS and row.network in NETWORKS
            assert re.fullmatch(r"[0-9a-f]{40}", row.download.revision)
            assert row.source.endswith(row.download.repository)
            if row.download.host == "github":
                assert row.size_mb and set(row.download.sha256) == set(row.download.files)


def test_the_published_models_are_listed_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--available"]) == 0
    text = capsys.readouterr().out
    assert text == published_table(published()) + "\n" and max(map(len, text.splitlines())) <= 80
    assert all(row.name in text for row in published())
    assert main(["models", NAME, "--available"]) == 0
    assert "licence of weights CC BY-SA 4.0" in capsys.readouterr().out
    assert main(["models", "--available", "--json"]) == 0
    assert '"revision": "38fc890e' in capsys.readouterr().out


def test_the_published_models_are_grouped_by_what_they_do() -> None:
    groups = published_table(published()).split("\n\n")
    assert [group.splitlines()[0].partition(",")[0].split("  ")[0] for group in groups[:3]] == [
        "Voices apart",
        "A voice out of noise",
        "No download here",
    ]
    for row in published():
        group = 2 if row.download is None else int(row.task == "enhance")
        assert f"  {row.name} " in groups[group]


def test_a_figure_that_is_unknown_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--available", "gtcrn"]) == 0
    said = capsys.readouterr().out
    assert "DNSMOS OVRL 2.70" in said and "SI-SDRi" not in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "no published model 'nothing'; see unmingle models --available"),
        ("conv-tasnet-base-libri2", "it is not on the hub, nor is its SHA-256 known here; download models/"),
    ],
)
def test_what_cannot_be_had_is_said(name: str, said: str, capsys: Any) -> None:
    assert main(["get", name]) == 2
    assert said in capsys.readouterr().err
