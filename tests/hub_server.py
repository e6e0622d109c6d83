"""A stand-in for Hugging Face's hub on this machine: `with Hub(content) as hub:`.

It answers as the hub does for a large file of a repository: with the commit, the size and the SHA-256 in its
headers, and any part of the content.
"""

import hashlib
from http.server import BaseHTTPRequestHandler

from local_server import LocalServer


class Hub(LocalServer):
    """Serves `content` as every file of every repository; what it `says` its SHA-256 is may be another's.

    Attributes:
        files: contents by their names, of files that are not `content`.
        url: for HF_ENDPOINT.
        requests: method, path and range of each.
        cut: after so many bytes of an answer it hangs up, once for each in the list.
        found: whether there are any repositories.
    """

    def __init__(self, content: bytes, *, says: bytes | None = None) -> None:
        self.content, self.says = content, content if says is None else says
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.cut: list[int] = []
        self.found = True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(b"")

            def do_GET(self) -> None:
                self.answer(hub.files.get(self.path.rpartition("/")[2], hub.content))

            def answer(self, content: bytes) -> None:
                wanted, is_file = self.headers.get("Range", ""), "/resolve/" in self.path
                if is_file:  # the package asks for other things too
                    hub.requests.append((self.command, self.path, wanted))
                if not hub.found or not is_file:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "RepoNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                says = hub.files.get(self.path.rpartition("/")[2], hub.says)
                start = int(wanted.removeprefix("bytes=").partition("-")[0] or 0)
                self.send_response(206 if start else 200)
                digest = hashlib.sha256(says).hexdigest()
                for name, value in {
                    "ETag": f'"{digest}"',
                    "X-Linked-Etag": f'"{digest}"',
                    "X-Linked-Size": str(len(says)),
                    "X-Repo-Commit": self.path.split("/")[4],
                    "Accept-Ranges": "bytes",
                    "Content-Length": str(len(says) - start),
                    **({"Content-Range": f"bytes {start}-{len(says) - 1}/{len(says)}"} if start else {}),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                part = content[start:]
                if content and hub.cut:
                    part = part[: hub.cut.pop(0)]
                self.wfile.write(part)
                self.close_connection = len(part) < len(says) - start

        super().__init__(Handler)
