"""How a child of the demo ends: when told to, and when its parent is gone, however that went."""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
import threading
import time

GRACE = 4.0
"""Seconds between the signal that asks a child to end and its end."""


def follow_parent() -> None:
    """From here on the death of the parent, which holds the other end of our standard input, ends this process too."""
    threading.Thread(target=_follow, name="lifeline", daemon=True).start()


def _follow() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


async def asked_to_end() -> None:
    """Returns at SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()


if __name__ == "__main__":  # python -m demo.lifeline MODULE ARGUMENT...: any module, ended like ours
    follow_parent()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
