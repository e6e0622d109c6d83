"""Many recordings from Python: each has its outcome, and options go to any process."""

import pickle
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unmingle.batch import process_files
from unmingle.errors import InputError, UsageError
from unmingle.facts import Facts
from unmingle.inference.options import FileOptions


class Halves:
    """Each of two outputs is half of the mixture."""

    facts = Facts(sample_rate=8_000, n_src=2, chunk=16_000)

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        return np.concatenate([mixture, mixture]) / 2


def test_after_a_recording_that_fails_the_others_are_done(tmp_path: Path) -> None:
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.ones(8_000) / 4, 8_000)
    (tmp_path / "bad.wav").write_text("no sound")
    paths = [tmp_path / name for name in ("a.wav", "bad.wav", "b.wav")]
    outcomes = list(process_files(paths, out=tmp_path / "out", model=Halves(), format="flac"))
    assert [outcome.result is None for outcome in outcomes] == [False, True, False]
    assert isinstance(outcomes[1].error, InputError)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "b"}
    assert all(path.is_file() and path.suffix == ".flac" for path in outcomes[2].result.outputs)


def test_each_recording_has_its_own_progress(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones(80_000) / 4, 8_000)
    seen: list[Any] = []

    @contextmanager
    def progress(name: str) -> Any:
        seen.append(name)
        yield lambda done_s, total_s: seen.append((done_s, total_s))

    list(process_files([tmp_path / "a.wav"], out=tmp_path / "out", model=Halves(), progress=progress))
    assert seen[0] == str(tmp_path / "a.wav") and seen[-1] == (10.0, 10.0)


def test_options_can_be_pickled() -> None:
    options = FileOptions(format="opus", start_s=1.5, track=2)
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize("wrong", [{"format": "doc"}, {"channel": "left"}, {"channel": 0}])
def test_options_that_are_wrong_for_every_file_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="choose"):
        FileOptions(**wrong)
