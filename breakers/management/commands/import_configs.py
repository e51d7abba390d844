"""``manage.py import_configs configs.yaml --dry-run``: what would change; without ``--dry-run``, changes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from breakers import documents
from breakers.core.errors import ConfigError
from breakers.services import Actor, ImportLine, ImportPlan, ImportRefused, configs_import, configs_plan

_MARKS = {"create": "+", "edit": "~", "conflict": "!", "invalid": "!"}


class Command(BaseCommand):
    help = "Creates and edits what a YAML document says; all of it or, where one breaker cannot be, nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the document; - reads standard input")
        parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
        parser.add_argument("--reason", default="", help="stands in the audit of each change")

    def handle(
        self, *args: object, file: str, dry_run: bool, reason: str, **options: Any
    ) -> None:  # what argparse found
        try:
            entries = documents.parse(_read(file))
            if dry_run:
                plan = configs_plan(entries=entries)
            else:
                plan = configs_import(entries=entries, reason=reason or f"Imported from {file}", by=Actor("system"))
        except ConfigError as error:
            raise CommandError("\n".join(f"{place}: {problem}" for place, problem in error.fields.items())) from None
        except ImportRefused as refused:
            self._show(refused.plan)
            raise CommandError("Nothing was imported: see the lines that begin with '!'.") from None
        self._show(plan)
        if plan.hindrances:
            raise CommandError("It would be refused: see the lines that begin with '!'.")
        done = "would be written" if dry_run else "written"
        self.stdout.write(f"{plan.writes} of {len(plan.lines)} breakers {done}.")

    def _show(self, plan: ImportPlan) -> None:
        for line in plan.lines:
            for text in _told(line):
                self.stdout.write(text)


def _told(line: ImportLine) -> list[str]:
    if line.action == "same":
        return []
    problem = f": {line.problem}" if line.problem else ""
    found = [f"{_MARKS.get(line.action, ' ')} {line.name}: {line.action}{problem}"]
    found += [f"    {name}: {before!r} -> {after!r}" for name, (before, after) in line.differences.items()]
    return found + [f"    mind: {sentence}" for sentence in line.warnings]


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file}: {error}") from None
