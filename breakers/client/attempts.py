"""One attempt on the wire and what it proves: shared by the HTTP breaker and the middleware of aiohttp."""

from __future__ import annotations

import asyncio
import functools
import sys
from asyncio import CancelledError
from collections.abc import Callable
from time import monotonic
from typing import Any

import aiohttp
from aiohttp import ClientResponse
from aiohttp.http import HttpProcessingError

from breakers.client.bodies import make_droppable, reader_of, tell_of_the_end
from breakers.core.breaker import CircuitBreaker
from breakers.core.config import HttpConfig, parse_statuses
from breakers.core.deadlines import Deadline, current_task, no_task, queue_for
from breakers.core.errors import CircuitBreakerOpenError
from breakers.core.states import Outcome, Permit

_ANSWERED = (aiohttp.TooManyRedirects, aiohttp.RedirectClientError)
"""The dependency answered; where it pointed is no sign of ill health."""
_NOT_SENT = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, CircuitBreakerOpenError)
"""Nothing went out: a wrong address, or a breaker further inside that rejected."""
_BROKEN = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError)
_OF_TRANSPORTS = (*_BROKEN, RuntimeError)
"""What writing to a connection raises; uvloop's transports raise ``RuntimeError`` when they are closed."""
CLOSED = RuntimeError("Session is closed")
"""What any error is when the session was closed under its request, which says nothing of who was asked; it is what
aiohttp raises for who comes afterwards."""
DROPPED = (CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)

statuses = parse_statuses
"""The set that ``"429,500-599"`` stands for; parsed once."""


@functools.lru_cache(maxsize=256)
def notable(failure_statuses: str, retry_statuses: str) -> frozenset[int]:
    """The statuses of a response that is more than a plain success; 101 goes on as something else."""
    return statuses(failure_statuses) | statuses(retry_statuses) | {101}


class HttpCircuitBreakerOpenError(CircuitBreakerOpenError, aiohttp.ClientConnectionError):
    """A rejection that handlers of aiohttp's errors already catch; the request was not sent."""


def acquire(breaker: CircuitBreaker) -> Permit:
    """Raises :class:`HttpCircuitBreakerOpenError`."""
    try:
        return breaker.acquire()
    except CircuitBreakerOpenError as error:
        raise HttpCircuitBreakerOpenError(error.name, error.state, error.reason, error.retry_after) from None


def arm(limit: float | None) -> Deadline | None:
    """A deadline of the calling task, ``limit`` seconds from now; a fraction of what ``asyncio.timeout`` costs."""
    if limit is None:
        return None
    loop = asyncio.get_running_loop()
    return Deadline(queue_for(loop, limit, monotonic), current_task(loop) or no_task(), loop.time())


def disarm(deadline: Deadline | None) -> bool:
    """Whether the deadline has struck, and nobody else wants the task cancelled; its own request is taken back."""
    return deadline is not None and deadline.leave() and take_back(deadline.task, deadline.cancelling)


def struck(deadline: Deadline | None) -> bool:
    """The same where the attempt has ended with an answer: it is late, whoever else wants the task cancelled."""
    if deadline is None or not deadline.leave():
        return False
    take_back(deadline.task, deadline.cancelling)
    return True


def take_back(task: asyncio.Task[Any], cancelling: int) -> bool:
    """A deadline has struck: takes its request back. False: somebody else wants the task cancelled, too."""
    return task.uncancel() <= cancelling


def settle_limited(breaker: CircuitBreaker, permit: Permit, struck: bool, error: BaseException) -> TimeoutError | None:
    """Settles an attempt that ended with ``error``; what to raise instead, where its own deadline has cancelled it."""
    late = _too_late(breaker) if struck and isinstance(error, CancelledError) else None
    settle_error(breaker, permit, late or error)
    return late


def settle_late(breaker: CircuitBreaker, permit: Permit) -> None:
    """An answer that comes as its deadline strikes: as of ``breaker.call()`` a timeout, and the caller has it."""
    breaker.settle(permit, Outcome.FAILURE, error=_too_late(breaker), timed_out=True)


def name_the_limit(breaker: CircuitBreaker, error: BaseException) -> None:
    """Where aiohttp's timer has kept the breaker's limit its error says neither whose that was nor how long."""
    if type(error) is TimeoutError and not error.args:
        error.args = _too_late(breaker).args


def _too_late(breaker: CircuitBreaker) -> TimeoutError:
    return TimeoutError(f"Circuit breaker '{breaker.name}': no answer within {breaker.config.timeout:g} s")


def outcome_of(breaker: CircuitBreaker, error: BaseException) -> Outcome:
    """What an attempt that ended with ``error`` proves; errors of the caller's own making prove nothing."""
    if isinstance(error, _ANSWERED):
        return Outcome.SUCCESS
    if isinstance(error, _BROKEN) and not isinstance(error, _NOT_SENT) and not _is_of_the_body_sent(error):
        return breaker.judge(error)
    return Outcome.NEUTRAL


def _is_of_the_body_sent(error: BaseException) -> bool:
    """Whether what the caller wanted to send could not be made: aiohttp shows that as a broken connection."""
    cause = error.__cause__ if type(error) is aiohttp.ClientConnectionError else None
    return isinstance(cause, Exception) and not isinstance(cause, _OF_TRANSPORTS)


def settle_error(breaker: CircuitBreaker, permit: Permit, error: BaseException) -> None:
    breaker.settle(permit, outcome_of(breaker, error), error=error, timed_out=isinstance(error, TimeoutError))


def settle_answer(breaker: CircuitBreaker, permit: Permit, response: ClientResponse, http: HttpConfig) -> None:
    """Judges by the status, then by ``failure_if``: the body is whole, or cannot change the verdict."""
    if response.status in statuses(http.failure_statuses):
        breaker.settle(permit, Outcome.FAILURE, error=status_error(response))
    else:
        breaker._settle_result(permit, response)


def settle_with_body(
    breaker: CircuitBreaker,
    permit: Permit,
    response: ClientResponse,
    http: HttpConfig,
    timed_out: Callable[[], bool],
) -> None:
    """Settles when the body ends, fails or is dropped; at once where the status is a failure or the body is here.

    At once also where the connection is a websocket from now on: it was the handshake that was guarded.

    ``timed_out`` says whether aiohttp's own limit of the whole request has passed; it may not lead to the response.
    """
    connection, content = response.connection, reader_of(response)  # not the response: a dropped one is free to go
    if connection is None or response.status == 101:
        settle_answer(breaker, permit, response, http)
        return
    make_droppable(response)
    if response.status in statuses(http.failure_statuses):
        settle_answer(breaker, permit, response, http)
        return
    if breaker._failure_if is not None and breaker._settle_if_failure(permit, response):
        return

    def settle() -> None:
        if content.is_eof():
            breaker.settle(permit, Outcome.SUCCESS)
            return
        error = _end_of(content, timed_out)
        if error is None:
            breaker.settle(permit, Outcome.SUCCESS)  # it answered well; the caller had read enough
        else:
            settle_error(breaker, permit, error)

    connection.add_callback(settle)
    tell_of_the_end(content, settle)


def _end_of(content: aiohttp.StreamReader, timed_out: Callable[[], bool]) -> BaseException | None:
    """The error that ended an unfinished body; ``None`` when its reader let go of it."""
    error = content.exception()
    if error is not None and type(error) is not aiohttp.ClientConnectionError:  # that exact class: let go of
        return error
    # aiohttp tells its readers alone of cancellation and of the request's time limit: they are in flight here
    current = sys.exception()
    if isinstance(current, DROPPED) or (isinstance(current, TimeoutError) and timed_out()):
        return current
    return None


def status_error(response: ClientResponse) -> aiohttp.ClientResponseError:
    """A failing status as the exception that ``raise_for_status`` would raise; for the cause that people read."""
    return aiohttp.ClientResponseError(
        response.request_info,
        response.history,
        status=response.status,
        message=response.reason or "",
        headers=response.headers,
    )
