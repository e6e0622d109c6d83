"""UrbanSound8K as it lies on disk."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_noisy_sets import write_csv

from unmingle.data.corpora import read_recordings


def make_urbansound(root: Path) -> Path:
    rows = []
    for fold in range(1, 11):
        name = f"{fold}-3-0-0.wav"
        (root / f"audio/fold{fold}").mkdir(parents=True)
        soundfile.write(root / f"audio/fold{fold}" / name, np.zeros(100), 44_100)
        rows.append(
            {
                "slice_file_name": name,
                "fsID": fold,
                "fold": fold,
                "classID": 3,
                "class": "dog_bark" if fold % 2 else "siren",
            }
        )
    (root / "metadata").mkdir()
    write_csv(root / "metadata/UrbanSound8K.csv", rows)
    return root


def test_urbansound8k_is_read_as_it_lies_on_disk(tmp_path: Path) -> None:
    found = read_recordings(make_urbansound(tmp_path / "UrbanSound8K"))
    assert [recording.path.parent.name for recording in found] == [f"fold{fold}" for fold in range(1, 11)]
    assert {recording.corpus for recording in found} == {"UrbanSound8K"}
    assert [recording.speaker for recording in found[:2]] == ["dog_bark", "siren"]
    assert [recording.split for recording in found] == ["train"] * 8 + ["test", "valid"]


def test_an_incomplete_urbansound8k_is_named_with_what_was_expected_and_found(tmp_path: Path) -> None:
    folder = make_urbansound(tmp_path)
    (folder / "audio/fold3").rename(folder / "audio/elsewhere")
    with pytest.raises(
        FileNotFoundError,
        match=(
            r"fold3/3-3-0-0.wav: named in .*; expected metadata/.* and audio/fold1 to .*; found "
            r"audio/fold1, "
        ),
    ):
        read_recordings(folder)
    (folder / "metadata/UrbanSound8K.csv").write_text("name,fold\nx,1\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"expected the columns slice_file_name, fold, class; found name, fold"
    ):
        read_recordings(folder)
    (folder / "metadata/UrbanSound8K.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"expected metadata/UrbanSound8K.csv and .*; found audio/fold1, audio/fold10"
    ):
        read_recordings(folder)
