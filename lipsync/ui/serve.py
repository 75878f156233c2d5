"""The page's server: loopback only unless told, nothing from elsewhere, uploads of a limited size."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.text import text_of_file
from lipsync.ui.jobs import Queue, Workplace, run_beside
from lipsync.ui.requests import presets, ready_job

if TYPE_CHECKING:
    from fastapi import FastAPI  # pyright: ignore[reportMissingImports]

LOOPBACK = "127.0.0.1"
#: Free disk space that an upload must leave.
SPARE_BYTES = 1 << 30
#: Of Gradio's addresses those that this page does not need.
_CLOSED = (
    "/gradio_api/proxy",
    "/gradio_api/process_recording",
    "/gradio_api/deep_link",
    "/monitoring",
    "/gradio_api/runs",
)
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
#: A report is a page made from a stranger's files: it may do nothing to ours.
_FILE_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:"
)


@dataclass(frozen=True, slots=True)
class Options:
    """Of the page. port: 0 = any; listen: an address for other machines, None = loopback; auth: a file of
    NAME:PASSWORD lines; presets: a folder of more; at_once: dubs; max_upload: bytes of one file."""

    port: int = 7860
    listen: str | None = None
    auth: Path | None = None
    presets: Path | None = None
    at_once: int = 1
    max_upload: int = 4 << 30


def serve(options: Options, ready: Callable[[str], None], on_fault: Callable[[str], None]) -> None:
    """Serves the page until it is interrupted; then its files are gone. ready: called with its address. UsageError,
    LipsyncError: options or the machine do not allow it."""
    if options.listen is not None and options.auth is None:
        raise UsageError("--listen shows the page to other machines: say who may use it with --auth FILE.")
    users = None if options.auth is None else read_users(options.auth)
    files = presets(options.presets)
    bound = _bound(options.listen or LOOPBACK, options.port)
    _keep_to_itself()
    place = Workplace()
    os.environ["GRADIO_TEMP_DIR"] = str(place.folder / "uploads")
    queue = Queue(options.at_once, on_fault=on_fault)
    getting_ready = ready_job(place.new_folder())
    beside = run_beside(getting_ready)
    try:
        import uvicorn  # pyright: ignore[reportMissingImports]

        from lipsync.ui.page import Desk

        app = build_app(Desk(queue, place, files), options, users)
        host, port = bound.getsockname()[:2]
        config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        server = _Server(config, lambda: ready(f"http://{host if ':' not in host else f'[{host}]'}:{port}/"))
        server.run(sockets=[bound])
    except ImportError as error:
        raise LipsyncError("The page needs the extra ui: pip install 'lipsync-dub[ui]'.") from error
    finally:
        getting_ready.stop.set()
        beside.join(10)
        queue.close()
        place.close()
        bound.close()


def build_app(desk: Any, options: Options, users: list[tuple[str, str]] | None = None) -> FastAPI:
    """The page and its files as an ASGI application."""
    import gradio as gr  # pyright: ignore[reportMissingImports]
    from fastapi import FastAPI, HTTPException  # pyright: ignore[reportMissingImports]
    from fastapi.responses import FileResponse  # pyright: ignore[reportMissingImports]

    from lipsync.ui.page import SAMPLE, build_page, style, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/files/{id}/{use}")
    def file(id: str, use: str) -> FileResponse:
        job = desk.queue.find(id)
        name = None if job is None or job.state != "done" else job.outputs.get(use)
        if job is None or name is None or not (job.folder / name).is_file():
            raise HTTPException(404, "This file is gone.")
        inline = "inline" if use in ("film", "video", "report") else "attachment"
        headers = {"Content-Security-Policy": _FILE_POLICY, "Cache-Control": "no-store"}
        return FileResponse(job.folder / name, filename=name, content_disposition_type=inline, headers=headers)

    gr.mount_gradio_app(
        app,
        build_page(desk),
        path="/",
        auth=users,
        allowed_paths=[str(path) for path in SAMPLE],
        max_file_size=options.max_upload,
        show_error=False,
        run_history=False,
        footer_links=[],
        theme=theme(),
        css=style(),
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
    )
    app.add_middleware(_Guard, options=options, place=desk.place.folder)
    return app


class _Guard:
    """Around the page: refuses what is too large before it is read, hosts that are not ours, and addresses that are not
    needed; and tells browsers to load nothing from elsewhere."""

    def __init__(self, app: Any, options: Options, place: Path) -> None:
        self._app, self._options, self._place = app, options, place

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if trouble := self._trouble(scope, headers):
            await _refuse(*trouble, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                more = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer"}
                more |= {} if b"content-security-policy" in names else {b"content-security-policy": _POLICY.encode()}
                message["headers"] = [*message["headers"], *more.items()]
            await send(message)

        await self._app(scope, receive, guarded)

    def _trouble(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if self._options.listen is None and host not in ("127.0.0.1", "localhost", "[::1]"):
            return 400, "This page is for this computer alone."  # a name that somebody pointed at loopback
        if scope["path"].startswith(_CLOSED):
            return 404, "There is nothing here."
        stated = headers.get("content-length", "0")
        size = int(stated) if stated.isdecimal() else 0
        limit = self._options.max_upload + (1 << 20)  # and what lies around the file
        if size > limit:
            return 413, f"The file is larger than {self._options.max_upload / 2**30:g} GiB, the limit of --max-upload."
        if size > 1 << 20 and shutil.disk_usage(self._place).free < size + SPARE_BYTES:
            return 507, "There is too little free disk space for this file."
        return None


async def _refuse(status: int, sentence: str, send: Any) -> None:
    body = sentence.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})


def read_users(path: Path) -> list[tuple[str, str]]:
    """(name, password) of every line. UsageError: not of this form, or nobody."""
    users = []
    for number, line in enumerate(text_of_file(path, "file of --auth", 1 << 20).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, mark, password = line.strip().partition(":")
        if not (name and mark and password):
            raise UsageError(f"{path}, line {number}: a line is NAME:PASSWORD.")
        users.append((name, password))
    if not users:
        raise UsageError(f"{path} names nobody. Give it a line NAME:PASSWORD.")
    return users


def _bound(address: str, port: int) -> socket.socket:
    """A socket that listens. LipsyncError: the address is not this machine's, or the port is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise LipsyncError(
            f"The page cannot be shown at {address}, port {port}: {error.strerror}. Try --port 0."
        ) from error
    return bound


def _keep_to_itself() -> None:
    """Gradio sends nothing to anybody, and looks for nothing."""
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ |= {"GRADIO_RUN_HISTORY": "False", "DO_NOT_TRACK": "1"}


def _Server(config: Any, started: Callable[[], None]) -> Any:
    """A uvicorn server that says when it answers, and ends quietly."""
    import contextlib

    import uvicorn  # pyright: ignore[reportMissingImports]

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started()

        @contextlib.contextmanager
        def capture_signals(self):
            with contextlib.suppress(KeyboardInterrupt), super().capture_signals():
                yield

    return Server(config)
