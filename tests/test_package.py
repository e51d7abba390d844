"""The wheel, and what importing it costs: a service needs no Django."""

from __future__ import annotations

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
