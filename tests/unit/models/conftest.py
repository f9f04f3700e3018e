"""A small hub on loopback: what huggingface.co answers for one file, with faults to order."""

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from edgedepth.models.registry import WeightsSource

REPO, COMMIT, FILE = "somebody/some-depth", "c" * 40, "model.safetensors"


class Hub(ThreadingHTTPServer):
    """Serves one file as the hub does: /resolve/ redirects to a store that knows ranges."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.content = content
        self.requests: list[tuple[str, str, str | None]] = []
        self.body_bytes = 0
        self.refuse_with: int | None = None
        self.refuse_after_cut: int | None = None
        self.cut_at: int | None = None
        self.knows_ranges = True
        self.pause_s = 0.0
        self.while_sending: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def source(self, **changed: object) -> WeightsSource:
        """What a registry would say about the file that is served now."""
        facts: dict[str, object] = {
            "repo": REPO,
            "revision": COMMIT,
            "file": FILE,
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "size": len(self.content),
            "licence": "Some licence",
            "licence_url": "https://example.invalid/LICENSE",
        }
        return WeightsSource(**(facts | changed))  # type: ignore[arg-type]

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of every request that got the file's bytes."""
        return [asked for method, path, asked in self.requests if method == "GET" and path.startswith("/store/")]


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server
        hub.requests.append((self.command, self.path, self.headers["Range"]))
        if hub.refuse_with is not None:
            self._headers(hub.refuse_with, {"Content-Length": "0"})
        elif self.path == f"/{REPO}/resolve/{COMMIT}/{FILE}":
            linked = {"X-Linked-Size": str(len(hub.content)), "X-Linked-ETag": '"etag"', "X-Repo-Commit": COMMIT}
            self._headers(302, {"Location": f"{hub.url}/store/{FILE}", "Content-Length": "0", **linked})
        elif self.path == f"/store/{FILE}":
            self._file()
        else:
            self._headers(404, {"Content-Length": "0"})

    def _file(self) -> None:
        hub, start = self.server, 0
        if hub.knows_ranges and (asked := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")):
            start = int(asked[1])
        size = len(hub.content)
        headers = {"ETag": '"etag"', "Content-Length": str(size - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._headers(206 if start else 200, headers)
        if self.command == "GET":
            self._body(start)

    def _body(self, start: int) -> None:
        hub = self.server
        end = len(hub.content) if hub.cut_at is None else hub.cut_at
        for position in range(start, end, 1 << 20):
            chunk = hub.content[position : min(end, position + (1 << 20))]
            try:
                self.wfile.write(chunk)
            except OSError:  # the client was killed
                break
            hub.body_bytes += len(chunk)
            hub.while_sending()
            time.sleep(hub.pause_s)
        if hub.cut_at is not None:
            hub.cut_at, hub.refuse_with = None, hub.refuse_after_cut
            self.close_connection = True

    def _headers(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Tests read `requests` instead."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that HF_ENDPOINT points to. Its file is larger than three of huggingface_hub's chunks of 10 MiB."""
    import huggingface_hub
    from huggingface_hub import constants

    content = b"".join(hashlib.sha256(bytes([i])).digest() * (1 << 15) for i in range(34))
    server = Hub(content)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # What the library reads from the environment when it is imported: no question to any other host.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    huggingface_hub.close_session()
