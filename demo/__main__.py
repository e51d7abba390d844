"""``python -m demo``: run the whole, or trouble one route of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from .faults import SCHEDULE, Fault
from .groups import describe
from .processes import ROOT
from .supervisor import Refused, run, run_fleet

EXAMPLES = """\
while `make run` is up, in another terminal:
  python -m demo break data_service             every answer is a 503 for a minute: watch it open
  python -m demo break ledger --fault slow --for 20
  python -m demo heal data_service              well for a minute, whatever the schedule says
  python -m demo auto data_service              back to the schedule
  python -m demo routes                         what each route suffers now
"""


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--var", type=Path, default=ROOT / "var", help="keeps secrets, database and logs (default: var)"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    running = commands.add_parser("run", help="control plane and fleet; what `make run` does")
    running.add_argument("--port", type=int, default=8012)
    fleet = commands.add_parser(
        "fleet", help="the fleet without a server; key: CIRCUIT_BREAKER_SERVICE_TOKEN, else that of `make run`"
    )
    fleet.add_argument("--url", default="http://127.0.0.1:8012", help="the control plane (default: %(default)s)")
    grouping = commands.add_parser(
        "groups", help="tell a control plane what belongs together; key of scope operate: CIRCUIT_BREAKER_SERVICE_TOKEN"
    )
    grouping.add_argument("--url", default="http://127.0.0.1:8012", help="the control plane (default: %(default)s)")
    breaking = commands.add_parser("break", help="make a route fail")
    breaking.add_argument("--fault", type=Fault, choices=list(Fault)[1:], default=Fault.OUTAGE, help="default: outage")
    healing = commands.add_parser("heal", help="make a route answer well")
    for command in (breaking, healing):
        command.add_argument("--for", dest="seconds", type=float, default=60.0, metavar="SECONDS", help="default: 60")
    following = commands.add_parser("auto", help="return a route to its schedule")
    for command in (breaking, healing, following):
        command.add_argument("route", choices=SCHEDULE, metavar="ROUTE", help=", ".join(SCHEDULE))
    commands.add_parser("routes", help="show what each route suffers now")
    return parser


def main() -> int:
    given = arguments().parse_args()
    var: Path = given.var.resolve()
    try:
        match given.command:
            case "run":
                return run(var, given.port, _say)
            case "fleet":
                return run_fleet(var, given.url, _key(var), _say)
            case "groups":
                _say(f"{describe(given.url, _key(var))} breakers described")
                return 0
            case "routes":
                routes = _control(var, None)
            case "break":
                routes = _control(var, {"route": given.route, "fault": given.fault, "seconds": given.seconds})
            case "heal":
                routes = _control(var, {"route": given.route, "fault": Fault.NONE, "seconds": given.seconds})
            case _:
                routes = _control(var, {"route": given.route, "fault": None})
    except (Refused, OSError) as refusal:
        print(refusal, file=sys.stderr)
        return 1
    for route, now in routes.items():
        _say(f"{route:<16}{now['fault']:<8}by {now['by']:<10}{now['calls']} calls")
    return 0


def _key(var: Path) -> str:
    """The environment's, else the one that `make run` made."""
    made = var / "fleet-key"
    return os.environ.get("CIRCUIT_BREAKER_SERVICE_TOKEN") or (made.read_text().strip() if made.exists() else "")


def _say(line: str) -> None:
    print(line, flush=True)


def _control(var: Path, order: dict[str, object] | None) -> dict[str, dict[str, object]]:
    """Sends ``order`` to the flaky service of a running demo; answers with the faults of all routes."""
    try:
        base = (var / "flaky-url").read_text()
        body = None if order is None else json.dumps(order).encode()
        request = urllib.request.Request(f"{base}/control", body, {"Content-Type": "application/json"})  # noqa: S310  # ours
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310  # the same
            routes: dict[str, dict[str, object]] = json.load(response)
            return routes
    except OSError:
        raise Refused("The demo does not run here; start it with `make run`.") from None


if __name__ == "__main__":
    sys.exit(main())
