"""A server in a thread, and visitors that ask it for addresses as any program may."""

import http.client
import io
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import uvicorn

from unmingle.web.app import create_app
from unmingle.web.uploads import Limits

ROOT = Path(__file__).parents[1]
PATIENCE_S = 180  # for what takes seconds, where others use the processor


class Server:
    """The application in a thread."""

    def __init__(self, limits: Limits) -> None:
        self.app = create_app(limits)
        self._server = uvicorn.Server(
            uvicorn.Config(self.app, port=0, log_level="warning", timeout_graceful_shutdown=3)
        )
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> "Server":
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def folder(self) -> Path:
        return self.app.state.recordings._folder

    def files(self) -> set[str]:
        """All files and folders of all visitors; folders may vanish meanwhile."""
        return {
            os.path.relpath(Path(folder) / name, self.folder)
            for folder, folders, files in os.walk(self.folder)
            for name in (*folders, *files)
        }


class Visitor:
    """A program with a cookie."""

    def __init__(self, server: Server) -> None:
        self.port, self.cookie = server.port, ""
        _, headers, self.page = self.ask("GET", "/")
        self.cookie = headers["set-cookie"].split(";")[0]

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(
            method, urllib.parse.quote(path, safe="/?=&%"), body or None, {"Cookie": self.cookie, **headers}
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def upload(self, content: bytes, name: str = "talk.wav") -> dict[str, Any]:
        status, _, said = self.ask("POST", f"/recordings?name={name}", content)
        return {"status": status, **json.loads(said)}

    def start(self, id: str, **task: object) -> tuple[int, dict[str, Any]]:
        status, _, said = self.ask("POST", f"/recordings/{id}/job", json.dumps(task).encode())
        return status, json.loads(said)

    def status(self, id: str) -> dict[str, Any]:
        return json.loads(self.ask("GET", f"/recordings/{id}/job")[2])

    def wait(self, id: str) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            job = self.status(id)
            return job if job["state"] not in ("waiting", "running") else None

        return until(over)

    def separate(self, content: bytes, **task: object) -> tuple[str, dict[str, Any]]:
        id = self.upload(content)["id"]
        assert self.start(id, **task) == (202, {})
        return id, self.wait(id)


def until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    """What a condition returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def voices(duration_s: float = 1.0, sample_rate: int = 16_000, suffix: str = "WAV") -> bytes:
    """The example without its first second, as a file."""
    samples, _ = soundfile.read(ROOT / "examples/two-voices.flac", start=16_000)
    file = io.BytesIO()
    soundfile.write(file, np.resize(samples, round(duration_s * sample_rate)), sample_rate, format=suffix)
    return file.getvalue()


def long_noise() -> bytes:
    """Twenty minutes of faint noise at 8 kHz: a small file, and half a minute's work at least."""
    file = io.BytesIO()
    soundfile.write(
        file, np.random.default_rng(0).integers(-2, 3, 1200 * 8_000, np.int16), 8_000, format="FLAC"
    )
    return file.getvalue()
