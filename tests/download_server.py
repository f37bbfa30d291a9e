"""A real HTTP server on 127.0.0.1 that behaves as a test tells it to, request by request."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler"], None]
ETAG = '"version 1"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DownloadServer

    def do_GET(self):
        self.close_connection = True
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers)))
            script = self.server.script
            behaviour = script.pop(0) if len(script) > 1 else script[0]
        with contextlib.suppress(ConnectionError):  # the client went away, as some tests have it
            behaviour(self)

    def log_message(self, *arguments):
        pass

    def start(self, status, **headers):
        self.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class DownloadServer(ThreadingHTTPServer):
    """`script` holds one behaviour a request; the last one stays."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.requests = []
        self.script = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def ranges(self):
        """What was asked for: the first byte, None for the whole."""
        starts = [re.fullmatch(r"bytes=(\d+)-", headers.get("Range", "")) for _, headers in self.requests]
        return [int(match[1]) if match else None for match in starts]


@contextlib.contextmanager
def running_server() -> Iterator[DownloadServer]:
    with DownloadServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def good(content, etag=ETAG, until=None, pause_s=0.0, kind="application/octet-stream"):
    """Ranges and If-Range as they should be; `until` cuts the connection after so many bytes, `pause_s` waits between pieces."""

    def behave(handler):
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if wanted and handler.headers.get("If-Range", etag) == etag:
            start = int(wanted[1])
            if start >= len(content):
                handler.start(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
                return
        headers = {"Content_Length": len(content) - start, "Content_Type": kind, "Accept_Ranges": "bytes"}
        if etag:
            headers["ETag"] = etag
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.start(206 if start else 200, **headers)
        body = content[start:][:until]
        for place in range(0, len(body), 65536):
            handler.wfile.write(body[place : place + 65536])
            time.sleep(pause_s)

    return behave


def answer(status, body=b"", **headers):
    """A fixed reply; its Content-Length is true unless given."""

    def behave(handler):
        handler.start(status, **{"Content_Length": len(body), **headers})
        handler.wfile.write(body)

    return behave


def raw(body, **headers):
    """A reply of status 200 with just these headers, ended by closing the connection."""

    def behave(handler):
        handler.start(200, **headers)
        handler.wfile.write(body)

    return behave


def silent(content=b"", length=0, seconds=2.0):
    """Says nothing, or stops in the middle of the body."""

    def behave(handler):
        if content:
            handler.start(200, Content_Length=length, ETag=ETAG)
            handler.wfile.write(content)
        time.sleep(seconds)

    return behave


def dripping(content, seconds=4.0):
    """A few bytes now and then, so that no silence is long."""

    def behave(handler):
        handler.start(200, Content_Length=len(content), ETag=ETAG)
        for place in range(int(seconds / 0.05)):
            handler.wfile.write(content[place : place + 1])
            time.sleep(0.05)

    return behave
