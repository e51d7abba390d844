"""The garbage collector of a server: kept off what stays, for a full collection holds everybody up for 0.2 s."""

from __future__ import annotations

import gc
from typing import Final

COLLECT: Final = (10_000, 20, 100)
"""Thresholds. The stock ones, under a flood of reads, collect everything once a second."""


def settle() -> None:
    """Once all is loaded: what is here now stays. Again, once there is more that stays."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
