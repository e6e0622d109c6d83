"""The web application: addresses, cookies, limits. Starlette; the page itself is in `page/`."""

import asyncio
import json
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from string import Template
from typing import cast
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unmingle.errors import UnmingleError, UsageError
from unmingle.media.audio import open_audio
from unmingle.web.errors import ERRORS
from unmingle.web.files import PIECE, file_response, zipped
from unmingle.web.jobs import MIXTURE, Job, Jobs, Task, model_options
from unmingle.web.noises import VOICES
from unmingle.web.uploads import Limits, Refused, Upload, Uploads, plain_name

PAGE = Path(__file__).parent / "page"
COOKIE = "unmingle-visitor"
EXAMPLE = VOICES / "first.opus"
WAVESURFER = "wavesurfer-8.0.1.min.js"
STATIC = (
    "page.css",
    "player.css",
    "page.js",
    "people.js",
    "faces.js",
    "faces.css",
    "player.js",
    "icon.svg",
    WAVESURFER,
    "wavesurfer-LICENSE.txt",
)
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}


def create_app(limits: Limits) -> Starlette:
    """The application; its files lie in a temporary folder as long as it runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="unmingle-web-", ignore_cleanup_errors=True) as folder:
            app.state.limits, app.state.jobs = limits, Jobs(limits)
            app.state.recordings = Uploads(Path(folder), limits)
            cleaning = asyncio.create_task(clean(app.state.recordings, min(60.0, limits.keep_s / 2)))
            yield
            cleaning.cancel()
            await run_in_threadpool(app.state.jobs.close)
            app.state.recordings.remove_all()

    routes = [
        Route("/", page),
        *(Route(f"/{name}", static) for name in STATIC),
        Route("/recordings", upload, methods=["POST"]),
        Route("/recordings/example", example, methods=["POST"]),
        Route("/recordings/{id}", remove, methods=["DELETE"]),
        Route("/recordings/{id}/sample", sample, methods=["POST"]),
        Route("/recordings/{id}/people", people, methods=["POST"]),
        Route("/recordings/{id}/job", start, methods=["POST"]),
        Route("/recordings/{id}/job", status, methods=["GET"]),
        Route("/recordings/{id}/job", cancel, methods=["DELETE"]),
        Route("/recordings/{id}/input", download_input),
        Route("/recordings/{id}/picture", picture),
        Route("/recordings/{id}/faces", faces),
        Route("/recordings/{id}/files/{name}", download),
        Route("/recordings/{id}/all.zip", download_all),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(Guard)], exception_handlers=ERRORS, lifespan=lifespan
    )


class Guard:
    """Adds the headers that keep a page to itself, unless an answer has its own, and refuses requests that
    other sites' pages make in a visitor's name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in added if pair[0] not in own)]
            await send(message)

        request = Request(scope)
        if request.method != "GET" and request.headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            await JSONResponse({"error": "another site's page may not use this one"}, 403)(
                scope, receive, send_with_headers
            )
            return
        await self._app(scope, receive, send_with_headers)


async def clean(recordings: Uploads, every_s: float) -> None:
    """Remove what is not used any more, again and again."""
    while True:
        await asyncio.sleep(every_s)
        recordings.remove_unused()


async def page(request: Request) -> Response:
    """The page; a visitor without a cookie gets one that nobody can guess. The one style that wavesurfer.js
    brings along is let in by a nonce.
    """
    limits: Limits = request.app.state.limits
    nonce = secrets.token_urlsafe(16)
    values = {
        "max_bytes": limits.max_bytes,
        "size": limits.size,
        "duration": limits.duration,
        "keep_minutes": f"{limits.keep_s / 60:.3g}",
        "nonce": nonce,
        "wavesurfer": WAVESURFER,
        "models": model_options(),
    }
    html = Template((PAGE / "index.html").read_text(encoding="utf-8")).substitute(values)
    policy = f"{POLICY}; style-src 'self' 'nonce-{nonce}'"
    response = HTMLResponse(html, headers={"content-security-policy": policy})
    if not request.cookies.get(COOKIE):
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, secrets.token_urlsafe(32), httponly=True, samesite="strict", secure=secure
        )
    return response


async def static(request: Request) -> Response:
    return FileResponse(PAGE / request.url.path.rsplit("/", 1)[-1])


async def upload(request: Request) -> Response:
    """The body is the file; `?name=` its name. It is written as it comes, and refused as soon as it is too
    large, or if it is no recording.
    """
    recordings: Uploads = request.app.state.recordings
    n_bytes = request.headers.get("content-length", "")
    recording = recordings.new(
        visitor_of(request), request.query_params.get("name", ""), int(n_bytes) if n_bytes.isdecimal() else 0
    )
    with removing_after_errors(recordings, recording):
        await receive(request, recording, recording.source, recording.name)
        return await accept(recordings, recording)


async def receive(request: Request, recording: Upload, path: Path, name: str) -> None:
    """Write a request's body to a file; InputError as soon as it is too large."""
    recordings: Uploads = request.app.state.recordings
    n_written, pieces = 0, bytearray()
    with path.open("wb") as file:
        async for piece in request.stream():
            pieces += piece
            if len(pieces) >= PIECE or not piece:
                n_written += len(pieces)
                recordings.check_size(name, n_written)
                await run_in_threadpool(file.write, bytes(pieces))
                pieces.clear()
                recordings.get(recording.visitor, recording.id)  # it is in use


async def sample(request: Request) -> Response:
    """The body is a file with the voice of somebody who is wanted; `?name=` its name."""
    recording = wanted(request)
    recording.sample_name = plain_name(request.query_params.get("name", ""))
    await receive(request, recording, recording.sample, recording.sample_name)
    return JSONResponse({}, 201)


async def people(request: Request) -> Response:
    """The body is the list of people as JSON, as the visitor wants it; the answer is as that of `status`."""
    try:
        values = json.loads(await small_body(request))
    except ValueError:
        raise UsageError("not a list of people; load the page again") from None
    job = job_of(wanted(request))
    await run_in_threadpool(job.arrange, values)
    return JSONResponse(job.to_dict())


async def example(request: Request) -> Response:
    """The built-in recording."""
    recordings: Uploads = request.app.state.recordings
    content = EXAMPLE.read_bytes()
    recording = recordings.new(visitor_of(request), "example.opus", len(content))
    with removing_after_errors(recordings, recording):
        recording.source.write_bytes(content)
        return await accept(recordings, recording)


@contextmanager
def removing_after_errors(recordings: Uploads, recording: Upload) -> Iterator[None]:
    """An upload that was stopped or refused leaves nothing behind."""
    try:
        yield
    except BaseException:
        recordings.remove(recording)
        raise


async def accept(recordings: Uploads, recording: Upload) -> Response:
    """Look at what was uploaded; InputError says why it is no recording, or too long."""

    def duration_s() -> float | None:
        with open_audio(recording.source) as reader:
            return None if reader.n_samples is None else reader.n_samples / reader.sample_rate

    try:
        recording.duration_s = await run_in_threadpool(duration_s)
    except UnmingleError as error:
        raise type(error)(recording.in_words(error)) from None
    recordings.check_duration(recording.name, recording.duration_s or 0)
    return JSONResponse({"id": recording.id, "name": recording.name, "duration_s": recording.duration_s}, 201)


async def remove(request: Request) -> Response:
    request.app.state.recordings.remove(wanted(request))
    return Response(status_code=204)


async def start(request: Request) -> Response:
    """The body is a task as JSON."""
    try:
        values = json.loads(await small_body(request))
    except ValueError:
        raise UsageError("not a task; load the page again") from None
    recording = wanted(request)
    # From here on nothing waits, so no other request comes in between.
    if recording.job is not None and not recording.job.is_over:
        raise Refused("this recording is being worked on; cancel that first")
    job = Job(Task.read(values), recording, request.app.state.recordings)
    request.app.state.jobs.add(job)
    recording.job = job
    return JSONResponse({}, 202)


async def status(request: Request) -> Response:
    job = job_of(wanted(request))
    return JSONResponse({**job.to_dict(), "place": request.app.state.jobs.place(job)})


async def cancel(request: Request) -> Response:
    job_of(wanted(request)).cancel()
    return Response(status_code=204)


async def download_input(request: Request) -> Response:
    """What is separated: the upload, or the mixture with the noise."""
    recording = wanted(request)
    mixture = job_of(recording).files.get(MIXTURE) if recording.job else None
    return file_response(mixture or recording.source, None)


async def picture(request: Request) -> Response:
    """The video, as it was uploaded."""
    return file_response(wanted(request).source, None)


async def faces(request: Request) -> Response:
    """Whose faces are in a video and where, once a task has found them; see `Seen.to_dict`."""
    seen = wanted(request).seen
    if seen is None:
        raise HTTPException(404)
    return JSONResponse(await run_in_threadpool(seen.to_dict))


async def download(request: Request) -> Response:
    """One file, to hear; with `?download`, to keep."""
    recording, name = wanted(request), request.path_params["name"]
    path = job_of(recording).files.get(name)
    if path is None:
        raise HTTPException(404)
    return file_response(path, f"{recording.stem}-{name}" if "download" in request.query_params else None)


async def download_all(request: Request) -> Response:
    """All files in an archive that is made as it is sent."""
    recording = wanted(request)
    files = job_of(recording).files
    if not files:
        raise HTTPException(404)
    name = quote(f"{recording.stem}-unmingled.zip", safe="")
    headers = {"content-disposition": f"attachment; filename*=utf-8''{name}"}
    return StreamingResponse(zipped(files), media_type="application/zip", headers=headers)


def visitor_of(request: Request) -> str:
    """The visitor's secret; a request without it has no page behind it."""
    visitor = request.cookies.get(COOKIE)
    if not visitor:
        raise HTTPException(403)
    return visitor


def wanted(request: Request) -> Upload:
    """The recording that a request names, if it is this visitor's."""
    recording: Upload | None = request.app.state.recordings.get(
        visitor_of(request), request.path_params["id"]
    )
    if recording is None:
        raise HTTPException(404)
    return recording


def job_of(recording: Upload) -> Job:
    if recording.job is None:
        raise HTTPException(404)
    return cast(Job, recording.job)


async def small_body(request: Request) -> bytes:
    """The body of a request; UsageError if it is longer than a task can be."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > 10_000:
            raise UsageError("not a task; load the page again")
    return body


def listen(host: str, port: int) -> socket.socket:
    """A socket for `serve`; UsageError if the address cannot be used."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"--host {host} --port {port}: cannot be used ({getattr(error, 'strerror', None) or error}); "
            "choose another port"
        ) from None


def serve(host: str, port: int, limits: Limits) -> None:
    """Serve the page until Ctrl-C or SIGTERM; then jobs are cancelled and all files removed."""
    import uvicorn

    with listen(host, port) as opened:
        address = f"[{host}]" if ":" in host else host
        print(f"Open http://{address}:{opened.getsockname()[1]} in a browser; Ctrl-C stops it.", flush=True)
        config = uvicorn.Config(
            create_app(limits),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[opened])
