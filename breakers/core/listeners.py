"""Who wants to be told. One that raises is logged, and the others are told all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec

from .kinds import STOPS_THE_PROGRAM, is_coroutine_function
from .lock import LOCK
from .log import log

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Called in the order in which they subscribed; any thread may subscribe and unsubscribe at any time."""

    __slots__ = ("_cells",)

    def __init__(self) -> None:
        # a cell each: the same function may subscribe twice, and ends one subscription at a time
        self._cells: tuple[list[Callable[P, object]], ...] = ()

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._cells)

    def subscribe(self, listener: Callable[P, object]) -> Callable[[], None]:
        """Returns the function that ends the subscription."""
        if not callable(listener) or is_coroutine_function(listener):
            raise TypeError(f"a listener must be a plain function, not {listener!r}")
        cell = [listener]
        with LOCK:
            self._cells = (*self._cells, cell)

        def unsubscribe() -> None:
            with LOCK:
                self._cells = tuple(kept for kept in self._cells if kept is not cell)

        return unsubscribe

    def tell(self, name: str, *args: P.args, **kwargs: P.kwargs) -> None:
        """Calls each with the arguments that follow ``name``, the breaker's, for the log."""
        for (listener,) in self._cells:
            try:
                listener(*args, **kwargs)
            except STOPS_THE_PROGRAM:
                raise
            except BaseException as bug:  # CancelledError too: nobody cancels a plain function
                log(logging.ERROR, "Circuit breaker '%s': a listener raised", name, error=bug)
