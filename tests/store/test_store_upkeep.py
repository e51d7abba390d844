"""What a server does by itself, seen from outside a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.receiver import Receiver
from tests.servers import ServerProcess, eventually

RULE = """
from django.utils import timezone
from breakers import services
from breakers.models import NotificationRule
rule = NotificationRule(name="on-call", levels=["warning"], after=0, quiet=0, address="{url}/hook")
services.notification_rule_save(rule=rule, by=services.Actor("system"), now=timezone.now())
"""


@pytest.mark.timeout(240)  # twenty seconds pass before a server tells anybody
def test_a_server_tells_of_alerts_and_clears_overrides_whose_time_is_over(tmp_path: Path):
    receiver = Receiver()
    try:
        with ServerProcess(tmp_path, environment={"CIRCUIT_BREAKER_PUBLIC_URL": "https://b.example"}) as server:
            server.python(RULE.format(url=receiver.url))
            for name in ("standing", "passing"):
                server.request("POST", "/circuit-breakers", {"name": name, "group": name})
            forced = {"override": "forced_open", "reason": "INC-1"}
            server.request("PUT", "/circuit-breakers/standing/override", forced)
            server.request("PUT", "/circuit-breakers/passing/override", {**forced, "expires_in": 1})

            def told_of_standing() -> dict[str, dict[str, object]]:
                return {told["event"]: told for told in receiver.messages if told["name"] == "standing"}

            eventually(lambda: "firing" in told_of_standing(), what="the webhook is told")
            told = told_of_standing()["firing"]
            assert told["kind"] == "forced_open"
            assert told["link"] == "https://b.example/dashboard/breakers/standing"

            def audit() -> list[tuple[str, str]]:
                rows = server.request("GET", "/circuit-breakers/passing/changes")[1]["results"]
                return [(row["kind"], row["actor"]) for row in rows]

            eventually(lambda: ("override_released", "system") in audit(), what="the audit says so")
            server.request("DELETE", "/circuit-breakers/standing/override")
            eventually(lambda: "resolved" in told_of_standing(), what="its end is told")
    finally:
        receiver.close()
