"""The wheel, and what importing it costs: a service needs no Django."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import breakers

ROOT = Path(__file__).resolve().parent.parent

# Nothing of the server may load in a service. "found" lists what did.
IMPORT_WITHOUT_DJANGO = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"django", "rest_framework", "channels", "daphne", "psycopg"}:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Blocked())
import breakers, breakers.client, breakers.client.metrics, breakers.testing
print(breakers.__file__)
breaker = breakers.get_circuit_breaker("data_service", breakers.CircuitBreakerConfig(failure_threshold=1))
assert breaker.call_sync(lambda: 7) == 7
for name in breakers.__all__:
    getattr(breakers, name)
"""


def run(code: str, **where: object) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, **where)  # type: ignore[call-overload]  # cwd, env
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline, by the build backend that pyproject names."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=50,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_works_where_django_is_not(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    where = run(IMPORT_WITHOUT_DJANGO, cwd=tmp_path)
    assert where.startswith(str(tmp_path))


def test_the_wheel_is_all_of_breakers_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.partition("/")[0] for name in names} == {
        "breakers",
        f"tradpal_circuit_breakers-{wheel.name.split('-')[1]}.dist-info",
    }
    assert "breakers/py.typed" in names
    assert "breakers/migrations/0001_initial.py" in names
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert {line.split()[1].partition(">")[0] for line in required} == {"aiohttp", "prometheus-client", "tenacity"}


@pytest.fixture(scope="module")
def service(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which a service has installed the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("service")
    uv, python = Path(sys.executable).with_name("uv"), folder / "venv/bin/python"
    pins = ROOT / "requirements.txt"  # which versions; the wheel alone says what
    for command in (
        ["venv", "--quiet", "--python", sys.executable, folder / "venv"],
        ["pip", "install", "--quiet", "--python", python, "--constraint", pins, wheel],
    ):
        done = subprocess.run([uv, *command], capture_output=True, text=True, timeout=140)
        assert done.returncode == 0, done.stderr
    return python


@pytest.mark.timeout(150)  # the first waits until the wheel is built and installed
def test_a_service_that_installs_the_wheel_has_the_library_and_no_django(service: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util, breakers, breakers.client, breakers.client.metrics, breakers.testing\n"
        "assert importlib.util.find_spec('django') is None\n"
        "breaker = breakers.get_circuit_breaker('data_service')\n"
        "print(breaker.call_sync(lambda: 7))"
    )
    ran = subprocess.run([service, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (ran.stdout, ran.stderr) == ("7\n", "")
    told = subprocess.run([service, "-m", "breakers", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.startswith("usage: python -m breakers")


PROGRAM = """
from breakers import CircuitBreaker, CircuitBreakerConfig, Transition, get_circuit_breaker

breaker: CircuitBreaker = get_circuit_breaker("data_service", CircuitBreakerConfig(failure_threshold=3))

@breaker
async def price(symbol: str, *, day: int = 0) -> float:
    return 1.5

async def main() -> None:
    reveal_type(await breaker.call(price, "TPAL", day=1))
    reveal_type(breaker.call_sync(str.upper, "x"))
    await price(7)
    breaker.on_transition(lambda happened: print(happened.cause))
"""


@pytest.mark.timeout(150)  # as above
def test_a_service_is_type_checked_against_the_wheel(service: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", service, "program.py"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=140).stdout
    *notes, found = [line.partition(": ")[2] or line for line in told.splitlines()]
    assert notes == [
        'note: Revealed type is "float"',
        'note: Revealed type is "str"',
        'error: Argument 1 to "price" has incompatible type "int"; expected "str"  [arg-type]',
    ]
    assert found == "Found 1 error in 1 file (checked 1 source file)"


@pytest.mark.parametrize(
    ("extra", "brings"), [("django", "django"), ("httpx", "httpx"), ("events", "redis"), ("otel", "opentelemetry-api")]
)
def test_each_extra_names_what_it_brings(wheel: Path, extra: str, brings: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    assert f"Provides-Extra: {extra}\n" in metadata
    assert re.search(rf"^Requires-Dist: {brings}\b.*extra == '{extra}'", metadata, re.MULTILINE | re.IGNORECASE)
    assert "Description-Content-Type: text/markdown" in metadata


def test_importing_breakers_imports_no_django() -> None:
    assert (
        run("import breakers, sys; print([m for m in sys.modules if m.startswith('django')])", cwd=ROOT).strip() == "[]"
    )


def test_importing_breakers_starts_nothing() -> None:
    code = "import breakers, threading; print(len(threading.enumerate()), len(breakers.registry))"
    assert run(code, cwd=ROOT).split() == ["1", "0"]


def test_importing_breakers_loads_only_what_most_services_use() -> None:
    heavy = "('prometheus_client', 'sqlite3', 'unittest')"
    assert run(f"import breakers, sys; print([m for m in {heavy} if m in sys.modules])", cwd=ROOT).strip() == "[]"


def test_the_app_registry_of_django_may_come_later() -> None:
    """Django imports the package of an app before it is ready for models."""
    code = (
        "import os; os.environ.update(DJANGO_SETTINGS_MODULE='tests.settings');"
        "import breakers; from django.apps import apps; assert not apps.ready; import django; django.setup();"
        "print(apps.get_app_config('breakers').verbose_name)"
    )
    assert run(code, cwd=ROOT).strip() == "Circuit breakers"


def test_the_names_are_sorted_and_all_there() -> None:
    assert breakers.__all__ == sorted(breakers.__all__)
    promised = {
        "CircuitBreaker", "HttpCircuitBreaker", "CircuitBreakerConfig", "HttpConfig", "CircuitBreakerRegistry",
        "CircuitBreakerState", "Override", "Transition", "CircuitBreakerError", "CircuitBreakerOpenError",
        "ConfigError",
        "get_circuit_breaker", "get_http_circuit_breaker", "registry", "connect", "aiohttp_middleware",
    }  # fmt: skip
    assert promised <= set(breakers.__all__)
    assert all(hasattr(breakers, name) for name in breakers.__all__)
