"""``CircuitBreakerServiceClient``: the control plane's REST API, a method an endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar, cast

from breakers.client.answers import (
    Alerts,
    BreakerInfo,
    BreakerMetrics,
    BreakerRow,
    BreakerState,
    ChangeRow,
    Dashboard,
    Health,
    HistoryRow,
    OverrideDone,
    ResetAllDone,
    ResetDone,
    SavedConfig,
)
from breakers.client.requests import Requests, path_of, shown
from breakers.core.config import CircuitBreakerConfig
from breakers.core.states import Override

__all__ = ["CircuitBreakerServiceClient", "circuit_breaker_client"]

Row = TypeVar("Row")
Config = CircuitBreakerConfig | Mapping[str, object]
"""A whole config, or fields of one."""


class CircuitBreakerServiceClient:
    """Asks the control plane. What is not given is read from the environment when a request is made:
    ``CIRCUIT_BREAKER_SERVICE_URL``, ``_TOKEN`` and ``_TIMEOUT``.

    Every method raises :class:`~breakers.client.errors.ServiceError` (see there), and answers with the JSON as dicts.
    ``if_match`` is the version that the caller has seen; another one in force is a ``VersionConflictError``.
    Any number of event loops may use one client, each has connections of its own, which end with the loop or with
    :meth:`close`; a closed client opens anew when it is used again.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None, timeout: float | None = None) -> None:
        """``timeout``: seconds for one request, its answer included."""
        self._given_url = url
        self._requests = Requests(url, token, timeout)

    def __repr__(self) -> str:
        url = None if self._given_url is None else shown(self._given_url)
        return f"CircuitBreakerServiceClient({url!r})"  # never the token

    @property
    def url(self) -> str:
        return self._requests.url

    @property
    def timeout(self) -> float:
        return self._requests.timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections of the running loop."""
        await self._requests.close()

    # --- reading -------------------------------------------------------------------------------------------------

    async def health_check(self) -> Health:
        """Also of a control plane that says it is unhealthy."""
        return cast(Health, (await self._requests.exchange("GET", "/health", telling="status", also=(503,)))[1])

    def iter_circuit_breakers(
        self,
        *,
        state: str | None = None,
        service: str | None = None,
        group: str | None = None,
        search: str | None = None,
        ordering: str | None = None,
    ) -> AsyncGenerator[BreakerRow, None]:
        """Rows page by page, as they are used."""
        query = {"state": state, "service": service, "group": group, "search": search, "ordering": ordering}
        return self._requests.pages("/circuit-breakers", {**query, "page_size": 1000})

    async def list_circuit_breakers(
        self,
        *,
        state: str | None = None,
        service: str | None = None,
        group: str | None = None,
        search: str | None = None,
        ordering: str | None = None,
    ) -> list[BreakerRow]:
        """The rows of all pages, each breaker once, also when breakers come and go between two pages."""
        rows = self.iter_circuit_breakers(state=state, service=service, group=group, search=search, ordering=ordering)
        return await _first(rows, None)

    async def get_circuit_breaker_info(self, name: str) -> BreakerInfo:
        return cast(BreakerInfo, await self._requests.send("GET", path_of(name), telling="instance_rows"))

    async def get_circuit_breaker_state(self, name: str) -> BreakerState:
        return cast(BreakerState, await self._requests.send("GET", path_of(name, "state"), telling="is_open"))

    async def get_circuit_breaker_metrics(self, name: str) -> BreakerMetrics:
        answer = await self._requests.send("GET", path_of(name, "metrics"), telling="requests_total")
        return cast(BreakerMetrics, answer)

    async def is_circuit_breaker_open(self, name: str) -> bool:
        """Also true when it is forced open."""
        return (await self.get_circuit_breaker_state(name))["is_open"]

    async def is_circuit_breaker_closed(self, name: str) -> bool:
        return (await self.get_circuit_breaker_state(name))["is_closed"]

    async def is_circuit_breaker_half_open(self, name: str) -> bool:
        return (await self.get_circuit_breaker_state(name))["is_half_open"]

    def iter_history(self, name: str, **filters: str) -> AsyncGenerator[HistoryRow, None]:
        """Transitions, newest first, page by page as they are used.

        ``filters``: ``service``, ``instance``, ``from_state``, ``to_state``, ``reason``, ``since``, ``until``.
        """
        return self._requests.pages(path_of(name, "history"), filters)

    async def get_history(self, name: str, *, limit: int | None = None, **filters: str) -> list[HistoryRow]:
        """The newest ``limit`` transitions, newest first; all that are kept without it. Filters as above."""
        return await _first(self.iter_history(name, **filters), limit)

    def iter_changes(self, name: str, **filters: str) -> AsyncGenerator[ChangeRow, None]:
        """Config and operator changes, newest first, page by page as they are used.

        ``filters``: ``kind``, ``actor``, ``since``, ``until``.
        """
        return self._requests.pages(path_of(name, "changes"), filters)

    async def get_changes(self, name: str, *, limit: int | None = None, **filters: str) -> list[ChangeRow]:
        """The newest ``limit`` changes, newest first; all that are kept without it. Filters as above."""
        return await _first(self.iter_changes(name, **filters), limit)

    async def get_dashboard_data(self) -> Dashboard:
        return cast(Dashboard, await self._requests.send("GET", "/dashboard", telling="summary"))

    async def get_alerts(self) -> Alerts:
        return cast(Alerts, await self._requests.send("GET", "/alerts", telling="alerts"))

    # --- acting --------------------------------------------------------------------------------------------------

    async def create_circuit_breaker(
        self,
        name: str | Config,
        config: Config | None = None,
        **further: object,
    ) -> BreakerInfo:
        """A breaker whose config the fleet takes over; absent fields take the default, ``name`` replaces the config's.

        A config alone has its name in it. ``further``: ``group``, ``description``, ``reason``, and single fields.
        """
        named = {"name": name} if isinstance(name, str) else _fields(name)
        body = {**_fields(config or {}), **further, **named}
        answer = await self._requests.send("POST", "/circuit-breakers", body, telling="instance_rows")
        return cast(BreakerInfo, answer)

    async def update_circuit_breaker_config(
        self, name: str, config: Config, *, reason: str | None = None, if_match: int | None = None
    ) -> SavedConfig:
        """Changes the fields that ``config`` names and leaves the others."""
        return await self._save("PATCH", name, config, reason, if_match)

    async def replace_circuit_breaker_config(
        self, name: str, config: Config, *, reason: str | None = None, if_match: int | None = None
    ) -> SavedConfig:
        """Makes ``config`` the whole config: absent fields go back to their default."""
        return await self._save("PUT", name, config, reason, if_match)

    async def _save(
        self, method: str, name: str, config: Config, reason: str | None, if_match: int | None
    ) -> SavedConfig:
        body = {**_fields(config), **_given(reason=reason)}
        path = path_of(name, "config")
        return cast(SavedConfig, await self._requests.send(method, path, body, telling="config", if_match=if_match))

    async def delete_circuit_breaker(
        self, name: str, *, reason: str | None = None, if_match: int | None = None
    ) -> None:
        """Instances return to the config that they have in code."""
        body = _given(reason=reason) or None
        await self._requests.send("DELETE", path_of(name), body, telling=None, if_match=if_match)

    async def set_override(
        self,
        name: str,
        override: Override | str,
        *,
        reason: str | None = None,
        expires_in: float | None = None,
        confirm: bool | None = None,
        if_match: int | None = None,
    ) -> OverrideDone:
        """Forces the breaker open or closed on every instance, until cleared or for ``expires_in`` seconds.

        Where most of its group would then reject every call, only with ``confirm``: else it is a conflict.
        """
        body = {"override": str(override), **_given(reason=reason, expires_in=expires_in, confirm=confirm)}
        path = path_of(name, "override")
        answer = await self._requests.send("PUT", path, body, telling="override", if_match=if_match)
        return cast(OverrideDone, answer)

    async def clear_override(
        self, name: str, *, reason: str | None = None, if_match: int | None = None
    ) -> OverrideDone:
        """Lifts what :meth:`set_override` has set."""
        body = _given(reason=reason) or None
        path = path_of(name, "override")
        answer = await self._requests.send("DELETE", path, body, telling="override", if_match=if_match)
        return cast(OverrideDone, answer)

    async def reset_circuit_breaker(
        self, name: str, *, reason: str | None = None, instance: str | None = None, if_match: int | None = None
    ) -> ResetDone:
        """CLOSED on every instance that runs now, or on ``instance`` alone; answers before they have confirmed."""
        body = _given(reason=reason, instance=instance)
        path = path_of(name, "reset")
        return cast(ResetDone, await self._requests.send("POST", path, body, telling="new_state", if_match=if_match))

    async def reset_all_circuit_breakers(self, *, reason: str | None = None) -> ResetAllDone:
        body, path = _given(reason=reason), "/circuit-breakers/reset-all"
        answer = await self._requests.send("POST", path, body, telling="reset_count")
        return cast(ResetAllDone, answer)


def _fields(config: Config) -> Mapping[str, object]:
    return config.as_dict() if isinstance(config, CircuitBreakerConfig) else config


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


async def _first(rows: AsyncGenerator[Row, None], limit: int | None) -> list[Row]:
    found: list[Row] = []
    async with aclosing(rows):
        while limit is None or len(found) < limit:
            try:
                found.append(await anext(rows))
            except StopAsyncIteration:
                break
    return found


circuit_breaker_client = CircuitBreakerServiceClient()
"""Ready-made; configured by the environment, read when a request is made."""
