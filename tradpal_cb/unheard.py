"""What daphne refuses before anything of ours hears of it, in the API's one shape as well.

What is no HTTP never becomes a request of ours: Twisted answers an empty 400, and to a line without end nothing at all.
"""

from __future__ import annotations

import json
from typing import Any, Final

from daphne import http_protocol
from twisted.web import http

_CODES: Final = {400: "bad_request", 431: "too_large", 500: "internal", 503: "unavailable"}
_LINES: Final = {400: b"400 Bad Request", 431: b"431 Request Header Fields Too Large"}


def _body(status: int, message: str) -> bytes:
    return json.dumps({"error": {"code": _CODES[status], "message": message, "fields": {}}}).encode()


class Channel(http.HTTPChannel):
    """A connection on which what cannot be read is answered, and then closed."""

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802  # the one place where Twisted refuses
        self._refuse(400, "This is not HTTP that can be read.")

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802  # Twisted's name
        self._refuse(431, "The address or a header is too long.")

    def _refuse(self, status: int, message: str) -> None:
        body = _body(status, message)
        head = (
            b"HTTP/1.1 " + _LINES[status],
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            b"Connection: close",
        )
        transport: Any = self.transport  # a connection, as far as Twisted's types do not say
        transport.write(b"\r\n".join((*head, b"", body)))
        self.loseConnection()  # type: ignore[no-untyped-call]  # Twisted has types for some of itself


class Request(http_protocol.WebRequest):
    """Its body is Django's to read, whatever it is: not parsed here as well, and refused where that fails."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # as its parent
        super().__init__(*arguments, **options, parsePOSTFormSubmission=False)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        headers = [(b"Content-Type", b"application/json")]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": _body(status, f"{body.rstrip('.')}.")})


def install() -> None:
    """For every daphne of this process that listens later."""
    http_protocol.WebRequest = Request
    if not http.H2_ENABLED:  # the choice between versions of HTTP is Twisted's own protocol
        http_protocol.HTTPFactory.protocol = Channel
