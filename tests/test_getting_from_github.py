"""Published models whose files lie on GitHub are downloaded and imported; GitHub is a server on this
machine.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from enhancer_checkpoints import saved_gtcrn
from file_server import Files

from unmingle.catalog import Card, cards
from unmingle.cli import main
from unmingle.published import table

REVISION = 40 * "1"
PATH = f"/some/body/{REVISION}/folder/model.tar"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """The server, a checkpoint on it, the table of just that one, and models in a folder of our own."""
    content = saved_gtcrn(tmp_path / "a.tar").read_bytes()
    row = {
        "name": "ours",
        "network": "GTCRN",
        "task": "enhance",
        "n_src": 1,
        "sample_rate": 16_000,
        "parameters": 23_669,
        "si_sdri_db": 10.38,
        "set": "a set",
        "licence": {"code": "MIT", "weights": "MIT", "data": "none"},
        "size_mb": len(content) / 1e6,
        "source": "https://github.com/some/body",
        "download": {
            "host": "github",
            "format": "gtcrn",
            "repository": "some/body",
            "revision": REVISION,
            "files": ["folder/model.tar"],
            "sha256": {"folder/model.tar": hashlib.sha256(content).hexdigest()},
        },
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump([row]))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(table, "TABLE", tmp_path / "table.yaml")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("UNMINGLE_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    table.published.cache_clear()
    cards.cache_clear()
    with Files() as server:
        server.contents[PATH] = content
        monkeypatch.setenv("GITHUB_ENDPOINT", server.url)
        yield server
    monkeypatch.undo()
    table.published.cache_clear()
    cards.cache_clear()


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that is said, where nothing is left."""
    assert main(["get", "ours"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("unmingle: ours: ")
    assert not list((tmp_path / "models").glob("*")) and not list((tmp_path / "temporary").glob("unmingle-*"))
    return line


def test_a_published_model_is_downloaded_from_github_and_imported(
    tmp_path: Path, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "ours", "--name", "theirs"]) == 0
    assert files.requests == [PATH]
    card = Card.read(tmp_path / "models/theirs.yaml")
    assert capsys.readouterr().out.split() == [str(card.path), str(card.path.with_suffix(".yaml"))]
    assert f"downloaded from github.com/some/body at {REVISION}" in card.training
    assert "SI-SDRi 10.38 dB on a set" in card.training and card.licence["data"] == "none"
    assert not list((tmp_path / "temporary").glob("unmingle-*"))


def test_a_changed_download_is_an_error(
    tmp_path: Path, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    content = files.contents[PATH]
    files.contents[PATH] = content[:20_000] + bytes([content[20_000] ^ 1]) + content[20_001:]
    assert "the SHA-256 of folder/model.tar is" in refused(tmp_path, capsys)


def test_a_truncated_download_is_an_error(
    tmp_path: Path, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.cut = 20_000
    said = refused(tmp_path, capsys)
    assert f"ended after 20000 of {len(files.contents[PATH])} bytes; run the command again" in said


def test_a_download_that_is_larger_than_expected_is_not_read_to_its_end(
    tmp_path: Path, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.contents[PATH] += bytes(10**6)
    assert re.search(r"folder/model.tar is larger than \d\.\d MB", refused(tmp_path, capsys))


def test_a_file_that_is_gone_or_refused_is_an_error(
    tmp_path: Path, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.status = 429
    assert "some/body refuses it (HTTP 429); try again later" in refused(tmp_path, capsys)
    files.contents.clear()
    assert "has no folder/model.tar at 1111111111; it was moved or removed" in refused(tmp_path, capsys)


def test_a_host_that_cannot_be_reached_is_an_error(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ENDPOINT", "http://127.0.0.1:9")
    said = refused(tmp_path, capsys)
    assert "http://127.0.0.1:9/some/body cannot be reached (" in said and "is there a connection?" in said


def test_offline_mode_is_obeyed(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = refused(tmp_path, capsys)
    assert "HF_HUB_OFFLINE is set; unset it once, or get folder/model.tar elsewhere" in said
    assert "unmingle import PATH --format gtcrn" in said and files.requests == []
