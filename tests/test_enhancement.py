"""enhance(): the voice out of noise, in step with the recording, full band; and the same from disk to disk
and as it comes.
"""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from test_separation import RATE, Fake, db, noise, voice

from unmingle.cli import main
from unmingle.errors import InputError, UsageError
from unmingle.facts import Facts
from unmingle.inference.arrays import enhance, separate
from unmingle.inference.files import enhance_file
from unmingle.inference.live import BUFFER_S, RealTimeMonitor, from_pipe
from unmingle.inference.streaming import Stream
from unmingle.models import build
from unmingle.runtime.loading import load
from unmingle.training.export import export
from unmingle.weights_file import save_weights

Captured = pytest.CaptureFixture[str]
ENHANCER = Facts(sample_rate=RATE, task="enhance", n_src=1)


def enhancer(function: Any) -> Fake:
    """From a function of a mixture `(T,)` to its voice `(T,)`."""
    return Fake(lambda mixture: function(mixture)[None], ENHANCER)


def low_pass(mixture: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(mixture)
    return np.fft.irfft(
        np.where(np.fft.rfftfreq(len(mixture), 1 / RATE) < 1000, spectrum, 0), len(mixture)
    ).astype(np.float32)


HALF, ALL = enhancer(lambda mixture: mixture / 2), enhancer(lambda mixture: mixture)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained causal enhancer, exported."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = build("band-split", n_src=1, causal=True, attention=False, n_features=16, hidden=8, n_blocks=1)
    training = {"minutes": 0, "clock": "cpu", "threads": 1, "hours_of_audio": 0.0, "steps": 0}
    save_weights(
        folder / "w.safetensors",
        model,
        model.state_dict(),
        recipe={"data": {"corpora": [], "speech": "none"}},
        training=training,
    )
    export(folder / "w.safetensors", "tiny", out=folder)
    return folder / "tiny.onnx"


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    soundfile.write(path, voice(120, 600, 3) + noise(3 * RATE), RATE, "FLOAT")
    return path


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("n", [1, 159, 50_000, 420_001])
def test_an_enhancer_that_changes_nothing_returns_the_recording(n: int, sample_rate: int) -> None:
    samples = noise(n)
    found = enhance(samples, sample_rate, ALL)
    assert found.shape == (n,)
    assert db(samples, found - samples) > 60


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
@pytest.mark.parametrize("keep", [0, 0.25, 1])
def test_what_is_kept_of_the_noise_is_the_share_asked_for(keep: float, sample_rate: int) -> None:
    samples = voice(120, 600, 3, rate=sample_rate) + noise(3 * sample_rate)
    clean, found = (enhance(samples, sample_rate, enhancer(low_pass), keep=share) for share in (0, keep))
    expected = clean + keep * (samples - clean)
    assert db(expected, found - expected) > 60


def test_highs_that_the_model_cannot_hear_are_removed_with_those_that_it_removes() -> None:
    rate = 44_100
    t = np.arange(3 * rate) / rate
    hiss = sum(0.02 * np.sin(2 * np.pi * f * t + f) for f in range(4_100, 16_000, 300)).astype(np.float32)
    found = enhance(voice(120, 600, 3, rate=rate) + hiss, rate, enhancer(low_pass))
    highs = np.abs(np.fft.rfft(found))[np.fft.rfftfreq(len(found), 1 / rate) > 9_000]
    before = np.abs(np.fft.rfft(hiss))[np.fft.rfftfreq(len(found), 1 / rate) > 9_000]
    assert db(before, highs) > 20


def test_the_level_of_the_voice_stays() -> None:
    samples = 0.01 * voice(120, 600, 3)
    found = enhance(samples, RATE, HALF)
    assert np.allclose(found, samples / 2, atol=1e-6)


@pytest.mark.parametrize("keep", [-0.1, 1.5, float("nan"), "much"])
def test_a_share_that_is_none_is_refused(keep: Any) -> None:
    with pytest.raises(UsageError, match="give the share of the noise that stays"):
        enhance(noise(100), RATE, ALL, keep=keep)


def test_a_model_for_the_other_job_is_refused_with_those_for_this_one(weights: Path) -> None:
    with pytest.raises(UsageError, match="model duet tells voices apart, it does not enhance; choose from: "):
        enhance(noise(100), RATE, "duet")
    with pytest.raises(
        UsageError,
        match=r"model tiny takes one voice out of noise, it does not separate; choose from: .*duet",
    ):
        separate(noise(100), RATE, model=weights)
    with pytest.raises(UsageError, match="tells voices apart, it does not enhance"):
        enhance(noise(100), RATE, Fake(lambda mixture: np.stack([mixture] * 2)))
    with pytest.raises(UsageError, match="tiny takes one voice out of noise"):
        load(weights, task="separate")


def test_a_file_becomes_a_voice_and_what_was_removed(talk: Path, tmp_path: Path) -> None:
    result = enhance_file(talk, tmp_path / "out", model=HALF, rest=True)
    assert result.outputs == [tmp_path / "out/talk/voice.wav"]
    assert (result.rest, result.speakers, result.silent) == (tmp_path / "out/talk/rest.wav", 1, [])
    (voice_, rate), (rest, _), (mixture, _) = (
        soundfile.read(path, dtype="float32") for path in (result.outputs[0], result.rest, talk)
    )
    assert rate == RATE
    assert np.allclose(voice_ + rest, mixture, atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "out/talk").iterdir()) == ["rest.wav", "voice.wav"]


def test_a_recording_without_a_voice_is_said_to_be_silent(talk: Path, tmp_path: Path) -> None:
    result = enhance_file(talk, tmp_path / "out", model=enhancer(np.zeros_like))
    assert (result.speakers, result.silent) == (0, result.outputs)
    assert "voice silent: no voices heard" in result.notes


def test_earlier_results_are_replaced_only_if_asked(talk: Path, tmp_path: Path) -> None:
    enhance_file(talk, tmp_path / "out", model=ALL)
    with pytest.raises(InputError, match=r"voice.wav: exists already"):
        enhance_file(talk, tmp_path / "out", model=HALF)
    enhance_file(talk, tmp_path / "out", model=HALF, overwrite=True)
    assert np.allclose(
        2 * soundfile.read(tmp_path / "out/talk/voice.wav")[0], soundfile.read(talk)[0], atol=1e-6
    )


def test_the_command_line_enhances_and_draws(
    talk: Path, weights: Path, tmp_path: Path, capsys: Captured
) -> None:
    options = [
        "--model",
        str(weights),
        "--out",
        str(tmp_path / "out"),
        "--keep",
        "0.1",
        "--rest",
        "--plot",
        "--format",
        "flac",
        "--json",
    ]
    assert main(["enhance", str(talk), *options]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["inputs"]
    assert entry["outputs"] == [str(tmp_path / "out/talk/voice.flac")]
    assert sorted(path.name for path in (tmp_path / "out/talk").iterdir()) == [
        "rest.flac",
        "spectrogram.png",
        "voice.flac",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--keep", "2"], 2, "--keep 2: out of range"),
        (["--model", "duet"], 2, "model duet tells voices apart"),
        (["--format", "wma"], 2, "--format wma: unknown"),
        (["--channel", "7"], 2, "no channel"),
    ],
)
def test_wrong_options_are_named_in_one_line(
    arguments: list[str], code: int, says: str, talk: Path, weights: Path, capsys: Captured
) -> None:
    model = [] if "--model" in arguments else ["--model", str(weights)]
    assert main(["enhance", str(talk), *model, *arguments]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and says in said
    assert not Path("enhanced").exists()


@pytest.mark.parametrize("format", ["s16", "f32"])
@pytest.mark.parametrize("n", [0, 1, 255, 256, 20_001])
def test_a_pipe_gives_what_the_stream_gives(n: int, format: str, weights: Path) -> None:
    samples = noise(n)
    raw = (samples * 32768).round().astype("<i2") if format == "s16" else samples.astype("<f4")
    expected = Stream(weights)
    whole = np.concatenate(
        [expected.feed(raw.astype(np.float32) / (32768 if format == "s16" else 1)), expected.flush()], axis=1
    )[0]
    sink = io.BytesIO()
    watch = from_pipe(Stream(weights), io.BytesIO(raw.tobytes()), sink, format=format, block=512, say=print)
    found = np.frombuffer(sink.getvalue(), raw.dtype).astype(np.float32) / (32768 if format == "s16" else 1)
    assert watch.n_samples == n
    assert found.shape == whole.shape
    assert np.abs(found - whole).max(initial=0) < (1 / 32768 if format == "s16" else 1e-5)


def test_a_pipe_that_ends_within_a_sample_is_an_error(weights: Path) -> None:
    sink = io.BytesIO()
    with pytest.raises(InputError, match="ends within a sample"):
        from_pipe(Stream(weights), io.BytesIO(b"abc"), sink, say=print)
    assert len(sink.getvalue()) == 2  # what was whole


def test_a_wav_file_in_a_pipe_is_an_error(weights: Path) -> None:
    with pytest.raises(InputError, match="unmingle enhance FILE"):
        from_pipe(Stream(weights), io.BytesIO(b"RIFF" + bytes(1_000)), io.BytesIO(), say=print)


def test_a_pipe_without_an_end_is_stopped_by_ctrl_c(weights: Path) -> None:
    command = [sys.executable, "-m", "unmingle", "live", "-", "--model", str(weights)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(bytes(2 * RATE))
    process.stdin.flush()
    assert process.stdout.read(1_000) == bytes(1_000)  # it is at work
    process.send_signal(2)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.decode().count("behind real time 0 times")) == (0, 1), said


def test_processing_that_piles_up_is_counted_as_a_drop_out_and_said_once_a_second() -> None:
    said: list[str] = []
    watch = RealTimeMonitor(RATE, said.append)
    for _ in range(50):
        watch.processed(RATE // 10, 0.1)
    assert (watch.drop_outs, said) == (0, [])
    for _ in range(50):
        watch.processed(RATE // 10, 0.1 + BUFFER_S)
    assert 20 < watch.drop_outs <= 50
    assert len(said) == 5
    assert f"10.0 s, busy 200% of the time, {watch.drop_outs} drop-outs" == str(watch)


def test_a_pipe_that_falls_behind_is_said_to_lose_nothing() -> None:
    said: list[str] = []
    watch = RealTimeMonitor(RATE, said.append, piped=True)
    watch.processed(RATE // 10, 0.1 + 2 * BUFFER_S)
    assert said[0].startswith("behind real time 1 time in 0.1 s: nothing is lost") and "drop-out" not in str(
        watch
    )


def test_a_sound_card_that_loses_samples_is_heard_of() -> None:
    said: list[str] = []
    watch = RealTimeMonitor(RATE, said.append)
    watch.processed(RATE, 0.1, lost=3)
    assert watch.drop_outs == 3 and "3 drop-outs in 1.0 s" in said[0]


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        ("ImportError('No module named sounddevice')", r"pip install 'unmingle[live]'"),
        ("OSError('PortAudio library not found')", "apt install libportaudio2"),
    ],
)
def test_without_a_sound_card_s_library_live_says_only_what_to_install(
    problem: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (tmp_path / "sounddevice.py").write_text(f"raise {problem}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    assert main(["live"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("unmingle: the microphone needs ") and remedy in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["talk.wav"], "for a file use: unmingle enhance talk.wav"),
        (["-", "--format", "mp3"], "--format mp3: unknown"),
        (["-", "--device", "3"], "--device is for the microphone"),
        (["-", "--model", "duet"], "duet does not stream"),
    ],
)
def test_live_says_what_it_cannot_do(arguments: list[str], says: str, capsys: Captured) -> None:
    assert main(["live", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and says in said
