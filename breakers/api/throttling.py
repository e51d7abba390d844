"""How many requests a second a key, a person or a stranger may make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from breakers.access import buckets, network_of
from breakers.models import ApiKey

from .permissions import key_of

if TYPE_CHECKING:  # the views import this throttle, through the settings
    from rest_framework.views import APIView

KEY_RATE: Final = 1000.0
PERSON_RATE: Final = 100.0
STRANGER_RATE: Final = 50.0
_SECONDS_OF_BURST: Final = 2.0
_WRONG_KEYS: Final = 10.0
_WRONG_KEYS_BURST: Final = 50.0
_COUNTED: Final = "_counted_by_throttle"


def wait_of(request: Request | HttpRequest) -> float:
    """0 when the caller may make this request, which is thereby counted, once; else the seconds to wait."""
    made = getattr(request, "_request", request)
    if getattr(made, _COUNTED, False):
        return 0.0
    wait = _wait_of(request)
    setattr(made, _COUNTED, not wait)
    return wait


def _wait_of(request: Request | HttpRequest) -> float:
    key, user = key_of(request), request.user
    if key is not None:
        return wait_of_key(key)
    if user.is_authenticated:
        return _take(f"user {user.pk}", "CIRCUIT_BREAKER_USER_RATE", PERSON_RATE)
    return wait_of_stranger(network_of(request))


def wait_of_key(key: ApiKey) -> float:
    """The same of one more request with this key."""
    return _take(f"key {key.pk}", "CIRCUIT_BREAKER_KEY_RATE", KEY_RATE)


def wait_of_stranger(network: str) -> float:
    """The same of one more request of nobody in particular, who comes from there."""
    return _take(f"stranger {network}", "CIRCUIT_BREAKER_ANONYMOUS_RATE", STRANGER_RATE)


def _take(caller: str, setting: str, default: float) -> float:
    rate = getattr(settings, setting, default)
    return buckets.take(caller, rate=rate, burst=max(_SECONDS_OF_BURST * rate, 1.0))


class CallerThrottle(BaseThrottle):
    """Counts a request once it is known who makes it."""

    def __init__(self) -> None:
        self._wait = 0.0

    def allow_request(self, request: Request, view: APIView) -> bool:
        self._wait = wait_of(request)
        return not self._wait

    def wait(self) -> float:
        return math.ceil(self._wait)


def may_try_keys(request: HttpRequest) -> None:
    """Raises ``Throttled`` for an address that came with many wrong keys: their digests are not even looked up."""
    caller = f"wrong key {network_of(request)}"
    if not buckets.may(caller, rate=_WRONG_KEYS, burst=_WRONG_KEYS_BURST):
        raise Throttled(wait=1)


def note_wrong_key(request: HttpRequest) -> None:
    buckets.take(f"wrong key {network_of(request)}", rate=_WRONG_KEYS, burst=_WRONG_KEYS_BURST)
