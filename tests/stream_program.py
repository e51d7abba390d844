"""The product's own HTTP handler before views that stream: run by ``tests/api/test_api_streams.py``, never imported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from tradpal_cb import handler

PIECE, PIECES = 64 * 1024, 2048
sent: dict[str, int] = {}
ended: list[str] = []


async def asynchronous(name: str) -> AsyncIterator[bytes]:
    for piece in synchronous(name):
        yield piece


def synchronous(name: str) -> Iterator[bytes]:
    try:
        for number in range(PIECES):
            sent[name] = (number + 1) * PIECE
            yield bytes(PIECE)
    finally:
        ended.append(name)


def stream(request: HttpRequest, kind: str, name: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(asynchronous(name) if kind == "asynchronous" else synchronous(name))


def long(request: HttpRequest) -> HttpResponse:
    return HttpResponse(bytes(4 * PIECE))


def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"whole": PIECE * PIECES, "sent": sent, "ended": ended})


application = handler.application()

from django.conf import settings  # noqa: E402  # made ready above, as what is imported below
from django.urls import path  # noqa: E402  # the same

settings.ROOT_URLCONF = __name__
urlpatterns = [path("stream/<str:kind>/<str:name>", stream), path("long", long), path("health", health)]
