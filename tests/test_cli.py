"""The command line, run as people run it: what it writes, prints, and returns."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from unmingle import __version__
from unmingle.catalog import cards
from unmingle.cli import main
from unmingle.cli.options import seconds
from unmingle.cli.processing import explain
from unmingle.errors import UsageError

EXTRAS = (
    "torch",
    "lightning",
    "torchmetrics",
    "tensorboard",
    "safetensors",
    "onnx",
    "onnxscript",
    "matplotlib",
    "scipy",
    "mir_eval",
    "pesq",
    "pystoi",
    "starlette",
    "uvicorn",
)
WITHOUT_EXTRAS = (
    f"import sys; sys.modules.update(dict.fromkeys({EXTRAS})); from unmingle.cli import main; "
    "sys.exit(main())"
)
EXAMPLE = Path(__file__).parents[1] / "examples/two-voices.flac"
Captured = pytest.CaptureFixture[str]


WHO, WHEN = ["talk/labels.txt"], "talk/speakers.rttm"  # beside the tracks


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, duration_s: float = 0.5, sample_rate: int = 16_000) -> str:
    """A recording of two voices: the example, without its first second, again and again."""
    voices, rate = soundfile.read(EXAMPLE, start=16_000)
    samples = soxr.resample(voices, rate, sample_rate)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.resize(samples, round(duration_s * sample_rate)), sample_rate)
    return path


def start(
    *arguments: str,
    code: str = "import sys; from unmingle.cli import main; sys.exit(main())",
    **options: object,
) -> "subprocess.Popen[str]":
    """The command line in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", **options
    )  # type: ignore[call-overload]


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_separating_writes_one_file_per_voice_and_prints_their_names(capsys: Captured) -> None:
    assert main(["separate", write("talk.wav"), "--speakers", "2"]) == 0
    assert capsys.readouterr().out.split() == [
        str(Path("separated/talk/speaker-1.wav")),
        str(Path("separated/talk/speaker-2.wav")),
    ]
    assert everything_in(Path("separated")) == [*WHO, "talk/speaker-1.wav", "talk/speaker-2.wav", WHEN]
    assert {soundfile.info(path).frames for path in Path("separated/talk").glob("*.wav")} == {8_000}


def test_where_it_is_no_terminal_standard_error_says_only_how_many_were_found(capsys: Captured) -> None:
    main(["separate", write("talk.wav")])
    said = capsys.readouterr().err
    assert re.fullmatch(r"unmingle: talk\.wav: (no people|1 person|2 people) found\n", said)


def test_json_is_all_that_standard_output_holds(capsys: Captured) -> None:
    assert main(["separate", write("talk.wav"), "--json", "--rest"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["inputs"]
    assert entry["input"] == "talk.wav"
    assert all(Path(path).is_file() for path in [*entry["outputs"], entry["rest"]])
    assert (entry["duration_s"], entry["sample_rate"], entry["model"]) == (0.5, 16_000, "duet")
    assert entry["speakers"] in (0, 1, 2)
    assert entry["real_time_factor"] > 0


def test_in_a_batch_the_other_files_are_still_done(capsys: Captured) -> None:
    Path("bad.wav").write_bytes(b"not audio at all")
    assert main(["separate", write("a.wav"), "bad.wav", "missing.wav", write("b.wav"), "--json"]) == 1
    captured = capsys.readouterr()
    entries = json.loads(captured.out)["inputs"]
    assert [("error" in entry, "outputs" in entry) for entry in entries] == [
        (False, True),
        (True, False),
        (True, False),
        (False, True),
    ]
    failed = [line for line in captured.err.splitlines() if not line.endswith("found")]
    assert [line.split(":")[:2] for line in failed] == [
        ["unmingle", " bad.wav"],
        ["unmingle", " missing.wav"],
    ]
    assert sorted(path.name for path in Path("separated").iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["talk.wav", "--bogus"],
        ["talk.wav", "--format", "ogg"],
        ["talk.wav", "--model", "nobody"],
        ["talk.wav", "--speakers", "0"],
        ["talk.wav", "--speakers", "17"],
        ["talk.wav", "--speakers", "two"],
        ["talk.wav", "--speakers", "4-2"],
        ["talk.wav", "--speakers", "2-9"],
        ["talk.wav", "--leakage", "1.5"],
        ["talk.wav", "--channel", "left"],
        ["talk.wav", "--channel", "0"],
        ["talk.wav", "--channel", "2"],
        ["talk.wav", "--start", "soon"],
        ["talk.wav", "--start", "-1"],
        ["talk.wav", "--start", "2", "--end", "1"],
        ["talk.wav", "--end", "0"],
        ["talk.wav", "--speakers", "auto", "--model", "nobody"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_and_one_line(wrong: list[str], capsys: Captured) -> None:
    write("talk.wav")
    assert main(["separate", *wrong]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("unmingle: ")
    assert captured.err.count("\n") == 1
    assert everything_in(Path()) == ["talk.wav"]


def test_an_unknown_model_or_number_of_speakers_lists_what_exists(capsys: Captured) -> None:
    write("talk.wav")
    main(["separate", "talk.wav", "--model", "nobody"])
    said = capsys.readouterr().err
    assert all(f"{card.name} (" in said for card in cards() if card.facts.task == "separate")
    assert "array (2 speakers, several microphones)" in said and "lips (faces in a video)" in said
    assert "hush" not in said  # which enhances
    main(["separate", "talk.wav", "--speakers", "17"])
    assert "give 1 to 8, or a range such as 2-4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [None, b"", b"RIFF", b"\x00" * 5_000], ids=["missing", "empty", "header", "zeros"]
)
def test_a_file_that_cannot_be_read_is_exit_code_1_and_one_line(
    content: bytes | None, capsys: Captured
) -> None:
    if content is not None:
        Path("bad.wav").write_bytes(content)
    assert main(["separate", "bad.wav"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("unmingle: bad.wav: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not Path("separated").exists()


def test_earlier_results_stay_unless_overwritten(capsys: Captured) -> None:
    main(["separate", write("talk.wav")])
    before = Path("separated/talk/speaker-1.wav").read_bytes()
    write("talk.wav", duration_s=0.6)
    assert main(["separate", "talk.wav"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert Path("separated/talk/speaker-1.wav").read_bytes() == before
    assert main(["separate", "talk.wav", "--overwrite"]) == 0
    assert soundfile.info("separated/talk/speaker-1.wav").frames == 9_600


def test_inputs_of_the_same_name_never_share_a_folder() -> None:
    assert main(["separate", write("monday/talk.wav"), write("tuesday/talk.wav"), write("talk.flac")]) == 0
    assert sorted(path.name for path in Path("separated").iterdir()) == ["talk", "talk-2", "talk-3"]


def test_a_folder_is_walked_and_earlier_results_in_it_are_no_inputs(capsys: Captured) -> None:
    write("talks/one.wav")
    write("talks/day 2/zwei ü.flac")
    Path("talks/notes.txt").write_text("not a recording")
    assert main(["separate", "talks", "--out", "talks/separated"]) == 0
    assert sorted(path.name for path in Path("talks/separated").iterdir()) == ["one", "zwei ü"]
    capsys.readouterr()
    main(["separate", "talks", "--out", "talks/separated", "--overwrite", "--json"])
    assert len(json.loads(capsys.readouterr().out)["inputs"]) == 2


def test_an_input_that_is_given_twice_is_separated_once(capsys: Captured) -> None:
    write("talks/one.wav")
    main(["separate", "talks", "talks/one.wav", "--json"])
    assert len(json.loads(capsys.readouterr().out)["inputs"]) == 1


def test_a_passage_is_cut_to_the_sample() -> None:
    main(["separate", write("talk.wav", 2.0), "--start", "0:00.5", "--end", "1.25"])
    assert soundfile.info("separated/talk/speaker-1.wav").frames == 12_000


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("1.5", 1.5), ("1:30", 90), ("01:02:03.25", 3723.25), ("0", 0)]
)
def test_times_are_seconds_or_clock_times(text: str, expected: float) -> None:
    assert seconds("--start", text) == expected


@pytest.mark.parametrize(
    "text", ["", "-1", "1:", ":1", "1.5:00", "1:2:3:4", "1e3", "inf", "nan", "1.2.3", "."]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a time"):
        seconds("--start", text)


def test_standard_input_is_read_as_a_file() -> None:
    with Path(write("talk.flac")).open("rb") as file:
        process = start("separate", "-", "--json", stdin=file)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert Path(json.loads(out)["inputs"][0]["outputs"][0]) == Path("separated/stdin/speaker-1.wav")
    assert {"labels.txt", "speakers.rttm"} < set(everything_in(Path("separated/stdin")))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT between processes")
def test_an_interrupted_run_leaves_nothing_behind() -> None:
    write("long.wav", duration_s=120)
    process = start("separate", "long.wav", "--out", "new/voices")
    while process.poll() is None and not list(Path().glob("new/**/.unmingle-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert error == "unmingle: interrupted; nothing half-written was left behind\n"
    assert [path.name for path in Path().iterdir()] == ["long.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_sees_speed_and_time_left() -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "unmingle", "separate", write("talk.wav", 1.0)],
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 0
    assert "× real time" in seen.decode()
    assert "left" in seen.decode()


def test_a_picture_without_matplotlib_names_the_extra_before_anything_is_separated() -> None:
    process = start("separate", write("talk.wav"), "--plot", code=WITHOUT_EXTRAS)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert error == "unmingle: a picture needs matplotlib: pip install 'unmingle[plot]'\n"
    assert not Path("separated").exists()


def test_a_picture_is_drawn_beside_the_voices() -> None:
    pytest.importorskip("matplotlib")
    main(["separate", write("talk.wav"), "--plot", "--speakers", "2"])
    assert everything_in(Path("separated")) == [
        *WHO,
        "talk/speaker-1.wav",
        "talk/speaker-2.wav",
        WHEN,
        "talk/spectrogram.png",
        "talk/timeline.png",
    ]
    assert Path("separated/talk/spectrogram.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_line_separates_without_any_extra() -> None:
    process = start("separate", write("talk.wav"), code=WITHOUT_EXTRAS)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0 and re.fullmatch(r"unmingle: talk\.wav: .* found\n", error)


def test_training_without_its_extra_names_it(in_a_folder_of_its_own: Path) -> None:
    recipe = Path(__file__).parents[1] / "recipes/libri/duet.yaml"
    process = start("train", str(recipe), code=WITHOUT_EXTRAS)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "pip install 'unmingle[train]'" in error
    assert error.count("\n") == 1


def test_a_package_that_is_missing_is_named_with_what_installs_it() -> None:
    missing = ModuleNotFoundError("No module named 'scipy'", name="scipy")
    assert explain(missing) == ("this needs scipy, which is not installed: pip install 'unmingle[train]'", 2)
    assert "please report it" in explain(ModuleNotFoundError("no part", name="unmingle.part"))[0]


def test_starting_imports_no_runtime_no_codecs_and_no_pictures() -> None:
    heavy = ("torch", "openvino", "onnxruntime", "matplotlib", "av", "soxr", "numpy", "lightning")
    code = f"import sys, unmingle.cli; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="measures processor time as Unix does")
def test_help_takes_less_than_half_a_second_of_the_processor() -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "unmingle", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_the_version_is_the_packages(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unmingle {__version__}\n"


def test_no_command_at_all_shows_the_help(capsys: Captured) -> None:
    assert main([]) == 0
    assert "separate" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = start("models", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=120) in (0, 1)
    assert process.stderr is not None
    assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_unforeseen_error_is_one_line_and_a_traceback_on_demand() -> None:
    for debug, expected in (("", "unmingle: unexpected OSError"), ("1", "Traceback")):
        with Path("/dev/full").open("w") as full:
            command = [sys.executable, "-m", "unmingle", "models"]
            done = subprocess.run(
                command,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "UNMINGLE_DEBUG": debug},
                check=False,
            )
        assert done.returncode != 0
        assert done.stderr.startswith(expected)
        assert debug or done.stderr.count("\n") == 1
