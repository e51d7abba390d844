"""What the OpenAPI document cannot say, told to schemathesis: rules that span two fields, and tags in quotes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any
from uuid import UUID

import schemathesis

from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, RESERVED_NAMES, TABLE_DEFAULTS, breaker_problems

FIELDS = {**BREAKER_FIELDS, **HTTP_FIELDS}
SPANNING = {"window_type", "window_size", "minimum_calls", "slow_call_duration", "slow_call_rate_threshold"}
ADDRESSES = IPv4Network("10.0.0.0/8").hosts()
NAMES = ("bank-api", "data_service")


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leaves out configs that are right field by field and wrong as a whole; what has a wrong field stays.

    Leaves out 378.0 too: JSON Schema calls it an integer, we coerce nothing.
    """
    configs = _configs(case.body)
    if any(_is_whole_float(value) for config in configs if isinstance(config, Mapping) for value in config.items()):
        return False
    if not all(isinstance(config, Mapping) and _right(config) for config in configs):
        return True
    partial = case.method.upper() == "PATCH" or (isinstance(case.body, Mapping) and "format" in case.body)
    return not any(_contradicts(config, partial=partial) for config in configs)


def _is_whole_float(item: tuple[str, Any]) -> bool:
    name, value = item
    integer = name in ("version", "to_version") or (name in FIELDS and FIELDS[name].kind == "integer")
    return integer and isinstance(value, float) and value.is_integer()


def _configs(body: Any) -> list[Any]:
    if not isinstance(body, Mapping):
        return []
    entries = body.get("breakers")
    if isinstance(entries, Mapping):
        return [entry["config"] for entry in entries.values() if isinstance(entry, Mapping) and "config" in entry]
    return [body]


def _right(config: Mapping[str, Any]) -> bool:
    return all(FIELDS[name].problem(value) is None for name, value in config.items() if name in FIELDS)


def _contradicts(config: Mapping[str, Any], *, partial: bool) -> bool:
    """Of a part, what it says depends on what stands there: it must not touch the rules at all."""
    if partial:
        return bool(SPANNING & config.keys())
    values = {name: config.get(name, default) for name, default in TABLE_DEFAULTS.items()}
    return bool(breaker_problems({**values, "name": "x"}))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A version travels in quotes, where the generator takes ``"3"`` for JSON and sends 3; no instance runs here.

    Each comes from an address of its own: one that tries many wrong keys is slowed down.
    What is made up as ``Authorization`` becomes a key of ours: beside a session, that of another house says nothing.
    """
    case.headers["X-Forwarded-For"] = str(next(ADDRESSES))
    made_up = case.headers.get("Authorization")
    if made_up is not None and not str(made_up).lower().startswith("bearer "):
        case.headers["Authorization"] = f"Bearer {made_up}"
    if isinstance(case.body, dict) and isinstance(case.body.get("instance"), str):
        with contextlib.suppress(ValueError):
            UUID(case.body["instance"])
            case.body["instance"] = None
    tag = str((case.headers or {}).get("If-Match", ""))
    if tag.isdecimal():
        case.headers["If-Match"] = f'"{tag}"'


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Every second name is one that exists, and none is an address of its own."""
    name = (path_parameters or {}).get("name")
    if not isinstance(name, str) or (not BREAKER_FIELDS["name"].problem(name) and sum(map(ord, name)) % 2):
        return path_parameters
    if name in RESERVED_NAMES or not BREAKER_FIELDS["name"].problem(name):
        return {**path_parameters, "name": NAMES[len(name) % 2]}
    return path_parameters
