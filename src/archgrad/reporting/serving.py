"""The page of runs that may still be going on, served to this machine alone."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, NamedTuple

from archgrad.errors import ArchgradError
from archgrad.reporting.document import document
from archgrad.reporting.page import page

ADDRESS = "127.0.0.1"
# a name that leads to this machine in the address books of others must not open the page
HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
SUFFIXES = (".json", ".jsonl", ".yaml")  # of what a page is made from
LAST = 4.0  # seconds in which a page that follows looks again
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def watch(
    paths: Sequence[Path], port: int, tell: Callable[[str], None], browser: bool = True
) -> None:
    """Serve the page of these folders until Ctrl-C; `port` 0 takes any that is free.

    `tell` is given the address, once. `browser`: open it, where there is a screen.

    Raises:
        ArchgradError: The port is taken, or not allowed.
    """
    with _listening(port) as listening, Server(paths, listening) as server:
        tell(f"watch    {server.url}  (end with Ctrl-C)")
        if browser and _screen():
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


@contextmanager
def followed(folder: Path, wanted: bool, tell: Callable[[str], None]) -> Iterator[None]:
    """Serve the page of a run while a command works in its folder, if that is `wanted`.

    Another process serves it, at low priority: reading a long run and making its page takes seconds
    of a processor, for which a thread would hold up the search. It ends with this process, however
    this one ends; what goes wrong in it, or in starting it, is no concern of the search.
    """
    process = _begun(folder, tell) if wanted else None
    try:
        yield
    finally:
        if process is not None:
            _ended(process)


def _begun(folder: Path, tell: Callable[[str], None]) -> subprocess.Popen[bytes] | None:
    try:
        with socket.create_server((ADDRESS, 0)) as listening:
            number = listening.fileno()
            process = subprocess.Popen(
                [sys.executable or "", "-P", "-c", _program(), str(number), str(folder.resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,  # Ctrl-C is for the search
            )
            tell(f"watch    {_url(listening)}")
    except OSError as error:
        tell(f"watch    the page cannot be served ({error.strerror}); the work goes on without it")
        return None
    return process


def _program() -> str:
    """Serves, with modules from where this process has them: a checkout, a zip file, anywhere."""
    return (
        f"import sys; sys.path[:] = {list(map(str, sys.path))!r}; "
        f"from {__name__} import serve_until_closed; serve_until_closed(*sys.argv[1:])"
    )


def _ended(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(2 * LAST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve_until_closed(number: str, *folders: str) -> None:
    """Serve on a socket that was handed over by its `number`, until standard input closes."""
    os.nice(10)
    listening = socket.socket(fileno=int(number))
    with listening, Server([Path(folder) for folder in folders], listening) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.buffer.read()
        server.wait_for_followers()


class State(NamedTuple):
    """A document, the same as JSON, and a name that it has until the files change."""

    name: str
    document: dict[str, Any]
    content: bytes


def _state(name: str, paths: Sequence[Path], live: bool) -> State:
    made = document(paths, live)
    return State(name, made, json.dumps(made, allow_nan=False).encode())


class Server(ThreadingHTTPServer):
    """Answers two requests: for the page, and for the document that it shows."""

    def __init__(self, paths: Sequence[Path], listening: socket.socket) -> None:
        super().__init__((ADDRESS, 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.paths = paths
        self.live = True
        self.asked = -LAST  # when a page last looked, and which state it then had
        self.seen = ""
        self._reading = Lock()
        self._last: State | None = None

    @property
    def url(self) -> str:
        return _url(self.socket)

    def current(self) -> State:
        """What there is to show now, read where the files have changed."""
        with self._reading:
            name = self._name()
            if self._last is None or self._last.name != name:
                try:
                    self._last = _state(name, self.paths, self.live)
                except Exception:  # a file that is being written may hold anything
                    return self._last or _state("", (), self.live)
            return self._last

    def wait_for_followers(self) -> None:
        """Nothing will change from now on: let a page that follows see the end, and that it is."""
        self.live = False
        end, last = time.monotonic() + LAST, self._name()
        while self.seen != last and self.asked + LAST > time.monotonic() and end > time.monotonic():
            time.sleep(0.05)

    def _name(self) -> str:
        return state(self.paths) + ("" if self.live else "-ended")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that was closed while it was answered is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "archgrad", ""
    timeout = 10

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command in ("GET", "HEAD"):
            return True
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, b"", Allow="GET, HEAD")
        return False

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not HOST.fullmatch(self.headers.get("Host", "")):
            self._answer(HTTPStatus.FORBIDDEN, b"this page is for this machine alone")
        elif path == "/":
            made = page(self.server.current().document).encode()
            self._answer(HTTPStatus.OK, made, "text/html; charset=utf-8")
        elif path == "/document.json":
            self._answer_document()
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there are / and /document.json alone")

    do_HEAD = do_GET

    def _answer_document(self) -> None:
        found = self.server.current()
        tag = f'"{found.name}"'
        known = self.headers.get("If-None-Match")
        if known is not None:  # it has looked before, so it will again
            self.server.asked = time.monotonic()
        if known == tag:
            self._answer(HTTPStatus.NOT_MODIFIED, b"", ETag=tag)
        else:
            self._answer(HTTPStatus.OK, found.content, "application/json", ETag=tag)
        self.server.seen = found.name

    def _answer(
        self,
        status: HTTPStatus,
        content: bytes,
        kind: str = "text/plain; charset=utf-8",
        **headers: str,
    ) -> None:
        self.send_response(status)
        if status is not HTTPStatus.NOT_MODIFIED:
            headers = {"Content-Type": kind, "Content-Length": str(len(content)), **headers}
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal belongs to the command."""


def state(paths: Sequence[Path]) -> str:
    """A short text that changes with the names, sizes and times of the files of a page."""
    entries = sorted(entry for path in paths for entry in _files(path))
    return hashlib.sha256(repr(entries).encode()).hexdigest()[:32]


def _files(path: Path) -> Iterator[tuple[str, int, int]]:
    for folder, _, names in os.walk(path):
        for name in names:
            if name.endswith(SUFFIXES):
                file = os.path.join(folder, name)
                with suppress(OSError):  # it is gone again
                    found = os.stat(file)
                    yield file, found.st_size, found.st_mtime_ns


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        reason = "in use" if error.errno == errno.EADDRINUSE else "not allowed"
        raise ArchgradError(
            f"port {port} is {reason}; give another --port, or 0 for any that is free"
        ) from None


def _url(listening: socket.socket) -> str:
    return f"http://{ADDRESS}:{listening.getsockname()[1]}/"


def _screen() -> bool:
    """Whether someone sits here who would see a browser."""
    display = (
        sys.platform == "darwin" or os.environ.get("DISPLAY") or "WAYLAND_DISPLAY" in os.environ
    )
    return bool(display) and sys.stderr.isatty()
