"""Install wheels into a fresh environment in a folder with spaces, and separate a file in another such one.

    python .ci/try_wheels.py dist/*.whl

Needs nothing but Python; the release's workflow runs it on Linux, macOS and Windows.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; an error ends the script with it."""
    environment = {**os.environ, "PYTHONUTF8": "1"}
    environment.pop("PYTHONPATH", None)  # the wheel is tried, not the sources
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def main(wheels: list[Path]) -> None:
    """Install, list the models, separate, enhance."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / "a folder with spaces"
        recordings = folder / "my recordings"
        recordings.mkdir(parents=True)
        shutil.copy(EXAMPLES / "two-voices.flac", recordings / "two voices.flac")
        venv.create(folder / "my venv", with_pip=True)
        scripts = folder / "my venv" / ("Scripts" if os.name == "nt" else "bin")
        suffix = ".exe" if os.name == "nt" else ""
        run(scripts / f"python{suffix}", "-m", "pip", "install", "-q", *wheels, cwd=folder)
        unmingle = scripts / f"unmingle{suffix}"
        print(run(unmingle, "--version", cwd=folder), end="")
        models = {
            each["name"] for each in json.loads(run(unmingle, "models", "--json", cwd=folder))["models"]
        }
        wanted = {"duet", "hush"} | (
            {"dprnn"} if any("classics" in wheel.name for wheel in wheels) else set()
        )
        assert wanted <= models, f"models are missing: {wanted - models}"
        for command, outputs in (
            ("separate", ["speaker-1.wav", "speaker-2.wav"]),
            ("enhance", ["voice.wav"]),
        ):
            told = run(
                unmingle,
                command,
                recordings / "two voices.flac",
                "--out",
                f"my {command}d",
                "--json",
                cwd=folder,
            )
            written = json.loads(told)["inputs"][0]
            assert [Path(path).name for path in written["outputs"]] == outputs, written
            assert all((folder / path).stat().st_size > 100_000 for path in written["outputs"]), written
            print(command, *written["outputs"], sep="\n  ")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("try_wheels.py: no wheels; build them: python -m build, and give their paths")
    main([Path(name).resolve() for name in sys.argv[1:]])
