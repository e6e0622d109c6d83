"""What the documentation shows works as shown."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from videos import drawn_face, film

from unmingle.cli import app, main
from unmingle.media.writer import AudioWriter

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
RUNS = ("separate", "enhance", "models")  # the other commands are run by the tests of training


def blocks(page: Path, language: str) -> list[str]:
    """The fenced examples of one language, those in lists included."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def run_lines(page: Path) -> list[str]:
    """The commands that are run here."""
    lines = [
        re.sub(r"\s+#.*", "", line)
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if line.startswith(tuple(f"unmingle {command}" for command in RUNS))]


def run_blocks(page: Path) -> list[str]:
    """The Python that is run here."""
    said = ("import unmingle", ", unmingle", "from unmingle.batch")
    return [block for block in blocks(page, "python") if any(words in block for words in said)]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documentation speaks of, two seconds each except for the lecture, and
    the examples.
    """
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    voices = np.stack(
        [
            soundfile.read(ROOT / f"examples/two-voices.reference-{k}.flac", dtype="float32", frames=32_000)[
                0
            ]
            for k in (1, 2)
        ]
    )
    for folder in ("interviews", "calls"):
        (tmp_path / folder).mkdir()
    for name, format in (
        ("talk.mp3", "mp3"),
        ("talk.wav", "wav"),
        ("interviews/first.flac", "flac"),
        ("calls/first.flac", "flac"),
        ("meeting.mp4", "m4a"),
        ("panel.mp4", "m4a"),
    ):
        with AudioWriter(tmp_path / name, sample_rate=16_000, format=format) as writer:
            writer.write(voices.sum(axis=0)[None])
    with AudioWriter(tmp_path / "lecture.mp3", sample_rate=16_000, format="mp3") as writer:
        writer.write(np.tile(voices.sum(axis=0)[None], 51))
    with AudioWriter(tmp_path / "call.wav", sample_rate=16_000, n_channels=2) as writer:
        writer.write(voices)
    with AudioWriter(tmp_path / "meeting-4ch.wav", sample_rate=16_000, n_channels=4) as writer:
        writer.write(np.stack([voices[0] + np.roll(voices[1], k) for k in range(4)]))
    soundfile.write(tmp_path / "anna.wav", voices[0], 16_000)
    face = drawn_face(width=320)
    film(tmp_path / "interview.mp4", [face] * 50, np.arange(50) / 25, voices.sum(axis=0)[None])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if run_lines(page)], ids=name_of)
def test_the_documented_shell_examples_run(page: Path, recordings: Path) -> None:
    for line in run_lines(page):
        _, command, *arguments = shlex.split(line)
        if arguments[-2:-1] == ["<"]:
            with Path(arguments[-1]).open("rb") as file:
                run = [sys.executable, "-m", "unmingle", command, *arguments[:-2]]
                code = subprocess.run(run, stdin=file, capture_output=True, check=False).returncode
        else:
            shutil.rmtree("voices", ignore_errors=True)
            code = main([command, *arguments])
        assert code == 0, line


@pytest.mark.parametrize("page", [page for page in PAGES if run_blocks(page)], ids=name_of)
def test_the_documented_python_examples_run(page: Path, recordings: Path) -> None:
    for block in run_blocks(page):
        exec(compile(block, str(page), "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_documented_option_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"unmingle (\w[^`\n#]*)", text):
        one, both = line.split()[0], " ".join(line.split()[:2])
        if command := COMMANDS.get(both) or COMMANDS.get(one):
            known = {name for parameter in command.params for name in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", line)) <= known, f"unmingle {line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_picture_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_so_has_each_of_its_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert COMMANDS[name].help
    assert [parameter.name for parameter in COMMANDS[name].params if not parameter.help] == []
    assert main([name, "--help"]) == 0
    assert f"unmingle {name}" in capsys.readouterr().out


def test_every_command_and_every_option_of_separate_is_documented() -> None:
    text = (ROOT / "docs/use.md").read_text(encoding="utf-8")
    assert [
        name
        for parameter in COMMANDS["separate"].params
        for name in parameter.opts
        if name.startswith("--") and f"`{name}" not in text
    ] == []
    everything = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in COMMANDS if f"unmingle {name}" not in everything] == []


def test_every_option_of_serve_is_documented() -> None:
    text = (ROOT / "docs/web.md").read_text(encoding="utf-8")
    assert [
        name for parameter in COMMANDS["serve"].params for name in parameter.opts if f"`{name} " not in text
    ] == []


def test_the_first_command_of_the_readme_separates_a_file_that_is_there() -> None:
    line = next(line for line in blocks(ROOT / "README.md", "sh")[0].splitlines())
    assert line.startswith(
        "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/unmingle separate "
    )
    assert (ROOT / line.split()[-1]).is_file()


def test_the_example_is_the_sum_of_its_references_to_the_bit() -> None:
    read = [
        soundfile.read(ROOT / f"examples/two-voices{end}.flac", dtype="int16")[0]
        for end in ("", ".reference-1", ".reference-2")
    ]
    assert np.array_equal(read[0], read[1] + read[2])
