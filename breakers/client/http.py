"""``HttpCircuitBreaker``: a breaker around aiohttp that answers as aiohttp does.

The breaker stands inside the retry: each attempt takes its own permit and is counted by itself, and an attempt that the
breaker rejects ends the retries. Retries do not multiply with those of a caller that gives up on the same open breaker.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from aiohttp import ClientResponse, ClientSession

from breakers.client.attempts import HttpCircuitBreakerOpenError
from breakers.client.exchange import fetch
from breakers.client.link import get_circuit_breaker
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import CircuitBreakerConfig, HttpConfig
from breakers.core.errors import ConfigError
from breakers.core.registry import registry
from breakers.core.states import CircuitBreakerState, Transition

if TYPE_CHECKING:
    from aiohttp.client import _RequestOptions
    from aiohttp.typedefs import StrOrURL

__all__ = ["HttpCall", "HttpCircuitBreaker", "HttpCircuitBreakerOpenError", "get_http_circuit_breaker"]


class HttpCall(Coroutine[Any, Any, ClientResponse]):
    """A request that is sent when awaited or entered, as what ``session.get()`` gives."""

    __slots__ = ("_coroutine", "_response", "_stream")

    def __init__(self, coroutine: Coroutine[Any, Any, ClientResponse], stream: bool) -> None:
        self._coroutine = coroutine
        self._stream = stream

    def __await__(self) -> Generator[Any, None, ClientResponse]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __aenter__(self) -> Awaitable[ClientResponse]:
        return self._enter_stream() if self._stream else self._coroutine

    async def _enter_stream(self) -> ClientResponse:
        self._response = await self._coroutine
        return await self._response.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream:  # else it has been read and its connection is back in the pool
            await self._response.__aexit__(kind, error, trace)


class HttpCircuitBreaker:
    """HTTP calls through ``breaker``; any number of sessions, tasks and event loops may share it.

    Every method takes what the session's own takes, and ``stream``. By default the body is read inside the guarded
    call, so that a broken body counts and the connection is back in the pool; ``stream=True`` leaves it open and
    settles when it ends, fails or is released. The breaker's ``timeout`` covers one attempt (of a stream: up to its
    headers); aiohttp's total limit covers all attempts with their waits. ``raise_for_status`` judges the last response,
    after the session's traces have seen each attempt end. Raises what aiohttp raises, and
    :class:`HttpCircuitBreakerOpenError`.
    """

    def __init__(self, breaker: CircuitBreaker | CircuitBreakerConfig, http: HttpConfig | None = None) -> None:
        """``http`` becomes the breaker's own; without it the breaker keeps what it has, else the defaults.

        A config makes a breaker outside any registry.
        """
        if isinstance(breaker, CircuitBreakerConfig):
            breaker = CircuitBreaker(breaker)
        if not isinstance(breaker, CircuitBreaker):
            raise TypeError(
                f"an HTTP breaker stands on a breaker or a config, not on {breaker!r}; "
                f"of a name it is get_http_circuit_breaker({breaker!r})"
            )
        self.breaker = breaker
        if http is not None or breaker.http_config is None:
            breaker.set_http(http or HttpConfig())

    def __repr__(self) -> str:
        return f"HttpCircuitBreaker({self.breaker!r})"

    @property
    def name(self) -> str:
        """What the fleet knows it by; also the plain breaker's."""
        return self.breaker.name

    @property
    def config(self) -> CircuitBreakerConfig:
        """The config in force: the fleet's, else the code's. Durations are seconds."""
        return self.breaker.config

    @property
    def http_config(self) -> HttpConfig:
        """The HTTP rules in force: the fleet's, else those given in code."""
        found = self.breaker.http_config
        assert found is not None  # noqa: S101  # set when this was made
        return found

    @property
    def state(self) -> CircuitBreakerState:
        """The machine's own, whatever an override says. Reading changes nothing."""
        return self.breaker.state

    def get_state(self) -> CircuitBreakerState:
        """The same as :attr:`state`."""
        return self.breaker.get_state()

    def get_metrics(self) -> dict[str, Any]:
        """State, counts, window, latency (seconds) and config at this moment; counts are cumulative, one an attempt."""
        return self.breaker.get_metrics()

    def reset(self) -> None:
        """CLOSED, with streak, window and back-off cleared; requests in flight will be late. Lifts no override."""
        self.breaker.reset()

    def force_open(self, expires_in: float | None = None, reason: str = "") -> None:
        """Sends nothing more until released, or for ``expires_in`` seconds. Raises ``ConfigError``."""
        self.breaker.force_open(expires_in, reason)

    def force_closed(self, expires_in: float | None = None, reason: str = "") -> None:
        """Sends every request until released, or for ``expires_in`` seconds; judges on. Raises ``ConfigError``."""
        self.breaker.force_closed(expires_in, reason)

    def release(self) -> None:
        """Lifts the override that code has set; the fleet's stays."""
        self.breaker.release()

    def configure(self, config: CircuitBreakerConfig) -> None:
        """A live edit by code; the name stays. Nothing learnt is lost, nothing is judged before the next completion.

        Raises ``TypeError`` on anything but a config.
        """
        self.breaker.configure(config)

    def on_transition(self, listener: Callable[[Transition], None]) -> Callable[[], None]:
        """Calls ``listener(transition)`` after each change of state, in order, in the thread that caused it.

        Returns the function that ends this. What a listener raises is logged.
        """
        return self.breaker.on_transition(listener)

    def get(
        self, session: ClientSession, url: StrOrURL, *, stream: bool = False, **options: Unpack[_RequestOptions]
    ) -> HttpCall:
        """A GET; redirects are followed as part of the one attempt. Sent again by the rules of :class:`HttpConfig`."""
        return HttpCall(fetch(self.breaker, session, "GET", url, stream, options), stream)

    def options(
        self, session: ClientSession, url: StrOrURL, *, stream: bool = False, **options: Unpack[_RequestOptions]
    ) -> HttpCall:
        """An OPTIONS request; as :meth:`get`."""
        return HttpCall(fetch(self.breaker, session, "OPTIONS", url, stream, options), stream)

    def head(
        self, session: ClientSession, url: StrOrURL, *, stream: bool = False, **options: Unpack[_RequestOptions]
    ) -> HttpCall:
        """A HEAD request, which follows no redirects unless told to; else as :meth:`get`."""
        options.setdefault("allow_redirects", False)  # as aiohttp's own
        return HttpCall(fetch(self.breaker, session, "HEAD", url, stream, options), stream)

    def post(
        self, session: ClientSession, url: StrOrURL, *, stream: bool = False, **options: Unpack[_RequestOptions]
    ) -> HttpCall:
        """A POST: sent once, unless ``retry_non_idempotent``; else as :meth:`get`."""
        return HttpCall(fetch(self.breaker, session, "POST", url, stream, options), stream)

    def put(
        self, session: ClientSession, url: StrOrURL, *, stream: bool = False, **options: Unpack[_RequestOptions]
    ) -> HttpCall:
        """A PUT; as :meth:`get`, and not sent again with a body that can be read only once."""
        return HttpCall(fetch(self.breaker, session, "PUT", url, stream, options), stream)

    def patch(
        self, session: ClientSession, url: StrOrURL, *, stream: bool = False, **options: Unpack[_RequestOptions]
    ) -> HttpCall:
        """A PATCH: sent once, unless ``retry_non_idempotent``; else as :meth:`get`."""
        return HttpCall(fetch(self.breaker, session, "PATCH", url, stream, options), stream)

    def delete(
        self, session: ClientSession, url: StrOrURL, *, stream: bool = False, **options: Unpack[_RequestOptions]
    ) -> HttpCall:
        """A DELETE; as :meth:`get`."""
        return HttpCall(fetch(self.breaker, session, "DELETE", url, stream, options), stream)

    def request(
        self,
        session: ClientSession,
        method: str,
        url: StrOrURL,
        *,
        stream: bool = False,
        **options: Unpack[_RequestOptions],
    ) -> HttpCall:
        """Any method, by its name; those of RFC 9110 that are idempotent are sent again, the others once."""
        return HttpCall(fetch(self.breaker, session, method, url, stream, options), stream)


_by_name: dict[str, HttpCircuitBreaker] = {}
_lock = threading.RLock()  # a listener that hears of a breaker's new rules may ask for another one


def _forget(breaker: CircuitBreaker) -> None:
    """What nobody else holds must be free to go: until then the link looks after it."""
    with _lock:
        if (found := _by_name.get(breaker.name)) is not None and found.breaker is breaker:
            del _by_name[breaker.name]


registry.on_forget(_forget)


def get_http_circuit_breaker(
    name: str, config: CircuitBreakerConfig | None = None, http: HttpConfig | None = None
) -> HttpCircuitBreaker:
    """The HTTP breaker ``name`` of this process, made at the first call; one machine with the plain one of that name.

    A second ``config`` or ``http`` that differs from the first is a :class:`ConfigError`.
    """
    breaker = get_circuit_breaker(name, config, http=http or HttpConfig())
    with _lock:
        if http is not None and breaker.code_http_config not in (None, http):
            raise ConfigError({"http": f"'{name}' has another HTTP config already"})
        found = _by_name.get(name)
        if found is None or found.breaker is not breaker or breaker.code_http_config is None:
            found = _by_name[name] = HttpCircuitBreaker(breaker, http)
        return found
