"""``manage.py create_api_key NAME --scopes agent,read,operate``: a new key, shown once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from breakers.core.errors import ConfigError
from breakers.models import SCOPES
from breakers.problems import AlreadyExists
from breakers.services import Actor, api_key_create


class Command(BaseCommand):
    help = "Makes an API key and prints it, alone, on standard output. It is shown this once and stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the key is for; unique")
        parser.add_argument("--scopes", required=True, help=f"comma-separated, of {', '.join(SCOPES)}")

    def handle(self, *args: object, name: str, scopes: str, **options: Any) -> None:  # what argparse found
        wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
        try:
            _, secret = api_key_create(name=name, scopes=wanted, by=Actor("system"))
        except AlreadyExists:
            raise CommandError(f"There is already a key named {name!r}; choose another name.") from None
        except ConfigError as error:
            sentences = [f"{field.capitalize()} {problem}." for field, problem in error.fields.items()]
            raise CommandError(" ".join(sentences)) from None
        self.stdout.write(secret)
