"""500 links of 20 breakers each against one control plane, in one run, beside a bare broadcast of the same bytes.

Real sockets from a handful of processes, the server as ``manage.py serve`` runs it, over a SQLite file that is thrown
away. First the library's own links, ``--links`` of them; then twice as many that only report, from frames that were
made once, so that the rest of the machine is the server's. Compare ratios, and seconds only with care.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.servers import ROOT, ServerProcess

PROCESSES = 4
ROUNDS = 15
REPORTING_PROCESSES = 2
FLOOD_SOCKETS = 10
TICK = os.sysconf("SC_CLK_TCK")

CLIENT_MEMORY = """
import asyncio, resource, time
import breakers, aiohttp
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
async def loop_and_session():
    async with aiohttp.ClientSession():
        pass
made = [breakers.get_circuit_breaker(f"breaker-{i}") for i in range(20)]
asyncio.run(loop_and_session())  # what the program of an aiohttp service has anyway
before = rss()
link = breakers.connect(service="memory", url=URL, token=TOKEN)
deadline = time.monotonic() + 10
while not link.status().revision and time.monotonic() < deadline:
    time.sleep(0.05)
time.sleep(1)
print(rss() - before)
"""


class MeasuredServer(ServerProcess):
    """With the benchmark's door."""

    @property
    def _command(self) -> list[str]:
        return ["-m", "benchmarks._link_server", str(self.port)]

    def knock(self, door: str) -> dict[str, float]:
        with urllib.request.urlopen(f"{self.url}/bench/{door}", timeout=20) as answer:
            found: dict[str, float] = json.loads(answer.read())
            return found

    def cpu(self) -> float:
        """Seconds of processor that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self) -> float:
        """Resident, in KB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e3


class Crowd:
    """Processes that hold links, each of them ``program``; they end with the stack."""

    def __init__(self, program: str, processes: int, server: MeasuredServer, stack: ExitStack) -> None:
        command = [sys.executable, "-m", f"benchmarks.{program}", server.url, server.token]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        self._processes = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(processes)]
        self._threads = stack.enter_context(ThreadPoolExecutor(processes))

    def ask(self, do: str, **arguments: float) -> list[Any]:
        """The answer of each process."""
        line = json.dumps({"do": do, **arguments}) + "\n"

        def one(process: subprocess.Popen[str]) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(line)
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        return list(self._threads.map(one, self._processes))


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def pushes(server: MeasuredServer, crowd: Crowd, links: int, door: str) -> tuple[list[list[float]], list[float]]:
    """Milliseconds to each link from the commit on, a round; and those that each commit took."""
    rounds, commits = [], []
    for _ in range(ROUNDS):
        crowd.ask("applied", number=0)
        told = server.knock(door)
        stamps = [stamp for some in crowd.ask("applied", number=links // PROCESSES) for stamp in some]
        assert len(stamps) == links, f"{door}: {len(stamps)} of {links} links heard of it"
        rounds.append([1e3 * (stamp - told["committed" if door == "save" else "began"]) for stamp in stamps])
        commits.append(1e3 * (told["committed"] - told["began"]))
        time.sleep(0.3)
    return rounds, commits


def over_time(server: MeasuredServer, crowd: Crowd, do: str, seconds: float, **more: float) -> tuple[float, list[Any]]:
    """Percent of one core that the server uses while the crowd does that."""
    before, began = server.cpu(), time.monotonic()
    answers = crowd.ask(do, seconds=seconds, **more)
    return 100 * (server.cpu() - before) / (time.monotonic() - began), answers


def client_memory(server: MeasuredServer) -> float:
    code = f"URL, TOKEN = {server.url!r}, {server.token!r}\n{CLIENT_MEMORY}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return float(done.stdout)


def line(what: str, value: float, unit: str, goal: str = "") -> None:
    print(f"{what:58}{value:10.1f} {unit:10}{goal}", flush=True)


def linked(server: MeasuredServer, links: int) -> None:
    """Links of the library: what they cost, and how soon everybody knows."""
    with ExitStack() as stack:
        crowd = Crowd("_link_agents", PROCESSES, server, stack)
        empty, began = server.memory(), time.monotonic()
        crowd.ask("link", number=links // PROCESSES)
        line(f"{links} links made", time.monotonic() - began, "s")
        time.sleep(3)
        line("memory a link in the server", (server.memory() - empty) / links, "KB", "goal: under 150")
        line("memory of a link in its process", client_memory(server), "MB", "goal: under 5")
        idle, _ = over_time(server, crowd, "idle", 12.0)
        line(f"processor, {links} idle links", idle, "% a core", "goal: under 10 (500)")
        told(server, crowd, links)


def told(server: MeasuredServer, crowd: Crowd, links: int) -> None:
    saved, commits = pushes(server, crowd, links, "save")
    bare, _ = pushes(server, crowd, links, "broadcast")
    line("save: begin to commit, p50", statistics.median(commits), "ms")
    for name, rounds in (("save, commit to applied", saved), ("bare broadcast", bare)):
        every = [value for values in rounds for value in values]
        last = statistics.median(max(values) for values in rounds)
        line(f"{name}: p50", percentile(every, 0.5), "ms")
        line(f"{name}: p99", percentile(every, 0.99), "ms")
        line(f"{name}: last, median of {ROUNDS} rounds", last, "ms", "goal: under 100" if rounds is saved else "")
    ratio = statistics.median(map(max, saved)) / statistics.median(map(max, bare))
    line("save to applied, beside the bare broadcast", ratio, "x", "goal: at most 2")
    latencies = [1e3 * latency for some in crowd.ask("storm", seconds=8.0) for latency in some]
    line(f"transition to history, p50 of {len(latencies)}", percentile(latencies, 0.5), "ms")
    line("transition to history, p99", percentile(latencies, 0.99), "ms", "goal: under 500")


def reporting(server: MeasuredServer, links: int) -> None:
    """Links that only report: what that costs, and how much of it one server takes."""
    with ExitStack() as stack:
        crowd = Crowd("_link_reporters", REPORTING_PROCESSES, server, stack)
        length, *_ = crowd.ask("link", number=links // REPORTING_PROCESSES)
        crowd.ask("report", seconds=3.0)
        share, answers = over_time(server, crowd, "report", 15.0)
        waits = [1e3 * wait for some in answers for wait in some["waits"]]
        line(
            f"reports of {length} bytes that arrived",
            sum(a["acknowledged"] for a in answers) / 15,
            "a second",
            f"as meant: {links}",
        )
        line("report to acknowledgement, p50", percentile(waits, 0.5), "ms")
        line("report to acknowledgement, p99", percentile(waits, 0.99), "ms")
        line(f"processor, {links} links that report each second", share, "% a core", "goal: under 50 (1000)")
        share, answers = over_time(server, crowd, "flood", 6.0, sockets=FLOOD_SOCKETS)
        line("reports of 20 breakers, as many as it takes", sum(answers) / 6.0, "a second", "goal: 3000")
        line("the same, a second of the server's processor", sum(answers) / 6.0 / share * 100, "a CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", type=int, default=500)
    links = parser.parse_args().links // PROCESSES * PROCESSES
    for part, number in ((linked, links), (reporting, 2 * links)):
        with tempfile.TemporaryDirectory() as folder, MeasuredServer(Path(folder)) as server:
            part(server, number)


if __name__ == "__main__":
    main()
