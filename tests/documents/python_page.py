"""Runs the Python of a page as its reader would, from top to bottom; ``test_documents_code.py`` starts it.

Blocks share one namespace and may ``await``. A block whose first line is ``# NAME.py`` is that file; a block with tests
is a file of tests; pytest runs them at the end. A host such as ``data-service`` is a service that answers with JSON.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PYTEST = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
ANSWER = {"price": 101.5, "prices": {"TPAL": 101.5}, "status": "well"}


class Dependency(BaseHTTPRequestHandler):
    """Any service that a page calls."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET  # noqa: N815  # the base class names them

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def answer_for_every_name() -> None:
    """``http://data-service:8001`` is here."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dependency)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    usual = socket.getaddrinfo

    def look_up(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if isinstance(name, str) and "-" in name and "." not in name:
            host, port = server.server_address[:2]
        return usual(host, port, *arguments, **options)

    socket.getaddrinfo = look_up


class Page:
    def __init__(self) -> None:
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        self._runner = asyncio.Runner()

    def run(self, block: dict[str, Any]) -> str:
        """What it prints."""
        printed = io.StringIO()
        before, after = block["marks"].get("before"), block["marks"].get("after")
        if before:
            self._execute(before, block, 0)
        with contextlib.redirect_stdout(printed):
            self._execute(block["code"], block, block["line"] - 1)
        if after:
            self._execute(after, block, 0)
        return printed.getvalue()

    def _execute(self, code: str, block: dict[str, Any], lines_before: int) -> None:
        text = "\n" * lines_before + code  # so that tracebacks name lines of the page
        compiled = compile(text, block["page"], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if compiled.co_flags & inspect.CO_COROUTINE:
            self._runner.run(eval(compiled, self._namespace))
        else:
            exec(compiled, self._namespace)

    def close(self) -> None:
        self._runner.close()


def file_of(block: dict[str, Any]) -> str | None:
    """Under which name a block is kept; ``None`` for one that is run."""
    if named := re.match(r"# ([\w/]+\.py)\n", block["code"]):
        return named[1]
    if re.search(r"^(async )?def test_", block["code"], re.MULTILINE):
        return f"test_line_{block['line']}.py"
    return None


def main() -> int:
    blocks = json.load(sys.stdin)
    answer_for_every_name()
    sys.path.insert(0, "")
    files = {file_of(block): block for block in blocks}
    for name, block in files.items():
        if name is not None:
            code = [block["marks"].get("before", ""), block["code"], block["marks"].get("after", "")]
            Path(name).write_text("\n".join(code))
    page = Page()
    for block in blocks:
        if file_of(block) is None:
            try:
                printed = page.run(block)
            except BaseException:
                print(f"the block at {block['page']}:{block['line']} failed", file=sys.stderr, flush=True)
                raise
            if block["prints"] not in (None, printed):
                print(f"{block['page']}:{block['line']} prints\n{printed}and not\n{block['prints']}", file=sys.stderr)
                return 1
    page.close()
    return run_tests() if any(name and name.startswith("test_") for name in files) else 0


def run_tests() -> int:
    import pytest

    Path("pytest.ini").write_text(PYTEST)
    plugins = ["-p", "no:cacheprovider", "-p", "no:django", "-p", "no:playwright"]
    return int(pytest.main(["-q", "--rootdir=.", *plugins]))


if __name__ == "__main__":
    sys.exit(main())
