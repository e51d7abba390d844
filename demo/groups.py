"""What people know of the breakers of the fleet, and services do not: which belong together, and what each is for."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any, Final

from .services import CONFIGS, HTTP

PATIENCE: Final = 60.0
"""Seconds in which the control plane may answer for the first time."""
GROUPS: Final = {
    "data_service": ("market-data", "Prices of the day and of the past."),
    "news_feed": ("market-data", "Headlines; late ones are worth nothing."),
    "price_feed": ("market-data", "Quotes of this second."),
    "broker_api": ("trading", "Accounts and positions at the broker."),
    "order_router": ("trading", "Sends orders; none is ever sent twice."),
    "risk_engine": ("trading", "Says whether an order may be placed."),
    "auth_service": ("platform", "Who is it."),
    "ledger": ("platform", "What was booked."),
}


def described() -> list[dict[str, Any]]:
    """Each breaker as ``POST /circuit-breakers`` takes it: the config that its services have in code, described."""
    return [
        {
            **config.as_dict(),
            **HTTP[name].as_dict(),
            "group": GROUPS[name][0],
            "description": GROUPS[name][1],
            "reason": "What belongs together",
        }
        for name, config in CONFIGS.items()
    ]


def describe(url: str, key: str) -> int:
    """Tells the control plane of those that it does not know; how many. What it knows stays as people made it."""
    _wait_for(url)
    return sum(_create(url, key, breaker) for breaker in described())


def _create(url: str, key: str, breaker: dict[str, Any]) -> bool:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{url}/circuit-breakers", json.dumps(breaker).encode(), headers)  # noqa: S310  # as given
    try:
        with urllib.request.urlopen(asked, timeout=10):  # noqa: S310  # the same
            return True
    except urllib.error.HTTPError as refusal:
        with refusal:
            if refusal.code == 409:
                return False
            raise


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()  # noqa: S310  # as given
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)  # between two attempts
