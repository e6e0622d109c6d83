"""Lhotse's manifests in and out, as Lhotse itself writes and reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import sweep
from test_many import MODEL, run

from unmingle.batch import Batch
from unmingle.errors import InputError

lhotse = pytest.importorskip("lhotse")
EXAMPLE = Path(__file__).parents[1] / "examples/two-voices.flac"


def recording(path: Path, seconds: float = 2.0) -> Any:
    """Of two channels: the sweep, and one of half the level."""
    soundfile.write(path, sweep(seconds, 8_000)[0][:, None] * [1, 0.5], 8_000)
    return lhotse.Recording.from_file(path)


def test_a_cut_is_its_passage_and_channel(tmp_path: Path) -> None:
    whole = recording(tmp_path / "talk.wav")
    cut = lhotse.MonoCut("first", start=0.5, duration=1.0, channel=1, recording=whole)
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl.gz")
    (row,) = run([tmp_path / "cuts.jsonl.gz"], tmp_path / "out", task="enhance", model=None, keep=1.0)
    voice = soundfile.read(row.outputs[0], dtype="float32")[0]
    assert np.abs(voice - cut.load_audio()[0]).max() < 1e-3


def test_recordings_are_read_too(tmp_path: Path) -> None:
    found = lhotse.RecordingSet.from_recordings([recording(tmp_path / "talk.wav")])
    found.to_file(tmp_path / "recordings.jsonl")
    (row,) = run([tmp_path / "recordings.jsonl"], tmp_path / "out")
    assert (row.folder, row.seconds) == ("talk", 2.0)


def test_results_are_cuts_with_who_spoke_when(tmp_path: Path) -> None:
    cut = lhotse.Recording.from_file(EXAMPLE).to_cut()
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    (row,) = run([tmp_path / "cuts.jsonl"], tmp_path / "out", model=None)
    results = lhotse.CutSet.from_file(tmp_path / "out/cuts.jsonl.gz").to_eager()
    lhotse.validate(results, read_data=True)
    assert [each.id for each in results] == [f"{cut.id}-speaker-1", f"{cut.id}-speaker-2"]
    spoken = sorted((s.start, s.end) for each in results for s in each.supervisions)
    end_s = results[cut.id + "-speaker-1"].duration
    assert spoken == sorted((s["start_s"], min(s["end_s"], end_s)) for s in row.segments or ())
    assert [each.load_audio().shape for each in results] == [(1, cut.num_samples)] * 2


def test_what_is_enhanced_keeps_its_supervisions(tmp_path: Path) -> None:
    cut = recording(tmp_path / "talk.wav").to_cut()
    said = lhotse.SupervisionSegment("s", cut.recording_id, 0.5, 1.0, text="hello")
    mono = lhotse.MonoCut("talk", 0, 2.0, 0, [said], recording=cut.recording)
    lhotse.CutSet.from_cuts([mono]).to_file(tmp_path / "cuts.jsonl")
    run([tmp_path / "cuts.jsonl"], tmp_path / "out", task="enhance", model=None)
    (result,) = lhotse.CutSet.from_file(tmp_path / "out/cuts.jsonl.gz")
    assert [(s.text, s.start, s.duration) for s in result.supervisions] == [("hello", 0.5, 1.0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "sources": [{"type": "command", "source": "rm x"}]}', "is no file"),
        ('{"id": "a", "type": "MixedCut", "tracks": []}', "not of one file"),
        ('{"text": "a"}', "line 1 has no id"),
        ("no json", "not JSON by lines"),
        ("", "empty"),
    ],
)
def test_a_line_that_is_no_recording_is_refused(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "cuts.jsonl").write_text(line)
    with pytest.raises(InputError, match=message):
        Batch([tmp_path / "cuts.jsonl"], tmp_path / "out", model=MODEL)
