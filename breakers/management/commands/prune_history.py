"""``manage.py prune_history --days 30``: deletes old transitions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from breakers.services import history_prune

LONGEST = 36500


class Command(BaseCommand):
    help = "Deletes transitions that are older than so many days; the last one of every breaker stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=getattr(settings, "CIRCUIT_BREAKER_HISTORY_DAYS", 30),
            help="default: CIRCUIT_BREAKER_HISTORY_DAYS, now %(default)s",
        )

    def handle(self, *args: object, days: int, **options: Any) -> None:  # what argparse found
        if not 1 <= days <= LONGEST:
            raise CommandError(f"--days must be from 1 to {LONGEST}, not {days}.")
        deleted = history_prune(before=timezone.now() - timedelta(days=days))
        self.stdout.write(f"{deleted} transition{'' if deleted == 1 else 's'} deleted, older than {days} days.")
