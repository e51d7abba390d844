"""One attempt to deliver one message. Problems are sentences that give away no address and no secret."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import warnings
from functools import cache
from types import ModuleType
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from .messages import Outgoing

TIMEOUT: Final = 10.0
"""Seconds of a whole attempt: a target that answers a letter at a time has no more than one that says nothing."""
_APPRISE_TYPES: Final = {"error": "failure", "warning": "warning"}


def send(message: Outgoing) -> str | None:
    """``None`` when it arrived, else why not. Takes at most some ten seconds; never raises."""
    try:
        return _by_apprise(message) if message.channel == "apprise" else _by_webhook(message)
    except Exception as problem:  # a plugin of apprise may raise whatever it likes
        return f"failed: {type(problem).__name__}"


def _by_webhook(message: Outgoing) -> str | None:
    body = json.dumps(dict(message.message)).encode()
    try:
        status = asyncio.run(_post(message, body))
    except TimeoutError:
        return f"no answer within {TIMEOUT:g} s"
    except aiohttp.ClientConnectorCertificateError:
        return "not reached: its certificate is not valid"
    except aiohttp.ClientConnectorError as problem:
        number = problem.errno or 0  # above 0 the system's, else the name server's, which has its own words
        return f"not reached: {os.strerror(number) if number > 0 else problem.strerror}"
    except aiohttp.ServerDisconnectedError:
        return "closed without an answer"
    return None if 200 <= status < 300 else f"answered {status}"


async def _post(message: Outgoing, body: bytes) -> int:
    """The status. A body that was signed for one address does not go to another: no redirect is followed."""
    limit = aiohttp.ClientTimeout(total=TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=limit, trust_env=True) as session,
        session.post(message.address, data=body, headers=_headers(message, body), allow_redirects=False) as answer,
    ):
        return answer.status


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
    apprise = _apprise()
    target, service = apprise.Apprise(), apprise.Apprise.instantiate(message.address)
    if not service:
        return "apprise does not know this address"
    target.add(service)
    text = apprise.NotifyFormat.TEXT  # what comes from services is no markup
    kind = _type_of(message)
    arrived = target.notify(body=message.body, title=message.title, notify_type=kind, body_format=text)
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
    return None if _is_web_address(address) else "must be an http or https address"


def _is_web_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return False
    plain = address.isprintable() and " " not in address
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
