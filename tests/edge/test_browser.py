"""A page in a real browser, from another origin: it subscribes, commands, and sees the event."""

import base64
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from google.protobuf.empty_pb2 import Empty

from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest
from tests.edge.fronted import OPEN, opening, post
from tests.journey.user import depositing

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
PAGE = Path(__file__).with_name("page.html")
SECONDS = 60.0

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.skipif(not BROWSER, reason="needs Chromium: no chromium or google-chrome is here"),
]


class Site(BaseHTTPRequestHandler):
    """Serves the page, and takes what it tells."""

    def __init__(self, told: "queue.Queue[Any]", *arguments: Any) -> None:
        self._told = told
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer(PAGE.read_bytes() if self.path.startswith("/page") else b"")

    def do_POST(self) -> None:
        self._told.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def site() -> Iterator[tuple[str, "queue.Queue[Any]"]]:
    """A site with the page; yields its address, and what the page tells."""
    told: queue.Queue[Any] = queue.Queue()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, told)) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}", told
        server.shutdown()
        serving.join()


@contextmanager
def browsing(url: str, profile: Path) -> Iterator[None]:
    """A browser that looks at a page."""
    program = subprocess.Popen(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", f"--user-data-dir={profile}", "--remote-debugging-port=0", url],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        program.terminate()
        program.wait(SECONDS)


def in_text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.slow
def test_a_page_subscribes_and_sees_the_event_that_its_command_caused(
    address: str, account: str, tmp_path: Path
) -> None:
    post(address, OPEN, opening(account, "o1"))
    stream, command_id = f"account/{account}", f"{account}-from-page"
    subscribe = SubscribeRequest(end=Empty(), filter=EventFilter(stream=stream))
    wish = {
        "edge": f"http://{address}",
        "stream": stream,
        "id": command_id,
        "subscribe": in_text(subscribe.SerializeToString()),
        "deposit": in_text(depositing(account, 5, command_id=command_id).SerializeToString()),
    }
    with site() as (home, told), browsing(f"{home}/page?{urlencode(wish)}", tmp_path):
        found = told.get(timeout=SECONDS)
    assert found == {
        "json": f"{command_id} bank.v1.MoneyDeposited",
        "grpc": command_id,
        "status": "0",
        "refusal": "400 with id",
    }
