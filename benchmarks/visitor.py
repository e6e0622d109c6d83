"""Visitors of the page, for `visitors.py`: what they do, and what they make sure of."""

import contextlib
import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import report
import soundfile

RATE = 8_000
TASK = {"kind": "separate", "speakers": 2, "model": "conv-tasnet", "format": "wav"}
PATIENCE_S = 900.0  # of a visitor with a job, or with being told to come back
LIKE = 0.5  # correlation with one's own recording that results have at least


class Server:
    """`unmingle serve` in a process of its own; a context manager.

    Args:
        folder: in which its files will be.
        options: of the command.
        before: called in that process, before it is the server.

    Attributes:
        port: at which it listens.
        folder: in which its files are.
        pid: of its process.
        log: what it said of errors, once it has ended.
    """

    def __init__(self, folder: Path, *options: str, before: Callable[[], None] | None = None) -> None:
        self.folder, self.log = folder, ""
        command = [sys.executable, "-m", "unmingle", "serve", "--port", "0", *options]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed when it has ended
        environment = {**os.environ, "TMPDIR": str(folder)}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment, preexec_fn=before
        )
        self.pid = self._process.pid

    def __enter__(self) -> "Server":
        assert self._process.stdout
        said = self._process.stdout.readline()
        self.port = int(said.split(" in a browser")[0].rsplit(":", 1)[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        assert self._process.stdout
        self._process.stdout.close()
        self._log.seek(0)
        self.log = self._log.read()
        self._log.close()

    def files(self) -> list[str]:
        """All files and folders of visitors."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob("unmingle-web-*/*"))


class Answer(NamedTuple):
    """Status, headers by names in small letters, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Visit:
    """What all visitors note, and know of one another; safe to use from several threads.

    Attributes:
        codes: how often each status was answered, by what was asked for.
        waits: how long light requests took [s].
        faults: what must not be, one line each.
        ids: of all recordings that anybody has uploaded, and whose they are.
        come_back: how often somebody was told to.
        served: who got what they wanted.
    """

    def __init__(self) -> None:
        self.codes: Counter[tuple[str, int]] = Counter()
        self.waits: dict[str, list[float]] = {}
        self.faults: list[str] = []
        self.ids: list[tuple[int, str]] = []
        self.come_back, self.served, self.lock = 0, 0, threading.Lock()

    def note(self, kind: str, status: int, seconds: float) -> None:
        with self.lock:
            self.codes[kind, status] += 1
            self.waits.setdefault(kind, []).append(seconds)
            if status >= 500 and status != 503:
                self.faults.append(f"{kind}: {status}")


class Visitor:
    """Somebody with a cookie and a recording.

    Args:
        number: which of them.
        server, visit: of all.
    """

    def __init__(self, number: int, server: Server, visit: Visit) -> None:
        self.number, self._server, self._visit, self._cookie = number, server, visit, ""
        self._rng = np.random.default_rng(number)
        n = RATE + 240 * number  # nobody else's is as long
        self.samples = np.roll(report.talk(n / RATE, RATE), 97 * number)
        file = io.BytesIO()
        soundfile.write(file, self.samples, RATE, format="WAV", subtype="FLOAT")
        self.content = file.getvalue()
        self._cookie = self.ask("GET", "/", kind="page").headers["set-cookie"].split(";")[0]
        for name in ("page.css", "page.js", "player.js", "icon.svg"):
            self.must("GET", f"/{name}", 200, kind="page")

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> Answer:
        """One request; noted as one of this kind."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=120)
        try:
            headers = {"Cookie": self._cookie} if self._cookie else {}
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self._visit.note(kind or f"{method} others", answer.status, time.monotonic() - began)
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, content)

    def must(self, method: str, path: str, status: int, body: bytes = b"", kind: str = "") -> Answer:
        """A request whose answer has this status; it is a fault if not."""
        answer = self.ask(method, path, body, kind)
        if answer.status != status:
            self.fault(
                f"{method} {path.split('?')[0][:60]}: {answer.status}, not {status}: {answer.body[:200]!r}"
            )
        return answer

    def fault(self, what: str) -> None:
        with self._visit.lock:
            self._visit.faults.append(f"visitor {self.number}: {what}")

    def until_taken(self, method: str, path: str, status: int, body: bytes, kind: str) -> Answer:
        """The same, coming back as long as one is told to."""
        end = time.monotonic() + PATIENCE_S
        while True:
            answer = self.ask(method, path, body, kind)
            if answer.status != 503 or time.monotonic() > end:
                break
            with self._visit.lock:
                self._visit.come_back += 1
            if "retry-after" not in answer.headers or b"error" not in answer.body:
                self.fault("told to come back, but not when or why")
            time.sleep(float(answer.headers.get("retry-after", 1)) * self._rng.uniform(1.0, 1.2))
        if answer.status != status:
            self.fault(f"{kind}: {answer.status}, not {status}: {answer.body[:200]!r}")
        return answer

    def upload(self) -> str:
        """The address of one's recording, once it is taken."""
        path = f"/recordings?name=talk-{self.number}.wav"
        id = json.loads(self.until_taken("POST", path, 201, self.content, "upload").body)["id"]
        with self._visit.lock:
            self._visit.ids.append((self.number, id))
        return f"/recordings/{id}"

    def start(self, address: str) -> None:
        self.until_taken("POST", f"{address}/job", 202, json.dumps(TASK).encode(), "start")

    def wait(self, address: str) -> dict[str, Any]:
        """The job, when it is over."""
        end = time.monotonic() + PATIENCE_S
        while True:
            job: dict[str, Any] = json.loads(self.must("GET", f"{address}/job", 200, kind="status").body)
            if job["state"] not in ("waiting", "running") or time.monotonic() > end:
                return job
            time.sleep(0.5)

    def check(self, address: str, job: dict[str, Any]) -> None:
        """Whether the results of a job are one's own."""
        if job["state"] != "done":
            self.fault(f"{job['state']}: {job.get('error')}")
            return
        if self.must("GET", f"{address}/input", 200, kind="download").body != self.content:
            self.fault("got another input back")
        sound = np.zeros(len(self.samples), np.float32)
        for name in job["voices"]:
            body = self.must("GET", f"{address}/files/{name}", 200, kind="download").body
            samples, rate = soundfile.read(io.BytesIO(body), dtype="float32")
            if (len(samples), rate) != (len(self.samples), RATE):
                self.fault(f"{name} has {len(samples)} samples, not {len(self.samples)}")
                return
            sound += samples
        if np.corrcoef(sound, self.samples)[0, 1] < LIKE:
            self.fault("the results are not of this recording")
        archive = zipfile.ZipFile(
            io.BytesIO(self.must("GET", f"{address}/all.zip", 200, kind="download").body)
        )
        if archive.testzip() or not set(job["voices"]) <= set(archive.namelist()):
            self.fault("the archive is damaged, or not whole")

    def leave(self, address: str) -> None:
        """Delete one's recording; afterwards nothing is there."""
        self.must("DELETE", address, 204, kind="delete")
        self.must("GET", f"{address}/job", 404)

    def served(self) -> None:
        with self._visit.lock:
            self._visit.served += 1

    def separates(self) -> None:
        address = self.upload()
        self.start(address)
        self.check(address, self.wait(address))
        self.leave(address)

    def cancels(self) -> None:
        address = self.upload()
        self.start(address)
        time.sleep(self._rng.uniform(0, 3))
        self.must("DELETE", f"{address}/job", 204, kind="cancel")
        state = self.wait(address)["state"]
        if state not in ("cancelled", "done"):
            self.fault(f"cancelled, but {state}")
        self.leave(address)

    def breaks_off(self) -> None:
        """Stop in the middle of an upload, twice, and do it right then."""
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)
            connection.putrequest("POST", "/recordings?name=broken.wav")
            connection.putheader("Cookie", self._cookie)
            connection.putheader("Content-Length", str(len(self.content)))
            connection.endheaders(self.content[: len(self.content) // 2])
            time.sleep(self._rng.uniform(0, 0.2))
            connection.close()
        self.separates()

    def sends_garbage(self) -> None:
        """Files that are no recordings, one that is too large, tasks that are none."""
        for body in (self._rng.bytes(3_000), self.content[:2_000], b"<html>no sound</html>"):
            answer = self.must("POST", "/recordings?name=garbage.wav", 422, body, "garbage")
            if b"garbage.wav" not in answer.body or str(self._server.folder).encode() in answer.body:
                self.fault(f"not told what is wrong: {answer.body[:200]!r}")
        self.must("POST", "/recordings?name=large.wav", 422, bytes(3_000_000), "garbage")
        address = self.upload()
        for body in (b"{", b"[1]", b'{"kind": "x"}', b'{"model": "../x"}', b"x" * 20_000):
            self.must("POST", f"{address}/job", 400, body, "garbage")
        self.must("GET", f"{address}/files/..%2f..%2fetc%2fpasswd", 404, kind="garbage")
        self.leave(address)

    def pries(self) -> None:
        """Ask for what others have, as long as they have it."""
        for _ in range(10):
            with self._visit.lock:
                others = [id for number, id in self._visit.ids[-10:] if number != self.number]
            for id in others:
                for method, end in (
                    ("GET", "job"),
                    ("GET", "input"),
                    ("GET", "files/speaker-1.wav"),
                    ("GET", "all.zip"),
                    ("DELETE", "job"),
                ):
                    self.must(method, f"/recordings/{id}/{end}", 404, kind="others' files")
                self.must("DELETE", f"/recordings/{id}", 404, kind="others' files")
                self.must("POST", f"/recordings/{id}/job", 404, json.dumps(TASK).encode(), "others' files")
            time.sleep(0.3)

    def leaves(self) -> None:
        """Go away while a job waits or runs."""
        address = self.upload()
        self.start(address)
        time.sleep(self._rng.uniform(0, 2))
        self.leave(address)

    def hurries(self) -> None:
        """Close the page while results are being downloaded."""
        address = self.upload()
        self.start(address)
        job, gone = self.wait(address), threading.Event()

        def download() -> None:
            while not gone.is_set():
                for end in (f"files/{job['voices'][0]}", "all.zip", "input", "job"):
                    with contextlib.suppress(http.client.HTTPException, ConnectionError):
                        self.ask("GET", f"{address}/{end}", kind="download")

        threads = [threading.Thread(target=download) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(self._rng.uniform(0.1, 0.5))
        self.leave(address)
        gone.set()
        for thread in threads:
            thread.join()


#: What visitors do, in turn.
DOINGS: tuple[Callable[[Visitor], None], ...] = (
    Visitor.separates,
    Visitor.cancels,
    Visitor.separates,
    Visitor.breaks_off,
    Visitor.separates,
    Visitor.sends_garbage,
    Visitor.separates,
    Visitor.pries,
    Visitor.leaves,
    Visitor.hurries,
)
