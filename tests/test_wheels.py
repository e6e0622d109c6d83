"""The wheels, as the release's workflow builds and tries them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheels_install_and_run_from_folders_with_spaces(tmp_path: Path) -> None:
    for package in (".", "packages/unmingle-classics"):
        build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), package]
        subprocess.run(build, cwd=ROOT, check=True)
    wheels = sorted(tmp_path.glob("*.whl"))
    assert [wheel.name.endswith("-py3-none-any.whl") for wheel in wheels] == [True, True]
    subprocess.run([sys.executable, ROOT / ".ci/try_wheels.py", *wheels], check=True)
