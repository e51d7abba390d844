"""What a link owes the process that it lives in: threads that never hold up its end, nothing shared after a fork."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import aiohttp

_INHERITED: list[object] = []


def keep_for_ever(loop: object) -> None:
    """A parent's event loop: collecting it in a child would reach through the shared selector into the parent."""
    _INHERITED.append(loop)


class DaemonThreads(ThreadPoolExecutor):
    """Where names are resolved: one daemon thread each time. The end of the interpreter would wait for any other."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]  # the base class's, whatever its generics
        future: Future[object] = Future()
        future.set_running_or_notify_cancel()  # from now on its answer may come late, but is never refused
        threading.Thread(target=self._work, args=(future, fn, args, kwargs), name="breakers-dns", daemon=True).start()
        return future

    @staticmethod
    def _work(future, fn, args, kwargs) -> None:  # type: ignore[no-untyped-def]  # what submit was given
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)


def descriptor_of(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    inner = socket.get_extra_info("socket")
    return None if inner is None else inner.fileno()


def let_go(descriptor: int) -> None:
    """Gives up this process's hold on the parent's connection, so that it ends with the parent.

    Something else takes the number, which the objects inherited with it may still close.
    """
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
