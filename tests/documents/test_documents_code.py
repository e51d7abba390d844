"""Every code block of the README and the pages runs, or is read where it cannot run and says why."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.documents import shell
from tests.documents.pages import EVERY, PAGES, ROOT, Block, of
from tests.redis_server import RedisServer
from tests.servers import ServerProcess

PYTHON, SHELL = of("python"), of("bash", "sh")
RUN = ("python", "bash", "sh")
READ = ("json", "yaml", "promql", "text")
pytestmark = pytest.mark.timeout(150)  # the first waits for the server; each shell block starts programs
HOW = (
    "Say `<!-- not run: why -->` above a block that cannot run here, `<!-- serves -->` above one that does not end, and"
    " `<!-- before: code -->` for what it needs; tests/documents/pages.py has all marks."
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The control plane that pages talk to; of its fleet they know a breaker ``bank-api`` in the group ``core``."""
    folder = tmp_path_factory.mktemp("documents")
    environment = {"CIRCUIT_BREAKER_LOG_FILE": str(folder / "tradpal.log")}
    with ServerProcess(folder, environment=environment) as running:
        for name in ("bank-api", "broker_api", "data_service"):
            assert running.request("POST", "/circuit-breakers", {"name": name, "group": "core"})[0] == 201
        yield running


@pytest.mark.parametrize("block", EVERY, ids=lambda block: block.place)
def test_every_block_has_a_language_that_somebody_checks(block: Block) -> None:
    assert block.language in (*RUN, *READ), (
        f"```{block.language} is none of {RUN + READ}; `text` is for what is no code"
    )
    assert block.marks.get("not run", "a reason").strip(), "`not run` wants its reason"
    assert block.marks.get("needs", "redis") == "redis"
    assert block.language in RUN or not block.marks.keys() & {"not run", "needs", "before", "after", "serves"}


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_runs(page: str, server: ServerProcess, tmp_path: Path) -> None:
    runnable = [block for block in PYTHON[page] if "not run" not in block.marks]
    with engines(runnable, tmp_path) as found:
        run_python(runnable, {**server.environment, **found}, server, tmp_path)


@contextmanager
def engines(blocks: list[Block], folder: Path) -> Iterator[dict[str, str]]:
    """The variables by which blocks find what they need."""
    if not any("needs" in block.marks for block in blocks):
        yield {}
        return
    (folder / "redis").mkdir()
    with RedisServer(folder / "redis") as redis:
        yield {"REDIS_URL": redis.url}


def run_python(runnable: list[Block], variables: dict[str, str], server: ServerProcess, folder: Path) -> None:
    fields = ("page", "line", "code", "marks", "prints")
    blocks = [{name: getattr(block, name) for name in fields} for block in runnable]
    environment = {
        **variables,
        "PYTHONPATH": str(ROOT),
        "CIRCUIT_BREAKER_SERVICE_URL": server.url,
        "CIRCUIT_BREAKER_SERVICE_TOKEN": server.token,
        "CIRCUIT_BREAKER_SERVICE_NAME": "documents",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tests/documents/python_page.py"],
        cwd=folder, env=environment, input=json.dumps(blocks), capture_output=True, text=True, timeout=140,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{HOW}"


@pytest.mark.parametrize("block", [one for one in EVERY if one.language == "python"], ids=lambda block: block.place)
def test_python_that_is_not_run_is_python_at_least(block: Block) -> None:
    compile(block.code, block.page, "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize("page", SHELL)
def test_the_shell_of_a_page_runs(page: str, server: ServerProcess, tmp_path: Path) -> None:
    if missing := shell.is_missing():
        pytest.skip(f"{missing} is not installed")
    blocks = [block for block in SHELL[page] if "not run" not in block.marks]
    try:
        with engines(blocks, tmp_path) as found:
            shell.run(blocks, tmp_path, server, found)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{HOW}") from None


@pytest.mark.parametrize("block", [one for one in EVERY if one.language in ("bash", "sh")], ids=lambda one: one.place)
def test_a_shell_block_is_sound_and_what_it_calls_is_there(block: Block) -> None:
    shell.lint(block)
    shell.look_up(block)


@pytest.mark.parametrize("block", [one for one in EVERY if one.language == "json"], ids=lambda one: one.place)
def test_json_is_json(block: Block) -> None:
    json.loads(block.code)


@pytest.mark.parametrize("block", [one for one in EVERY if one.language == "yaml"], ids=lambda one: one.place)
def test_yaml_is_yaml_and_configs_are_taken_by_the_server(block: Block, server: ServerProcess) -> None:
    document = yaml.safe_load(block.code)
    if "breakers" in document:
        for one in document["breakers"].values():
            one.pop("version", None)  # of the server that the page speaks of
        status, plan = server.request("POST", "/configs?dry_run=1", document)
        assert status == 200, plan


def test_promql_is_promql(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; it comes with Prometheus")
    in_a_table = re.findall(r"^\| [^|]+\? \| `(.+)` \|$", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    asked = [*in_a_table, *(block.code for block in EVERY if block.language == "promql")]
    assert len(asked) >= 8
    rules = [{"record": f"page:query:{number}", "expr": code} for number, code in enumerate(asked)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "pages", "rules": rules}]}))
    checked = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(asked)} rules" in checked.stdout


def test_all_pages_were_looked_at() -> None:
    assert {"README.md", "docs/client.md", "docs/deploy.md"} <= {str(page.relative_to(ROOT)) for page in PAGES}
    assert len(EVERY) > 40
