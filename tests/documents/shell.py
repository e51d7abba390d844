"""The shell blocks of a page: run in something like a checkout, or, where that cannot be, looked up word by word."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from django.core.management import get_commands, load_command_class

from breakers.__main__ import _parser as breakers_parser
from demo.__main__ import arguments as demo_parser
from tests.documents.pages import ROOT, Block
from tests.servers import ServerProcess, clean_environment, free_port

PORT = "8012"
"""The one that pages write; each run has another."""

# -E: what fails inside $(...) is seen too, though `export NAME=$(...)` goes on
_BEGIN = """\
set -eEuo pipefail
exec 8>&1 9>&2
begin() { BLOCK=$1; }
healthy() {
    for _ in $(seq 400); do
        curl -q --silent --fail --output /dev/null "http://127.0.0.1:$1/health" && return
        sleep 0.1
    done
    return 1
}
trap 'echo "the block at $BLOCK failed: $BASH_COMMAND" >&9; touch "$PRINTED/failed"' ERR
trap '[ $? = 0 ] && [ ! -e "$PRINTED/failed" ]' EXIT
"""


def script(blocks: list[Block], port: str) -> str:
    """All of a page as one program. What a block prints goes to ``$PRINTED/LINE``."""
    parts = [_BEGIN]
    for block in blocks:
        code = _moved(block.code, port)
        parts += [f"begin {block.place}", block.marks.get("before", "")]
        if "serves" in block.marks:
            parts.append(
                f"{{\n{code}}} >serve.log 2>&1 8>&- 9>&- &\nhealthy {port} || {{ cat serve.log >&9; exit 1; }}"
            )
        elif block.prints is not None:
            parts.append(f"exec >$PRINTED/{block.line}\n{code}exec >&8")
        else:
            parts.append(code)
        parts.append(_moved(block.marks.get("after", ""), port))
    return "\n".join(parts)


def _moved(code: str, port: str) -> str:
    return code.replace("0.0.0.0", "127.0.0.1").replace(PORT, port)


def checkout(folder: Path) -> Path:
    """What a clone has, by links: what a page writes stays in ``folder``."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in {line.partition("/")[0] for line in tracked.splitlines()}:
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(blocks: list[Block], folder: Path, server: ServerProcess, further: dict[str, str]) -> None:
    """Raises ``AssertionError`` with what the shell said where a block ends with anything but 0.

    ``further`` variables come beside those that every page has.
    """
    own = any("serves" in block.marks for block in blocks)
    port = str(free_port() if own else server.port)
    printed = folder / ".printed"
    printed.mkdir()
    (checkout(folder) / "logs").symlink_to(server.folder)
    (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")  # an answer of 404 is a failure too
    environment = {
        **clean_environment(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder), "PRINTED": str(printed), "PIP_NO_INDEX": "1",
        "URL": server.url, "KEY": server.token,
        "CIRCUIT_BREAKER_SERVICE_URL": server.url, "CIRCUIT_BREAKER_SERVICE_TOKEN": server.token,
        **({} if own else {name: server.environment[name] for name in ("DJANGO_SECRET_KEY", "DATABASE_URL")}),
        **further,
    }  # fmt: skip
    running = subprocess.Popen(
        ["bash", "-c", script(blocks, port)],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = running.communicate(timeout=140)
    finally:
        _end(running.pid)
    assert running.returncode == 0, said
    for block in blocks:
        if block.prints is not None:
            assert (printed / str(block.line)).read_text() == block.prints, f"{block.place} prints something else"


def _end(group: int) -> None:
    """What a block left running, a server say."""
    try:
        os.killpg(group, signal.SIGTERM)
    except ProcessLookupError:
        return


def lint(block: Block) -> None:
    """By shellcheck; `export NAME=$(...)` is let be, since a person at a terminal sees what it says."""
    check = [
        Path(sys.executable).with_name("shellcheck"),
        "--shell=bash",
        "--severity=warning",
        "--exclude=SC2155",
        "-",
    ]
    read = subprocess.run(check, input=block.code, capture_output=True, text=True)
    assert read.returncode == 0, f"{block.place}: {read.stdout}"


def look_up(block: Block) -> None:
    """Whether what a block calls is there: targets of make, commands with their options, services of the compose."""
    text = re.sub(r"<[a-z ]+>", "word", block.code.replace("\\\n", " "))
    for line in re.split(r"\n|&&|\|\|?|;|[\"']?\bsh -c [\"']", text):
        try:
            words = [word.strip("\"'") for word in shlex.split(line.replace('"', "'"), comments=True, posix=False)]
        except ValueError:  # quotes over several lines: nothing of ours
            continue
        _look_up(words, block.place)


def _look_up(words: list[str], place: str) -> None:
    match words:
        case ["make", *targets]:
            known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert {word for word in targets if "=" not in word} <= known, place
        case ["docker", "compose", *rest] if "exec" in rest or "run" in rest or "logs" in rest:
            services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
            assert services.keys() & set(rest), f"{place}: no service of the compose file"
        case _:
            pass
    for index, word in enumerate(words):
        after = words[index + 1 :]
        if word.endswith("manage.py"):
            _parses_as_command(after, place)
        elif word == "-m" and after[:1] in (["breakers"], ["demo"]):
            parser = breakers_parser() if after[0] == "breakers" else demo_parser()
            try:
                parser.parse_args(after[1:])
            except SystemExit:
                raise AssertionError(f"{place}: {' '.join(words)}") from None


def _parses_as_command(words: list[str], place: str) -> None:
    name, *rest = words
    assert name in get_commands(), f"{place}: manage.py has no {name}"
    command = load_command_class(get_commands()[name], name)
    try:
        command.create_parser("manage.py", name).parse_args(rest)
    except (SystemExit, Exception) as error:
        raise AssertionError(f"{place}: {' '.join(words)}: {error}") from None


def is_missing() -> str:
    """The program that is needed and not there."""
    return next((program for program in ("bash", "curl") if shutil.which(program) is None), "")
