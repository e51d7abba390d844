"""The flaky HTTP service: answers with market data, fails by :mod:`demo.faults`, and obeys ``POST /control``."""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from .faults import NOISE, SCHEDULE, Fault, Faults
from .lifeline import asked_to_end, follow_parent

CALLS: web.AppKey[Counter[str]] = web.AppKey("CALLS", Counter)
FAULTS = web.AppKey("FAULTS", Faults)
SYMBOLS = ("AAPL", "MSFT", "NVDA", "SAP", "TSM", "ASML")
SLOW_SECONDS = 0.5


class Market:
    """Prices on a random walk."""

    def __init__(self) -> None:
        self.prices = {symbol: random.uniform(80, 400) for symbol in SYMBOLS}

    def tick(self) -> dict[str, float]:
        for symbol, price in self.prices.items():
            self.prices[symbol] = round(price * math.exp(random.gauss(0, 0.0008)), 4)
        return dict(self.prices)

    def answer(self, route: str) -> dict[str, object]:
        """What a healthy ``route`` says."""
        match route:
            case "data_service" | "price_feed":
                return {"prices": self.tick()}
            case "news_feed":
                return {"headline": f"{random.choice(SYMBOLS)} moves", "sentiment": round(random.uniform(-1, 1), 3)}
            case "risk_engine":
                return {"volatility": round(random.uniform(0.1, 0.4), 4)}
            case "ledger":
                return {"positions": {symbol: random.randint(0, 500) for symbol in SYMBOLS}, "cash": 125_000.0}
            case _:
                return {"status": "accepted", "id": random.getrandbits(48)}


MARKET = web.AppKey("MARKET", Market)


async def answer(request: web.Request) -> web.StreamResponse:
    route = request.match_info["route"]
    if route not in SCHEDULE:
        raise web.HTTPNotFound(text=f"no such route; there are {', '.join(SCHEDULE)}")
    await request.read()
    request.app[CALLS][route] += 1
    fault = request.app[FAULTS].now(route)
    await asyncio.sleep(SLOW_SECONDS if fault is Fault.SLOW else random.uniform(0.002, 0.02))
    if fault is Fault.RESETS and request.transport is not None:
        request.transport.abort()
    if fault is Fault.OUTAGE:
        return web.json_response({"error": "down for a while"}, status=503)
    if random.random() < (0.5 if fault is Fault.ERRORS else NOISE.get(route, 0.0)):
        return web.json_response({"error": "something broke"}, status=500)
    return web.json_response(request.app[MARKET].answer(route))


async def control(request: web.Request) -> web.Response:
    """``{"route", "fault", "seconds"}``; a null fault returns the route to its schedule. Answers with all routes."""
    order = await request.json()
    faults = request.app[FAULTS]
    try:
        route, fault, seconds = str(order["route"]), order.get("fault"), float(order.get("seconds", 60))
        faults.now(route)
        if fault is None:
            faults.follow_schedule(route)
        else:
            faults.order(route, Fault(fault), seconds)
    except (KeyError, TypeError, ValueError) as error:
        return web.json_response({"error": f"not understood: {error}"}, status=400)
    return await routes(request)


async def routes(request: web.Request) -> web.Response:
    calls = request.app[CALLS]
    return web.json_response({name: {**now, "calls": calls[name]} for name, now in request.app[FAULTS].all().items()})


def application(faults: Faults) -> web.Application:
    app = web.Application()
    app[CALLS] = Counter()
    app[FAULTS] = faults
    app[MARKET] = Market()
    app.add_routes([web.post("/control", control), web.get("/control", routes), web.route("*", "/{route}", answer)])
    return app


async def serve(announce: Callable[[str], object]) -> None:
    """On a free port of this machine; announces its address once it answers."""
    runner = web.AppRunner(application(Faults(time.monotonic)), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    announce(f"http://{host}:{port}")
    try:
        await asked_to_end()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address_file", type=Path)
    follow_parent()
    file: Path = parser.parse_args().address_file
    try:
        asyncio.run(serve(file.write_text))
    finally:
        file.unlink(missing_ok=True)
