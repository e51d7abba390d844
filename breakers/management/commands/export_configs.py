"""``manage.py export_configs > configs.yaml``: all configs as one YAML document."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from breakers import documents, selectors


class Command(BaseCommand):
    help = "Prints all configs as YAML. What import_configs reads back is refused where somebody was faster."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--without-versions",
            action="store_true",
            help="for another control plane: an import then edits whatever version stands there",
        )

    def handle(self, *args: object, without_versions: bool, **options: Any) -> None:  # what argparse found
        records = selectors.desired_state().breakers.values()
        self.stdout.write(documents.dump(records, versions=not without_versions), ending="")
