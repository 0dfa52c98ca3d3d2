"""Object stores on loopback, for the time of the tests: moto for S3, Azurite for Azure, an emulator for Google.

A client reaches its server through a proxy in the test's process, which sees every
request before and after it is answered: there it is counted, refused, answered late, or
the client is killed.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec
import pytest

# Without, gcsfs asks each bucket for its kind first, which the emulator does not know;
# read when gcsfs is imported.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

KEY, SECRET = "AKIAPREFECTDSTESTS00", "the-secret-that-nobody-may-print"


class Dropped(Exception):
    """Raised by a hook: the client's connection ends without an answer."""


@dataclass
class Proxy:
    """Passes requests on to a server, and lets two hooks see them."""

    backend: int
    """The server's port."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each, in order."""
    before: Callable[[str], int | None] = lambda request: None
    """Called ahead of the server; may answer for it with an HTTP status."""
    after: Callable[[str], None] = lambda request: None
    """Called when the server has done what was asked, ahead of the answer."""
    ignores_conditions: bool = False
    """Take the condition out of each request: a store that knows no exclusive create, and does not say so."""

    def reset(self) -> None:
        """Forget the requests and the hooks."""
        self.requests.clear()
        self.before, self.after, self.ignores_conditions = (
            lambda request: None,
            lambda request: None,
            False,
        )

    def counted(self, action: Callable[[], Any]) -> list[str]:
        """Return the requests that an action makes."""
        start = len(self.requests)
        action()
        return self.requests[start:]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Handle one request."""
        request = f"{handler.command} {unquote(handler.path)}"
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if "chunked" in handler.headers.get("Transfer-Encoding", ""):
            body = b"".join(iter(lambda: _chunk(handler), b""))
        self.requests.append(request)
        try:
            status = self.before(request)
            if status is not None:
                self._refuse(handler, status)
                return
            code, headers, data = self._forward(handler, body)
            self.after(request)
        except Dropped:
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)
            return
        handler.send_response_only(code)
        for name, value in headers:
            if name.lower() not in (
                "transfer-encoding",
                "connection",
                "content-length",
            ) or (handler.command == "HEAD" and name.lower() == "content-length"):
                handler.send_header(name, value)
        if handler.command != "HEAD":
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _forward(
        self, handler: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {
            name: value
            for name, value in handler.headers.items()
            if name.lower() != "transfer-encoding"
        }
        path = handler.path
        if self.ignores_conditions:
            headers = {
                name: value
                for name, value in headers.items()
                if name.lower() != "if-none-match"
            }
        if body or handler.command in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        connection = http.client.HTTPConnection("127.0.0.1", self.backend, timeout=60)
        try:
            connection.request(handler.command, path, body, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    @staticmethod
    def _refuse(handler: BaseHTTPRequestHandler, status: int) -> None:
        code = {403: "AccessDenied", 404: "NoSuchKey", 503: "SlowDown"}.get(
            status, "InternalError"
        )
        body = f"<Error><Code>{code}</Code><Message>refused by the test</Message></Error>".encode()
        handler.send_response_only(status)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)


def _chunk(handler: BaseHTTPRequestHandler) -> bytes:
    data = handler.rfile.read(int(handler.rfile.readline().split(b";")[0], 16))
    handler.rfile.readline()
    return data


@contextlib.contextmanager
def _proxy(backend: int) -> Iterator[tuple[Proxy, int]]:
    proxy = Proxy(backend)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 60

        def log_message(self, *args: Any) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return lambda: proxy.answer(self)
            raise AttributeError(name)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, *args: Any) -> None:
            pass  # A client that was killed does not take its answer.

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield proxy, server.server_port
        finally:
            server.shutdown()


@dataclass(frozen=True)
class ObjectStore:
    """A store that a test writes to."""

    name: str
    root: str
    """URL of a bucket, or of a folder in one."""
    options: Mapping[str, Any]
    proxy: Proxy | None = None

    def fresh(self) -> ObjectStore:
        """Return a place in it that nothing else uses; its proxy does nothing and has seen nothing."""
        if self.proxy is not None:
            self.proxy.reset()
        return ObjectStore(
            self.name, f"{self.root}/{uuid.uuid4().hex[:8]}", self.options, self.proxy
        )

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The bare file system, as another program has it."""
        protocol = self.root.partition("://")[0]
        return fsspec.filesystem(
            protocol, skip_instance_cache=True, use_listings_cache=False, **self.options
        )


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(
    command: list[str], port: int, log: Path, **environment: str
) -> Iterator[None]:
    """Run a server until the end of the block; its log is in the error when it does not start."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=log.parent,
        )
    try:
        give_up = time.monotonic() + 300
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=1),
            ):
                break
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(
                    f"{command[0]} did not start: {log.read_text()[-2000:]}"
                )
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[ObjectStore]:
    """An S3."""
    for package in ("moto", "s3fs", "flask", "flask_cors"):
        pytest.importorskip(
            package, reason=f"{package} is not installed: pip install prefect_ds[test]"
        )
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port, folder / "moto.log"), _proxy(port) as (proxy, at):
        options = {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": f"http://127.0.0.1:{at}",
            "client_kwargs": {"region_name": "us-east-1"},
        }
        # Not by s3fs, which asks for a location that us-east-1 does not know by its
        # name.
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        ).close()
        yield ObjectStore("s3", "s3://bucket", options, proxy)


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[ObjectStore]:
    """An Azure Blob Storage."""
    pytest.importorskip(
        "adlfs", reason="adlfs is not installed: pip install prefect_ds[azure]"
    )
    command = shutil.which("azurite-blob")
    if command is None:
        pytest.skip("no azurite-blob on the path: npm install -g azurite")
    port, key = free_port(), base64.b64encode(SECRET.encode() * 2).decode()
    flags = [
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        str(port),
        "-l",
        str(folder / "azurite"),
        "--skipApiVersionCheck",
    ]
    with (
        _running(
            [command, *flags],
            port,
            folder / "azurite.log",
            AZURITE_ACCOUNTS=f"tests:{key}",
        ),
        _proxy(port) as (proxy, at),
    ):
        endpoint = f"DefaultEndpointsProtocol=http;AccountName=tests;BlobEndpoint=http://127.0.0.1:{at}/tests"
        store = ObjectStore(
            "az",
            "az://bucket",
            {"connection_string": f"{endpoint};AccountKey={key};"},
            proxy,
        )
        store.fs.mkdir("bucket")
        yield store


@contextlib.contextmanager
def google(folder: Path) -> Iterator[ObjectStore]:
    """A Google Cloud Storage, which knows no conditions."""
    pytest.importorskip(
        "gcsfs", reason="gcsfs is not installed: pip install prefect_ds[gcs]"
    )
    if find_spec("gcp_storage_emulator") is None:
        pytest.skip("gcp-storage-emulator is not installed")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gcp_storage_emulator",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with (
        _running(
            [*command, "--in-memory", "--default-bucket", "bucket"],
            port,
            folder / "google.log",
        ),
        _proxy(port) as (proxy, at),
    ):
        options = {
            "endpoint_url": f"http://127.0.0.1:{at}",
            "token": "anon",
            "project": "tests",
        }
        yield ObjectStore("gs", "gs://bucket", options, proxy)


@contextlib.contextmanager
def memory(folder: Path) -> Iterator[ObjectStore]:
    """Fsspec's store in this process."""
    yield ObjectStore("memory", f"memory://{uuid.uuid4().hex}", {})


@contextlib.contextmanager
def real(folder: Path) -> Iterator[ObjectStore]:
    """What the environment names, such as ``s3://bucket/prefix``; no emulator proves a real store."""
    url = os.environ.get("PREFECT_DS_TEST_URL")
    if not url:
        pytest.skip(
            "PREFECT_DS_TEST_URL names no folder of a real store, PREFECT_DS_TEST_OPTIONS its options as JSON"
        )
    options = json.loads(os.environ.get("PREFECT_DS_TEST_OPTIONS", "{}"))
    store = ObjectStore(
        "real", f"{url.rstrip('/')}/prefect_ds-{uuid.uuid4().hex[:8]}", options
    )
    yield store
    with contextlib.suppress(FileNotFoundError):
        store.fs.rm(store.root, recursive=True)


SERVERS = {"memory": memory, "s3": moto, "az": azurite, "gs": google, "real": real}
