"""How a call that ended counts: ``ignore``, ``record`` and ``failure_if`` of one breaker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from .kinds import STOPS_THE_PROGRAM, is_coroutine_function
from .log import log
from .states import Outcome

ErrorFilter = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Exception classes, or a predicate."""

# somebody stopped the call; says nothing of the dependency
_STOPPED = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)


class Judgement:
    """Classes and predicates that tell evidence from noise. A predicate that raises is logged, and decides nothing."""

    __slots__ = ("failure_if", "ignore", "name", "plain", "record")

    def __init__(
        self, name: str, ignore: ErrorFilter, record: ErrorFilter, failure_if: Callable[[object], bool] | None
    ) -> None:
        self.name = name
        self.ignore = _checked("ignore", ignore)
        self.record = _checked("record", record)
        if failure_if is not None and not callable(failure_if):
            raise TypeError(f"failure_if must be callable or None, not {failure_if!r}")
        _refuse_awaiting("failure_if", failure_if)
        self.failure_if = failure_if
        self.plain = self.ignore == () and self.record == (Exception,)
        """The defaults, which most breakers have: every ``Exception`` is a failure."""

    def of_error(self, error: BaseException) -> Outcome:
        """Ignore wins; what is outside ``record`` is a success: the dependency answered."""
        if isinstance(error, _STOPPED) or self._matches("ignore", self.ignore, error, otherwise=False):
            return Outcome.NEUTRAL
        if self._matches("record", self.record, error, otherwise=True):
            return Outcome.FAILURE
        return Outcome.SUCCESS

    def of_result(self, result: object) -> Outcome:
        if self.failure_if is None:
            return Outcome.SUCCESS
        try:
            return Outcome.FAILURE if self.failure_if(result) else Outcome.SUCCESS
        except STOPS_THE_PROGRAM:
            raise
        except BaseException as bug:
            self._complain("failure_if", bug)
            return Outcome.SUCCESS

    def _matches(self, which: str, accepted: ErrorFilter, error: BaseException, *, otherwise: bool) -> bool:
        if isinstance(accepted, type | tuple):
            return isinstance(error, accepted)
        try:
            return bool(accepted(error))
        except STOPS_THE_PROGRAM:
            raise
        except BaseException as bug:
            self._complain(which, bug)
            return otherwise

    def _complain(self, which: str, bug: BaseException) -> None:
        log(logging.ERROR, "Circuit breaker '%s': its %s predicate raised", self.name, which, error=bug)


def _checked(which: str, accepted: ErrorFilter) -> ErrorFilter:
    if isinstance(accepted, list | set | frozenset):
        accepted = tuple(accepted)
    classes = accepted if isinstance(accepted, tuple) else (accepted,)
    if isinstance(accepted, tuple | type):
        if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in classes):
            return accepted
    elif callable(accepted):
        _refuse_awaiting(which, accepted)
        return accepted
    raise TypeError(f"{which} must be exception classes or a predicate, not {accepted!r}")


def _refuse_awaiting(which: str, predicate: object) -> None:
    if is_coroutine_function(predicate):
        raise TypeError(f"{which} must be a plain function, not {predicate!r}: nothing is awaited to judge a call")
