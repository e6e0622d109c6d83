"""A stand-in for GitHub's raw files on this machine: `with Files() as files:`."""

from http.server import BaseHTTPRequestHandler

from local_server import LocalServer


class Files(LocalServer):
    """Serves `contents`, by paths.

    Attributes:
        url: for GITHUB_ENDPOINT.
        requests: paths that were asked for.
        cut: after so many bytes of an answer it hangs up; None = not.
        status: of what is found.
    """

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.cut: int | None = None
        self.status = 200
        files = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                files.requests.append(self.path)
                content = files.contents.get(self.path)
                self.send_response(404 if content is None else files.status)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write((content or b"")[: files.cut])

        super().__init__(Handler)
