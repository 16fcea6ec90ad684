"""The page's server. It listens on 127.0.0.1 alone, and answers those who know the token in the page's address.

Served by Werkzeug (BSD, by Pallets, the ground that Flask stands on): requests, uploads with limits, a server with
threads and a client for tests are all that five addresses need, and TensorBoard brings it along already.
Other pages in the user's browser can reach 127.0.0.1 too. They do not know the token; a name of theirs that points here
is refused by the Host header, their posts by the Origin header.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from ..core.errors import DarkroomError, DataError
from .painter import Painter, decode

HOST = "127.0.0.1"
MAX_UPLOAD = 64 * 2**20
"""Bytes of a request: a photograph and what is drawn over it."""
FILES = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
"""What is served as it is: its address, its name in this folder, its kind."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(DarkroomError):
    """A request that is not answered, with the status that says why."""

    def __init__(self, status: int, message: str) -> None:
        """``status`` of HTTP and a ``message`` for the user."""
        super().__init__(message)
        self.status = status


class _Limited(Request):
    max_content_length = MAX_UPLOAD
    max_form_parts = 8


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing: the addresses hold the token."""


class Application:
    """The WSGI application: ``GET``s of the page and of the first photograph, ``POST``s of what is to be computed."""

    def __init__(self, painter: Painter, port: int, first: tuple[str, bytes] | None = None) -> None:
        """``first`` is the name and the contents of the photograph that the page opens by itself."""
        self.painter = painter
        self.first = first
        self.token = secrets.token_urlsafe(16)
        self.hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        self.url = f"http://{HOST}:{port}/{self.token}/"
        self.at_work = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request; what goes wrong is said in words, which the page shows."""
        try:
            response = self._answer(_Limited(environ))
        except Refused as error:
            response = _text(error.status, str(error))
        except DarkroomError as error:
            response = _text(400, str(error))
        except RequestEntityTooLarge:
            response = _text(413, f"expected at most {MAX_UPLOAD // 2**20} MiB; make the photograph smaller first")
        except HTTPException as error:
            response = _text(error.code or 400, f"{error.name}: {error.description}")
        except Exception as error:
            traceback.print_exc()
            response = _text(500, f"the model failed, the terminal shows where: {type(error).__name__}: {error}")
        response.headers.update(HEADERS)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        name = self._admitted(request)
        if request.method == "GET":
            return self._file(name)
        if request.method != "POST" or name not in ("show", "edges", "fill"):
            raise Refused(404, f"there is no {request.method} of {name!r} here")
        sent = {field: file.read() for field, file in request.files.items()}
        with self.at_work:
            return self._computed(name, sent)

    def _admitted(self, request: Request) -> str:
        """The address below the token.

        Raises:
            Refused: the request does not come from our page.
        """
        host = request.headers.get("Host", "")
        if host not in self.hosts:
            raise Refused(403, f"expected the host {HOST}, found {host!r}")
        token, slash, name = request.path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.token.encode()):
            raise Refused(403, "open the whole address that the terminal shows: it holds a token, new at every start")
        if request.method == "POST" and request.headers.get("Origin") != f"http://{host}":
            raise Refused(403, "this was sent by another page")
        return name

    def _file(self, name: str) -> Response:
        if name == "first":
            if self.first is None:
                return Response(status=204)
            title, contents = self.first
            return Response(contents, mimetype="application/octet-stream", headers={"X-Name": quote(title)})
        if name not in FILES:
            raise Refused(404, f"there is no {name!r} here")
        file, kind = FILES[name]
        return Response((Path(__file__).parent / file).read_bytes(), mimetype=kind)

    def _computed(self, name: str, sent: dict[str, bytes]) -> Response:
        def part(field: str) -> bytes:
            if field not in sent:
                raise Refused(400, f"expected a file {field!r} in the request, found {sorted(sent)}")
            return sent[field]

        if name == "show":
            image, (height, width) = self.painter.show(part("photograph"))
            return Response(image, mimetype="image/png", headers={"X-Size": f"{width} {height}"})
        make = self.painter.edges if name == "edges" else self.painter.fill
        return Response(make(part("photograph"), part("mask"), part("edges")), mimetype="image/png")


def _text(status: int, message: str) -> Response:
    return Response(message, status, mimetype="text/plain")


def first_photograph(path: Path) -> tuple[str, bytes]:
    """The name and the contents of the photograph to begin with.

    Raises:
        DataError: it cannot be read, or is too large for the page to send.
    """
    try:
        size = path.stat().st_size
        if size > MAX_UPLOAD:
            raise DataError(f"{path}: expected at most {MAX_UPLOAD // 2**20} MiB, found {size / 2**20:.0f} MiB")
        contents = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    decode(contents, str(path))
    return path.name, contents


class Server:
    """The page under an address of this machine; requests are taken from the moment that it is made."""

    def __init__(self, painter: Painter, port: int = 0, first: tuple[str, bytes] | None = None) -> None:
        """Take ``port``, or a free one.

        Raises:
            DarkroomError: the port is in use or not to be had.
        """
        try:
            taken = socket.create_server((HOST, port))
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise DarkroomError(f"port {port}: {reason}; choose another --port, or none to get a free one") from None
        with taken:
            port = taken.getsockname()[1]
            self.application = Application(painter, port, first)
            self._server = make_server(
                HOST, port, self.application, threaded=True, request_handler=_Quiet, fd=taken.fileno()
            )
        self.url = self.application.url

    def run(self) -> None:
        """Serve for as long as the process lives."""
        self._server.serve_forever()
