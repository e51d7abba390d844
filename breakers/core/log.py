"""The log of every breaker. A handler or filter that raises is the log's trouble, never a caller's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

_logger = logging.getLogger("breakers")


def log(
    level: int,
    message: str,
    *facts: object,
    error: BaseException | None = None,
    extra: Mapping[str, object] | None = None,
) -> None:
    """``message % facts``, which begins with ``Circuit breaker 'NAME'``, and the traceback of ``error``.

    ``extra``: the facts by name, for logs that machines read.
    """
    with suppress(Exception):
        _logger.log(level, message, *facts, exc_info=error, extra=extra, stacklevel=2)
