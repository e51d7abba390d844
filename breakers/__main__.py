"""``python -m breakers``: the fleet's breakers from a terminal.

Exit codes: 0 done; 1 the control plane refused; 2 the command line or the environment is wrong; 3 the control plane
could not be asked; 4 the output could not be written; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TextIO

from breakers.client import console
from breakers.client.answers import BreakerRow
from breakers.client.errors import AccessDeniedError, InvalidRequestError, ServiceError, ServiceUnreachableError
from breakers.client.service import CircuitBreakerServiceClient
from breakers.core.errors import ConfigError
from breakers.core.states import Override

REFUSED, WRONG, UNREACHABLE, UNWRITABLE, INTERRUPTED = 1, 2, 3, 4, 130
CLEAR = "\x1b[H\x1b[2J"


class Screen:
    """Standard output, and what may be written to it; started without one, nothing is."""

    def __init__(self, *, as_json: bool) -> None:
        output: TextIO | None = sys.stdout
        self.as_json = as_json
        self.is_terminal = output is not None and output.isatty()
        self.colour = self.is_terminal and not os.environ.get("NO_COLOR")
        self.writes_everything = output is None or (output.encoding or "").lower().startswith("utf")
        if not self.writes_everything and isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")  # a reason in other letters is no reason to show nothing

    @property
    def width(self) -> int | None:
        return shutil.get_terminal_size().columns if self.is_terminal else None

    def show(self, answer: object, text: str) -> None:
        print(self.json(answer, indent=2) if self.as_json else text, flush=True)

    def json(self, answer: object, indent: int | None = None) -> str:
        """With letters that the output can write; where it cannot write all, escaped as JSON escapes."""
        return json.dumps(answer, indent=indent, ensure_ascii=not self.writes_everything)

    def table(self, rows: Sequence[BreakerRow]) -> str:
        return console.table(rows, now=datetime.now(UTC), width=self.width, colour=self.colour)


Command = Callable[[CircuitBreakerServiceClient, argparse.Namespace, Screen], Awaitable[None]]


async def list_(client: CircuitBreakerServiceClient, asked: argparse.Namespace, screen: Screen) -> None:
    rows = await _rows(client, asked)
    screen.show(rows, "" if screen.as_json else screen.table(rows))


async def _rows(client: CircuitBreakerServiceClient, asked: argparse.Namespace) -> list[BreakerRow]:
    return await client.list_circuit_breakers(
        state=asked.state, service=asked.service, group=asked.group, search=asked.search
    )


async def show(client: CircuitBreakerServiceClient, asked: argparse.Namespace, screen: Screen) -> None:
    info = await client.get_circuit_breaker_info(asked.name)
    screen.show(info, console.details(info, now=datetime.now(UTC), width=screen.width, colour=screen.colour))


async def reset(client: CircuitBreakerServiceClient, asked: argparse.Namespace, screen: Screen) -> None:
    done = await client.reset_circuit_breaker(asked.name, reason=asked.reason, instance=asked.instance)
    screen.show(done, console.reset_line(done))


async def open_(client: CircuitBreakerServiceClient, asked: argparse.Namespace, screen: Screen) -> None:
    await _force(client, asked, screen, Override.FORCED_OPEN)


async def close(client: CircuitBreakerServiceClient, asked: argparse.Namespace, screen: Screen) -> None:
    await _force(client, asked, screen, Override.FORCED_CLOSED)


async def _force(
    client: CircuitBreakerServiceClient, asked: argparse.Namespace, screen: Screen, override: Override
) -> None:
    answer = await client.set_override(
        asked.name, override, reason=asked.reason, expires_in=asked.seconds, confirm=asked.confirm or None
    )
    until = "until it is released" if asked.seconds is None else f"for {console.duration(asked.seconds)}"
    screen.show(answer, f"{asked.name} is {override.value.replace('_', ' ')} {until}")


async def release(client: CircuitBreakerServiceClient, asked: argparse.Namespace, screen: Screen) -> None:
    answer = await client.clear_override(asked.name, reason=asked.reason)
    screen.show(answer, f"{asked.name} is released: its instances decide again")


async def watch(client: CircuitBreakerServiceClient, asked: argparse.Namespace, screen: Screen) -> None:
    """Until interrupted: the table drawn anew on a terminal, elsewhere a line for each breaker that changed."""
    seen: dict[str, str] = {}
    _draw(await _rows(client, asked), seen, screen)
    said = ""
    while True:
        await asyncio.sleep(asked.every)
        try:
            rows = await _rows(client, asked)
        except (AccessDeniedError, InvalidRequestError):
            raise
        except ServiceError as error:  # it was there, and may come back
            if said != (said := str(error)):
                _complain(error, REFUSED)
        else:
            said = ""
            _draw(rows, seen, screen)


def _draw(rows: Sequence[BreakerRow], seen: dict[str, str], screen: Screen) -> None:
    if screen.is_terminal and not screen.as_json:
        print(f"{CLEAR}{screen.table(rows)}", flush=True)
        return
    for row in rows:
        state = console.shown_state(row)
        if seen.get(row["name"]) != state:
            seen[row["name"]] = state
            line = console.change_line(row, now=datetime.now(UTC))
            print(screen.json(row) if screen.as_json else line, flush=True)


def _duration(text: str) -> float:
    try:
        return console.parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", default=argparse.SUPPRESS, help="the control plane [CIRCUIT_BREAKER_SERVICE_URL]")
    common.add_argument("--token", default=argparse.SUPPRESS, help="an API key [CIRCUIT_BREAKER_SERVICE_TOKEN]")
    common.add_argument(
        "--timeout", type=_duration, default=argparse.SUPPRESS, help="of one request [CIRCUIT_BREAKER_SERVICE_TIMEOUT]"
    )
    common.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="what the control plane answered"
    )
    parser = argparse.ArgumentParser("python -m breakers", description="The fleet's breakers.", parents=[common])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(word: str, run: Command, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(word, help=about, description=about, parents=[common])
        added.set_defaults(run=run)
        return added

    def on_one(word: str, run: Command, about: str) -> argparse.ArgumentParser:
        added = command(word, run, about)
        added.add_argument("name", metavar="NAME")
        return added

    for added in (
        command("list", list_, "all breakers, the worst first"),
        watching := command("watch", watch, "all breakers, again and again; Ctrl-C ends it"),
    ):
        added.add_argument("--state", choices=["open", "half_open", "closed"])
        added.add_argument("--service")
        added.add_argument("--group")
        added.add_argument("--search", metavar="TEXT")
    watching.add_argument("--every", type=_duration, default=2.0, metavar="DURATION", help="default: 2s")

    on_one("show", show, "one breaker with its instances, its config and what happened last")
    resetting = on_one("reset", reset, "close it on every instance, or on one")
    resetting.add_argument("--instance", metavar="UUID")
    releasing = on_one("release", release, "lift what open or close has forced")
    for word, force, about in (
        ("open", open_, "force it open: every call is rejected"),
        ("close", close, "force it closed: every call goes through"),
    ):
        forcing = on_one(word, force, about)
        forcing.add_argument("--for", dest="seconds", type=_duration, metavar="DURATION", help="as 90s, 15m or 1h30m")
        forcing.add_argument("--reason", help="for the record")
        forcing.add_argument("--confirm", action="store_true", help="also where it stops most of the calls of a group")
    for added in (resetting, releasing):
        added.add_argument("--reason", help="for the record")
    return parser


async def _run(asked: argparse.Namespace) -> None:
    facts = vars(asked)
    screen = Screen(as_json=facts.get("json", False))
    async with CircuitBreakerServiceClient(
        facts.get("url"), token=facts.get("token"), timeout=facts.get("timeout")
    ) as client:
        await asked.run(client, asked, screen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code. What went wrong is one sentence on standard error."""
    asked = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(asked))
    except ServiceUnreachableError as error:
        return _complain(error, UNREACHABLE)
    except ServiceError as error:
        return _complain(error, REFUSED)
    except ConfigError as error:
        return _complain(error, WRONG)
    except KeyboardInterrupt:
        return 0 if asked.run is watch else INTERRUPTED
    except BrokenPipeError:  # as in `python -m breakers list | head`
        _write_no_more()
    except OSError as error:  # as where the disk is full
        _write_no_more()
        return _complain(error, UNWRITABLE)
    return 0


def _write_no_more() -> None:
    """What is still to be flushed at the end goes nowhere, without another word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: Exception, code: int) -> int:
    if sys.stderr is not None:  # without it print would write to standard output
        print(f"breakers: {console.plain(str(error))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
