"""Whether an HTTP request may be sent again, and after how long. Nothing of it runs before a first attempt failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from aiohttp import ClientResponse
from aiohttp.payload import BytesPayload
from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from breakers.client.attempts import statuses
from breakers.core.config import HttpConfig
from breakers.core.errors import CircuitBreakerOpenError

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110, 9.2.2."""
TRANSIENT = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
_LASTING = (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch, CircuitBreakerOpenError)
_PLAIN = (str, bytes, bytearray, memoryview, int, float)
_ITERATED = ("headers", "cookies", "skip_auto_headers", "proxy_headers")  # by aiohttp
_RETRYING = AsyncRetrying()  # RetryCallState wants one; it decides nothing here


def may_send_again(http: HttpConfig, method: str, options: Mapping[str, Any]) -> bool:
    """By the method, and by what the request carries: iterators, generators, files and forms can be read only once."""
    return (
        http.max_retries > 0
        and (http.retry_non_idempotent or method.upper() in IDEMPOTENT)
        and options.get("upload_tracker") is None
        and not any(isinstance(options.get(name), Iterator) for name in _ITERATED)
        and _is_repeatable(options.get("data"))
    )


def _is_repeatable(body: object) -> bool:
    if isinstance(body, Mapping):
        return all(isinstance(value, _PLAIN) for value in body.values())
    if isinstance(body, list | tuple):
        return all(isinstance(pair, Iterable) and all(isinstance(value, _PLAIN) for value in pair) for pair in body)
    return body is None or isinstance(body, (*_PLAIN, BytesPayload))


def deserves_another(http: HttpConfig, ended: ClientResponse | Exception) -> bool:
    """Whether what an attempt ended with may pass by itself."""
    if isinstance(ended, Exception):
        return isinstance(ended, TRANSIENT) and not isinstance(ended, _LASTING)
    return ended.status in statuses(http.retry_statuses)


def wait_before(http: HttpConfig, attempt: int, ended: ClientResponse | Exception) -> float:
    """Seconds until attempt ``attempt`` + 1: what ``Retry-After`` asks for, else doubling with full jitter.

    Neither is ever longer than ``max_retry_wait``.
    """
    return wait_after(http, attempt, ended.headers if isinstance(ended, ClientResponse) else None)


def wait_after(http: HttpConfig, attempt: int, headers: Mapping[str, str] | None) -> float:
    """The same by the headers of the response, if there was one."""
    asked = None if headers is None else retry_after(headers)
    if asked is not None:
        return min(asked, http.max_retry_wait)
    state = RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = attempt
    return wait_random_exponential(multiplier=http.retry_backoff, max=http.max_retry_wait)(state)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or a date (RFC 9110, 10.2.3); ``None``: nothing readable."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    until = _date(text)
    if until is None:
        return None
    now = _date(headers.get("Date", "")) or datetime.now(UTC)  # the server's clock first: ours may differ
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
