"""All configs as one YAML text, and such a text read back: strictly, with every wrong place named.

::

    format: 1
    breakers:
      data_service:
        version: 3          # the one that was exported: an import is refused where another stands by then
        group: core
        description: ""
        config:
          failure_threshold: 5
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, Field
from breakers.core.errors import ConfigError
from breakers.models import BreakerRecord

FORMAT: Final = 1
LONGEST: Final = 4 * 1024 * 1024
DEEPEST: Final = 10
MOST: Final = 10_000
"""Breakers of a document: they are compared with what stands while nothing is locked."""
CONFIG_FIELDS: Final[Mapping[str, Field]] = {n: f for n, f in BREAKER_FIELDS.items() if n != "name"} | dict(HTTP_FIELDS)
_ENTRY_KEYS: Final = frozenset({"version", "managed", "group", "description", "config"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One breaker of a document; ``None`` and absent fields say nothing: what stands stays."""

    name: str
    values: Mapping[str, Any]
    """Fields of both configs."""
    version: int | None = None
    managed: bool = True
    group: str | None = None
    description: str | None = None


def dump(records: Iterable[BreakerRecord], *, versions: bool = True) -> str:
    """The text of these breakers, by name; without ``versions`` it fits any control plane, and overwrites there."""
    ordered = sorted(records, key=lambda record: record.name)
    if not ordered:
        return _yaml({"format": FORMAT, "breakers": {}})
    # one by one: the library lets no other thread run before it is done, and a thousand at once take it 20 ms
    entries = (_yaml({"breakers": {record.name: _told(record, versions)}}) for record in ordered)
    return _yaml({"format": FORMAT}) + "breakers:\n" + "".join(entry.removeprefix("breakers:\n") for entry in entries)


def _yaml(document: Mapping[str, Any]) -> str:
    return str(yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=120))


def _told(record: BreakerRecord, versions: bool) -> dict[str, Any]:
    config = {**record.config.as_dict(), **record.http.as_dict()}
    return {
        **({"version": record.version} if versions else {}),
        **({} if record.managed else {"managed": False}),
        "group": record.group,
        "description": record.description,
        "config": {name: config[name] for name in CONFIG_FIELDS},
    }


def parse(text: str) -> tuple[Entry, ...]:
    """The entries of a text of :func:`dump`. Raises ``ConfigError`` that names each wrong place by its path."""
    document = _mapping_of(_loaded(text), "document")
    stated = document.get("format")
    problems = {} if stated == FORMAT and type(stated) is int else {"format": f"must be {FORMAT}"}
    problems |= {str(key)[:100]: "no such key" for key in document if key not in ("format", "breakers")}
    breakers = _mapping_of(document.get("breakers", {}), "breakers")
    if len(breakers) > MOST:
        raise ConfigError({"breakers": f"must be at most {MOST}, not {len(breakers)}"})
    for name, told in breakers.items():
        problems |= dict(_entry_problems(name, told))
    if problems:
        raise ConfigError(problems)
    return tuple(_entry(name, told) for name, told in breakers.items())


def _loaded(text: str) -> object:
    if len(text) > LONGEST:
        raise ConfigError({"document": f"must be at most {LONGEST} characters"})
    loader = _LOADER
    try:
        _walk(yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=loader)  # noqa: S506  # a subclass of the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as problem:  # ValueError: a date that no calendar has
        raise ConfigError(
            {"document": f"is not YAML that can be read: {' '.join(str(problem).split())[:300]}"}
        ) from None


def _walk(events: Iterator[yaml.Event]) -> None:
    """Aliases are refused, since a few of them can name a text of gigabytes; and so is what is nested without end."""
    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.YAMLError(f"it is nested deeper than {DEEPEST} levels")


class _Unique:
    """A mapping that names one key twice is an error: the last would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.YAMLError(f"{str(key.value)[:100]!r} stands there twice, {key.start_mark}")
            seen.add(str(key.value))
        found: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]  # of the loader beside it
        return found


_LOADER: Any = type("_Loader", (_Unique, getattr(yaml, "CSafeLoader", yaml.SafeLoader)), {})
_DUMPER: Any = type("_Dumper", (getattr(yaml, "CSafeDumper", yaml.SafeDumper),), {})
# Of numbers only those on which all agree. YAML 1.1 takes 1e300 for text, 010 for 8 and 1:30 for 90; JSON and YAML 1.2
# do not. What one of them reads as something else is text here, and so refused where a number belongs; written, a name
# that any of them takes for a number is quoted.
_FLOAT: Final = r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_NUMBERS: Final = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"),
    "tag:yaml.org,2002:float": re.compile(rf"(?:{_FLOAT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
}
_LOADER.yaml_implicit_resolvers = {
    first: [(tag, looks) for tag, looks in known if tag not in _NUMBERS]
    for first, known in _LOADER.yaml_implicit_resolvers.items()
}
for _tag, _looks in _NUMBERS.items():
    _LOADER.add_implicit_resolver(_tag, _looks, "-+.0123456789")
    _DUMPER.add_implicit_resolver(_tag, _looks, "-+.0123456789")


def _mapping_of(value: object, where: str) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    raise ConfigError({where: f"must be a mapping, not {'empty' if value is None else type(value).__name__}"})


def _entry_problems(name: object, told: object) -> Iterator[tuple[str, str]]:
    path = f"breakers.{str(name)[:100]}"
    problem = BREAKER_FIELDS["name"].problem(name)
    if problem is not None:
        yield path, problem
    if not isinstance(told, Mapping):
        yield path, "must be a mapping"
        return
    yield from ((f"{path}.{str(key)[:100]}", "no such key") for key in told if key not in _ENTRY_KEYS)
    yield from _text_problems(path, told)
    version, managed = told.get("version"), told.get("managed", True)
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        yield f"{path}.version", "must be an integer >= 1, or left out"
    if not isinstance(managed, bool):
        yield f"{path}.managed", "must be true or false"
    yield from _value_problems(f"{path}.config", told.get("config", {}))


def _text_problems(path: str, told: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for key, longest in (("group", 100), ("description", 10_000)):
        value = told.get(key, "")
        if not isinstance(value, str) or len(value) > longest:
            yield f"{path}.{key}", f"must be text of at most {longest} characters"


def _value_problems(path: str, values: object) -> Iterator[tuple[str, str]]:
    if not isinstance(values, Mapping):
        yield path, "must be a mapping"
        return
    for name, value in values.items():
        problem = CONFIG_FIELDS[name].problem(value) if name in CONFIG_FIELDS else "no such field"
        if problem is not None:
            yield f"{path}.{str(name)[:100]}", problem


def _entry(name: str, told: Mapping[str, Any]) -> Entry:
    return Entry(
        name=name,
        values=dict(told.get("config", {})),
        version=told.get("version"),
        managed=told.get("managed", True),
        group=told.get("group"),
        description=told.get("description"),
    )
