"""The image of `serve`, without Docker: the steps of its Dockerfile, one by one."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from web_server import PATIENCE_S

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()


def instructions(name: str) -> list[str]:
    """What follows that word in the Dockerfile, in order."""
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def serve_and_ask(scripts: Path, folder: Path) -> int:
    """Start the image's command with the programs of an environment; the exit code of its health check."""
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "TMPDIR": str(folder)}
    command = json.loads(instructions("CMD")[0])
    check = instructions("HEALTHCHECK")[0]
    python, *arguments = json.loads(check[check.index("CMD") + 3 :])
    with subprocess.Popen(
        [*command, "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            port = re.findall(r":(\d+)", server.stdout.readline())[0]
            asked = [argument.replace("7860", port) for argument in arguments]
            end, code = time.monotonic() + PATIENCE_S, 1
            while code and time.monotonic() < end:
                code = subprocess.run(
                    [python, *asked], env=environment, stderr=subprocess.DEVNULL, check=False
                ).returncode
            return code
        finally:
            server.terminate()


def test_the_command_of_the_image_serves_and_is_found_well(tmp_path: Path) -> None:
    assert serve_and_ask(Path(sys.executable).parent, tmp_path) == 0


def test_what_the_image_exposes_is_the_page_s_port() -> None:
    assert instructions("EXPOSE") == ["7860"]
    assert "--port" not in instructions("CMD")[0]


def test_the_server_of_the_image_is_no_administrator() -> None:
    user = instructions("USER")[-1]
    assert any(f"useradd --create-home --uid 1000 {user}" in step for step in instructions("RUN"))


@pytest.mark.slow
def test_what_the_image_copies_is_enough_to_install_and_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # what is installed is tried, not the sources
    source, target = tmp_path / "source", tmp_path / "image"
    source.mkdir()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for step in instructions("COPY")[:2]:
        *names, place = step.split()
        for name in names:
            assert f"!{name}" in ignored
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / place)
            else:
                shutil.copy(ROOT / name, source / place)
    install = instructions("RUN")[0].replace("/opt/unmingle", shlex.quote(str(target)))
    subprocess.run(["bash", "-c", install], cwd=source, check=True)
    assert serve_and_ask(target / "bin", tmp_path) == 0
