"""A body that is still to come: who waits for its end hears of it, and its response may simply be dropped.

aiohttp tells of a body's end, and of its failure only those who read it just then: here the reader tells of both.

Between its headers and its body's end aiohttp holds a response itself: the transport holds the reader of the body, and
that one, by what it calls at its end, the response. So one that is forgotten keeps its connection until the session
closes. Here the reader refers to the response weakly; the caller's own reference to the reader, which may outlive the
one to the response (``(await http.get(..., stream=True)).content``), keeps the response instead. Once neither is left
aiohttp's ``ClientResponse.__del__`` gives the connection back, and who waits for that hears of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, cast

from aiohttp import ClientResponse, StreamReader


class Ending:
    """What is called when a body ends, well or badly."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self) -> None:
        self._call()


class TellingReader(StreamReader):
    """aiohttp's own, which forgets whom to call when a body fails. Made of a plain one, so without a state."""

    __slots__ = ()

    def set_exception(self, *error: Any) -> None:
        endings = [call for call in self._eof_callbacks if isinstance(call, Ending)]
        super().set_exception(*error)
        for call in endings:
            call()


def tell_of_the_end(reader: StreamReader, call: Callable[[], None]) -> None:
    """``call()`` when the body has ended or failed. Where aiohttp is built otherwise nothing is told."""
    if type(reader) in _PLAIN and "_eof_callbacks" in _SLOTS:
        reader.__class__ = TellingReader
        reader.on_eof(Ending(call))


class HeldReader(StreamReader):
    """The same reader in other hands: it shares the state of ``inner``, and holds the response."""

    __slots__ = ("_inner", "_response")

    def __init__(self, inner: StreamReader, response: ClientResponse) -> None:  # not StreamReader's: there is a state
        self._inner = inner
        self._response = response


def _shared(slot: str) -> property:
    return property(
        lambda reader: getattr(reader._inner, slot), lambda reader, value: setattr(reader._inner, slot, value)
    )


_SLOTS: tuple[str, ...] = tuple(getattr(StreamReader, "__slots__", ()))
for _slot in _SLOTS:
    setattr(HeldReader, _slot, _shared(_slot))


_PLAIN = (StreamReader, TellingReader)


class _Droppable(ClientResponse):
    """A mixin over the response's own class, whose ``content`` is an attribute."""

    @property
    def content(self) -> StreamReader:
        inner: Any = self.__dict__.get("content")
        return HeldReader(inner, self) if type(inner) in _PLAIN else inner

    @content.setter
    def content(self, reader: StreamReader) -> None:
        self.__dict__["content"] = reader


_made: dict[type[ClientResponse], type[ClientResponse]] = {}


def _droppable(kind: type[ClientResponse]) -> type[ClientResponse]:
    """``kind`` whose content is held; one for each class of responses."""
    found = _made.get(kind)
    if found is None:
        told = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
        found = _made[kind] = type(kind.__name__, (_Droppable, kind), told)
    return found


def reader_of(response: ClientResponse) -> StreamReader:
    """The reader of the body that does not hold the response."""
    content = response.content
    return content._inner if type(content) is HeldReader else content


def make_droppable(response: ClientResponse) -> None:
    """Nothing but the caller holds ``response`` from now on. Where aiohttp is built otherwise it stays as it is."""
    reader = response.content
    callbacks: list[Any] | None = getattr(reader, "_eof_callbacks", None)
    own = getattr(response, "_response_eof", None)
    if not _SLOTS or type(reader) not in _PLAIN or callbacks is None or own not in callbacks:
        return
    try:
        response.__class__ = _droppable(type(response))
    except TypeError:  # a class of the session's own, with slots
        return
    weak = weakref.WeakMethod(cast(Callable[[], None], own))

    def at_the_end() -> None:
        if (still_there := weak()) is not None:
            still_there()

    callbacks[callbacks.index(own)] = at_the_end
