"""The server of a page: what it answers, to whom, and that it ends with its command."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from threading import Thread

import pytest

from archgrad.errors import ArchgradError
from archgrad.reporting import serving
from archgrad.reporting.serving import Server, followed, watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "a run"
    run.mkdir()
    (run / "config.yaml").write_text("search: {method: darts, space: darts-cnn, epochs: 3}\n")
    (run / "metrics.jsonl").write_text('{"epoch": 1, "train_loss": 2.5}\n')
    return run


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with Server([folder], socket.create_server(("127.0.0.1", 0))) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.socket.getsockname()[1], timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=names)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def losses(content: bytes) -> list[float]:
    found: list[float] = json.loads(content)["runs"][0]["epochs"]["columns"]["train_loss"]
    return found


def test_page_and_document_are_served_as_those_of_a_run_that_goes_on(server: Server) -> None:
    answer, content = ask(server, "/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"connect-src &#x27;self&#x27;" in content
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer, content = ask(server, "/document.json?now")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(content)["live"] is True
    assert losses(content) == [2.5]


def test_document_is_read_again_only_when_a_file_has_changed(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = serving.document
    monkeypatch.setattr(serving, "document", lambda *a, **k: reads.append(a) or read(*a, **k))
    tag = ask(server, "/document.json")[0].headers["ETag"]
    answer, content = ask(server, "/document.json", If_None_Match=tag)
    assert (answer.status, content, len(reads)) == (304, b"", 1)
    (folder / "weights.pt").write_text("no part of a page")
    assert ask(server, "/document.json", If_None_Match=tag)[0].status == 304
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "train_loss": 1.5}\n')
    answer, content = ask(server, "/document.json", If_None_Match=tag)
    assert (answer.status, losses(content), len(reads)) == (200, [2.5, 1.5], 2)
    assert answer.headers["ETag"] != tag


def test_state_sees_a_file_of_the_same_size_and_one_that_is_gone(folder: Path) -> None:
    before = serving.state([folder])
    assert serving.state([folder]) == before
    os.utime(folder / "metrics.jsonl", ns=(1, 1))
    changed = serving.state([folder])
    (folder / "metrics.jsonl").unlink()
    assert len({before, changed, serving.state([folder]), serving.state([])}) == 4


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:80", ""])
def test_names_of_other_machines_are_refused(server: Server, host: str) -> None:
    for path in ("/", "/document.json"):
        answer, content = ask(server, path, Host=host)
        assert answer.status == 403
        assert b"darts" not in content


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_served(server: Server, host: str) -> None:
    assert ask(server, "/document.json", Host=host)[0].status == 200


@pytest.mark.parametrize(
    "path", ["/config.yaml", "/../config.yaml", "/document.json/", "/assets/main.js", "*"]
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    answer, content = ask(server, path)
    assert answer.status == 404
    assert b"darts" not in content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "NEW"])
def test_nothing_can_be_sent(server: Server, method: str) -> None:
    answer, _ = ask(server, "/", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_no_content(server: Server) -> None:
    answer, content = ask(server, "/", "HEAD")
    assert (answer.status, content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 100_000


def test_what_cannot_be_read_leaves_the_last_state_and_never_fails(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> dict[str, object]:
        raise ValueError("half a file")

    read = serving.document
    monkeypatch.setattr(
        serving, "document", lambda paths, live: read(paths, live) if not paths else fails()
    )
    assert ask(server, "/")[0].status == 200
    answer, content = ask(server, "/document.json")
    assert (answer.status, json.loads(content)["runs"]) == (200, [])
    monkeypatch.setattr(serving, "document", read)
    tag = ask(server, "/document.json")[0].headers["ETag"]
    monkeypatch.setattr(serving, "document", fails)
    (folder / "metrics.jsonl").write_text("{")
    assert ask(server, "/document.json", If_None_Match=tag)[0].status == 304
    assert losses(ask(server, "/document.json")[1]) == [2.5]


def test_nothing_is_told_of_broken_requests(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    for request in (b"\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with socket.create_connection(server.socket.getsockname()) as connection:
            connection.sendall(request)  # and gone
    assert ask(server, "/document.json")[0].status == 200
    assert capfd.readouterr() == ("", "")


def test_a_port_in_use_is_one_clear_line(server: Server, folder: Path) -> None:
    port = server.socket.getsockname()[1]
    with pytest.raises(ArchgradError, match=f"port {port} is in use; give another --port"):
        watch([folder], port, print)


def test_watch_serves_until_interrupted_and_opens_a_browser_only_where_it_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(serving.webbrowser, "open", opened.append)
    monkeypatch.setattr(Server, "serve_forever", lambda _: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(serving, "_screen", lambda: False)
    told: list[str] = []
    watch([folder], 0, told.append)
    assert opened == []
    monkeypatch.setattr(serving, "_screen", lambda: True)
    watch([folder], 0, told.append, browser=False)
    assert opened == []
    watch([folder], 0, told.append)
    assert len(told) == 3
    assert opened[0].startswith("http://127.0.0.1:") and opened[0] in told[2]


def address(told: list[str]) -> tuple[str, int]:
    host, port = told[0].split("/")[2].split(":")
    return host, int(port)


def get(where: tuple[str, int], known: str | None = None) -> bytes:
    connection = HTTPConnection(*where, timeout=20)
    headers = {} if known is None else {"If-None-Match": known}
    connection.request("GET", "/document.json", headers=headers)
    content = connection.getresponse().read()
    connection.close()
    return content


def follow(where: tuple[str, int], seen: list[bytes]) -> None:
    """Look again and again, as a page does, until there is no server."""
    with suppress(OSError, HTTPException):
        while True:
            time.sleep(0.1)
            seen.append(get(where, known="another"))


def test_a_page_that_follows_sees_how_it_ended(folder: Path) -> None:
    told: list[str] = []
    seen: list[bytes] = []
    with followed(folder, True, told.append):
        assert len(told) == 1
        assert losses(get(address(told), known="before")) == [2.5]
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 2, "train_loss": 1.5}\n')
        following = Thread(target=follow, args=(address(told), seen))
        following.start()
    following.join()
    assert losses(seen[-1]) == [2.5, 1.5]
    assert json.loads(seen[-1])["live"] is False
    with pytest.raises(ConnectionRefusedError):
        get(address(told))


def test_a_command_that_nobody_follows_ends_at_once(folder: Path) -> None:
    told: list[str] = []
    with followed(folder, True, told.append):
        get(address(told))
        (folder / "metrics.jsonl").write_text("")
        ending = time.monotonic()
    assert time.monotonic() - ending < serving.LAST


def test_a_command_that_is_not_followed_starts_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(serving.subprocess, "Popen")
    with followed(folder, False, print):
        pass


def test_the_server_has_its_modules_from_where_the_command_has_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a path that the environment does not tell a new process."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    root = Path(serving.__file__).parents[2]
    monkeypatch.setattr(sys, "path", [str(root), *(p for p in sys.path if Path(p) != root)])
    monkeypatch.chdir(folder)
    told: list[str] = []
    with followed(folder, True, told.append):
        assert losses(get(address(told))) == [2.5]


@pytest.mark.parametrize("python", ["/no/such/python", None])
def test_a_server_that_cannot_start_harms_nothing(
    python: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "executable", python)
    with followed(folder, True, told.append):
        done = True
    assert done
    assert len(told) == 1
    assert re.search(r"the page cannot be served \(\w.+\); the work goes on without it", told[0])


def test_the_server_ends_when_its_command_is_killed(folder: Path) -> None:
    program = (
        "import pathlib, time\n"
        "from archgrad.reporting.serving import followed\n"
        "tell = lambda text: print(text, flush=True)\n"
        f"with followed(pathlib.Path({str(folder)!r}), True, tell):\n"
        "    time.sleep(60)\n"
    )
    command = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    with command.stdout:
        where = address([command.stdout.readline()])
    assert get(where)
    command.kill()
    command.wait()
    for _ in range(200):
        try:
            get(where)
        except (OSError, HTTPException):  # refused, or ended within an answer
            break
        time.sleep(0.1)
    else:
        pytest.fail("the server outlived its command")
