"""``manage.py prune_history --days 30``: deletes old transitions; with ``--dry-run`` says how many those are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from breakers.services import history_prunable, history_prune

LONGEST = 36500
_REST = "What was deleted until then stays deleted; run it again for the rest."


class Command(BaseCommand):
    help = "Deletes transitions that are older than so many days; the last one of every breaker stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=getattr(settings, "CIRCUIT_BREAKER_HISTORY_DAYS", 30),
            help="default: CIRCUIT_BREAKER_HISTORY_DAYS, now %(default)s",
        )
        parser.add_argument("--dry-run", action="store_true", help="say how many would go, and delete nothing")

    def handle(self, *args: object, days: int, dry_run: bool, **options: Any) -> None:  # what argparse found
        if not 1 <= days <= LONGEST:
            raise CommandError(f"--days must be from 1 to {LONGEST}, not {days}.")
        before = timezone.now() - timedelta(days=days)
        try:
            number = history_prunable(before=before) if dry_run else history_prune(before=before)
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database does not answer: {error}. {'' if dry_run else _REST}".rstrip()) from None
        done = "would be deleted" if dry_run else "deleted"
        self.stdout.write(f"{number} transition{'' if number == 1 else 's'} {done}, older than {days} days.")
