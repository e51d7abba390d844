"""``connect()``, and the ``get_circuit_breaker()`` that may do it by itself."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from importlib import metadata
from multiprocessing import util as multiprocessing_util
from pathlib import Path
from typing import Protocol, TypeVar

from breakers.core import registry as core
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.sync import Sync

from .cache import DesiredCache
from .carrier import FLUSH, Link, LinkStatus
from .requests import DEFAULT_URL

__all__ = ["Link", "LinkStatus", "connect", "get_circuit_breaker"]


class AnyLink(Protocol):
    """A link of whatever kind, as this module ends it and takes it over a ``fork``."""

    @property
    def sync(self) -> Sync: ...
    @property
    def ended(self) -> bool: ...
    def begin_close(self) -> None: ...
    def finish_close(self, deadline: float) -> None: ...
    def begin_anew(self) -> None: ...


L = TypeVar("L", bound=AnyLink)

_lock = threading.Lock()
_links: weakref.WeakSet[AnyLink] = weakref.WeakSet()
_left: dict[str, AnyLink] = {}
"""The last link to each place: what comes after it in this process goes on where it stopped."""
_implicit: Link | None = None
_decided = False
"""Whether this process has been linked, by whichever way: no implicit link starts any more."""


def connect(service: str | None = None, url: str | None = None, token: str | None = None) -> Link:
    """Links this process to the control plane, in the background; arguments left out come from the environment.

    Takes the place of an implicit link. Never raises for a server that is away, wrong or unwilling: ``status()`` says.
    """
    _leave_implicit()
    return _open(service, url, token)


def connect_otherwise(place: str, service: str | None, make: Callable[[Sync, DesiredCache | None], L]) -> L:
    """Links this process to ``place`` by what ``make`` gives, in the place of an implicit link."""
    _leave_implicit()
    sync = _sync(service_name(service), place)
    return _keep(place, make(sync, _remembered(sync)))


def _leave_implicit() -> None:
    global _decided, _implicit
    with _lock:
        implicit, _implicit, _decided = _implicit, None, True
    if implicit is not None:
        implicit.close()


def get_circuit_breaker(
    name: str, config: CircuitBreakerConfig | None = None, *, http: HttpConfig | None = None
) -> CircuitBreaker:
    """The breaker of this name, made at the first call; ``name`` replaces ``config.name``.

    A second, different config is a ``ConfigError``. ``http``: what an HTTP breaker that is made here has from the
    beginning, so that the fleet never hears of it without.
    Links this process if ``CIRCUIT_BREAKER_SERVICE_URL`` is set.
    """
    breaker = core.registry.get_or_create(name, config, http=http)
    if not _decided and os.environ.get("CIRCUIT_BREAKER_SERVICE_URL"):
        _connect_implicitly()
    return breaker


def _connect_implicitly() -> None:
    global _decided, _implicit
    with _lock:
        if not _decided:
            _decided, _implicit = True, _open(None, None, None)


def _open(service: str | None, url: str | None, token: str | None) -> Link:
    url = url or os.environ.get("CIRCUIT_BREAKER_SERVICE_URL") or DEFAULT_URL
    token = token or os.environ.get("CIRCUIT_BREAKER_SERVICE_TOKEN")
    sync = _sync(service_name(service), url)
    return _keep(url, Link(sync, url=url, token=token, cache=_remembered(sync)))


def _remembered(sync: Sync) -> DesiredCache | None:
    """The cache, if this program has one; ``sync`` begins with what it holds."""
    cache = DesiredCache.configured()
    if cache is not None:
        sync.seed(cache.read())
    return cache


def _keep(place: str, link: L) -> L:
    _left[place] = link
    _links.add(link)
    return link


def _sync(service: str, place: str) -> Sync:
    """One that goes on where an ended link to ``place`` stopped; beside one that runs, it counts from now."""
    last = _left.get(place)
    if last is not None and last.ended:
        last.sync.reopen(service)
        return last.sync
    return Sync(core.registry, service=service, library=_library(), from_now=last is not None)


def service_name(service: str | None = None) -> str:
    """``service``, else the environment's, else the running program's."""
    return service or os.environ.get("CIRCUIT_BREAKER_SERVICE_NAME") or _program()


def _program() -> str:
    """Name of the running program: ``trading`` for ``trading.py`` and for ``python -m trading``."""
    path = Path(sys.argv[0] if sys.argv else "")
    name = path.parent.name if path.stem == "__main__" else path.stem
    return name if name not in ("", "-c") else "python"


def _library() -> str:
    try:
        return f"tradpal-circuit-breakers/{metadata.version('tradpal-circuit-breakers')}"
    except metadata.PackageNotFoundError:  # run from a checkout
        return "tradpal-circuit-breakers"


@atexit.register
def _close_all() -> None:
    links, deadline = list(_links), time.monotonic() + FLUSH
    for link in links:
        link.begin_close()
    for link in links:
        link.finish_close(deadline)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for link in list(_links):
        link.begin_anew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
    # multiprocessing's children end without atexit
    multiprocessing_util.register_after_fork(
        _links, lambda _: multiprocessing_util.Finalize(None, _close_all, exitpriority=0)
    )
