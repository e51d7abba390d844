"""Many configs at once, out of a document: all of it or nothing, and first as a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from django.db import transaction

from breakers.advice import advice
from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, CircuitBreakerConfig, HttpConfig
from breakers.core.errors import ConfigError
from breakers.documents import Entry
from breakers.models import BreakerConfig, Revision
from breakers.problems import Problem

from .actors import Actor
from .configs import breaker_create, breaker_edit
from .texts import storable

Action = Literal["create", "edit", "same", "left to code", "conflict", "invalid"]
MOST_IMPORTED: Final = 1000
"""Breakers that one import may write: until it commits, every other write waits, for some thousandths each."""
_HINDRANCES = frozenset({"conflict", "invalid"})


@dataclass(frozen=True, slots=True)
class ImportLine:
    """What an import means for one breaker. ``differences``: setting to (before, after)."""

    name: str
    action: Action
    version: int | None = None
    """That stands now; ``None`` where there is no such breaker."""
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    problem: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportPlan:
    lines: tuple[ImportLine, ...]

    @property
    def hindrances(self) -> dict[str, str]:
        """Breaker to the sentence that says why nothing can be imported; empty where all can."""
        return {line.name: line.problem for line in self.lines if line.action in _HINDRANCES}

    @property
    def writes(self) -> int:
        return sum(line.action in ("create", "edit") for line in self.lines)


class ImportRefused(Problem):
    """Nothing was imported: somebody changed a breaker since the export, or a config cannot be."""

    def __init__(self, plan: ImportPlan) -> None:
        self.plan = plan
        sentences = "; ".join(f"{name}: {problem}" for name, problem in plan.hindrances.items())
        super().__init__("import", f"nothing was imported: {sentences}")


@dataclass(frozen=True, slots=True)
class _Draft:
    row: BreakerConfig
    line: ImportLine


def configs_plan(*, entries: Iterable[Entry]) -> ImportPlan:
    """What :func:`configs_import` would do now; writes nothing. One query.

    Raises ``ConfigError`` where it is too much at once.
    """
    return _planned(_drafts(entries))


def _planned(drafts: Iterable[_Draft]) -> ImportPlan:
    plan = ImportPlan(tuple(draft.line for draft in drafts))
    if plan.writes > MOST_IMPORTED:
        sentence = f"would write {plan.writes} of them; at most {MOST_IMPORTED} at once: import it in parts"
        raise ConfigError({"breakers": sentence})
    return plan


@transaction.atomic
def configs_import(*, entries: Iterable[Entry], reason: str, by: Actor) -> ImportPlan:
    """Creates and edits what the entries say, each with its audit row; breakers they do not name stay as they are.

    An entry that carries a version is refused where another stands by now, unless it changes nothing. Raises
    ``ImportRefused`` with the plan, or ``ConfigError`` where it is too much at once, and then has written nothing.
    """
    Revision.locked()
    drafts = _drafts(entries)
    plan = _planned(drafts)
    if plan.hindrances:
        raise ImportRefused(plan)
    for draft in drafts:
        _write(draft, reason, by)
    return plan


def _write(draft: _Draft, reason: str, by: Actor) -> None:
    row = draft.row
    write: Callable[..., BreakerConfig] = breaker_create if draft.line.action == "create" else breaker_edit
    if draft.line.action in ("create", "edit"):
        write(
            name=row.name,
            config=row.config(),
            http=row.http_config(),
            group=row.group,
            description=row.description,
            reason=reason,
            by=by,
        )


def _drafts(entries: Iterable[Entry]) -> list[_Draft]:
    rows = {row.name: row for row in BreakerConfig.objects.all()}
    return [_draft(entry, rows.get(entry.name)) for entry in entries]


def _draft(entry: Entry, stands: BreakerConfig | None) -> _Draft:
    row = stands or BreakerConfig(name=entry.name)
    before = row.settings() if stands else {}
    try:
        config, http = _configs(row, entry.values)
    except ConfigError as error:
        problem = "; ".join(f"{name} {text}" for name, text in error.fields.items())
        return _Draft(row, ImportLine(entry.name, "invalid", stands.version if stands else None, problem=problem))
    row.take(config, http)
    row.group = row.group if entry.group is None else storable(entry.group)
    row.description = row.description if entry.description is None else storable(entry.description)
    return _Draft(row, _line(entry, stands, before, row.settings(), tuple(advice(config, http))))


def _line(
    entry: Entry,
    stands: BreakerConfig | None,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    warnings: tuple[str, ...],
) -> ImportLine:
    differences = {name: (before.get(name), after[name]) for name in after if before.get(name) != after[name]}
    if stands is None and not entry.managed:
        return ImportLine(entry.name, "left to code")
    if stands is None:
        return ImportLine(entry.name, "create", None, differences, warnings=warnings)
    if not differences:
        return ImportLine(entry.name, "same", stands.version)
    if entry.version not in (None, stands.version):
        problem = f"it is at version {stands.version} now, the document was made of version {entry.version}"
        return ImportLine(entry.name, "conflict", stands.version, differences, problem)
    return ImportLine(entry.name, "edit", stands.version, differences, warnings=warnings)


def _configs(row: BreakerConfig, values: Mapping[str, Any]) -> tuple[CircuitBreakerConfig, HttpConfig]:
    """What is given over what stands, or over the defaults. Raises ``ConfigError`` for what only the whole shows."""
    whole = {name: values.get(name, getattr(row, name)) for name in (*BREAKER_FIELDS, *HTTP_FIELDS)}
    config = CircuitBreakerConfig(**{name: whole[name] for name in BREAKER_FIELDS})
    return config, HttpConfig(**{name: whole[name] for name in HTTP_FIELDS})
