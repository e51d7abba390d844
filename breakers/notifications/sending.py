"""One attempt to deliver one message. Problems are sentences that give away no address and no secret."""

from __future__ import annotations

import hashlib
import hmac
import json
import warnings
from functools import cache
from types import ModuleType
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from .messages import Outgoing

TIMEOUT: Final = 10.0
_APPRISE_TYPES: Final = {"error": "failure", "warning": "warning"}


class _NoRedirects(HTTPRedirectHandler):
    """A body that was signed for one address does not go to another."""

    def redirect_request(self, *_: Any) -> None:  # as the standard library calls it
        return None


_opener = build_opener(_NoRedirects)


def send(message: Outgoing) -> str | None:
    """``None`` when it arrived, else why not. Takes at most some ten seconds; never raises."""
    try:
        return _by_apprise(message) if message.channel == "apprise" else _by_webhook(message)
    except Exception as problem:  # a plugin of apprise may raise whatever it likes
        return f"failed: {type(problem).__name__}"


def _by_webhook(message: Outgoing) -> str | None:
    body = json.dumps(dict(message.message)).encode()
    request = Request(message.address, body, _headers(message, body), method="POST")  # noqa: S310  # checked when saved
    try:
        with _opener.open(request, timeout=TIMEOUT):
            return None
    except HTTPError as problem:
        problem.close()
        return f"answered {problem.code}"
    except URLError as problem:
        return f"not reached: {problem.reason}"
    except TimeoutError:
        return f"no answer within {TIMEOUT:g} s"


def _headers(message: Outgoing, body: bytes) -> dict[str, str]:
    """``X-Circuit-Breaker-Signature`` is the HMAC-SHA256 of the body; the id stays the same over all attempts."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "tradpal-circuit-breakers",
        "X-Circuit-Breaker-Event": message.event,
        "X-Circuit-Breaker-Delivery": str(message.id),
    }
    if message.signing_secret:
        digest = hmac.new(message.signing_secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Circuit-Breaker-Signature"] = f"sha256={digest}"
    return headers


def _by_apprise(message: Outgoing) -> str | None:
    target = _apprise().Apprise()
    if not target.add(message.address):
        return "apprise does not know this address"
    arrived = target.notify(body=message.body, title=message.title, notify_type=_type_of(message))
    return None if arrived else "apprise did not deliver it: the service refused it or did not answer"


@cache
def _apprise() -> ModuleType:
    """Loaded when first asked for: it brings a hundred services, and most servers use none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its services load what Python 3.13 removes
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    return apprise


def _type_of(message: Outgoing) -> str:
    """By which apprise chooses colour and icon."""
    if message.event == "firing":
        return _APPRISE_TYPES.get(str(message.message.get("level")), "info")
    return "success" if message.event == "resolved" else "info"


def address_problem(channel: str, address: str) -> str | None:
    """Why nothing can be sent to this address; ``None`` where it may."""
    if channel == "apprise":
        return None if _apprise().Apprise.instantiate(address) else "is no address that apprise knows"
    parts = urlsplit(address)
    well = parts.scheme in ("http", "https") and parts.hostname
    return None if well else "must be an http or https address"
