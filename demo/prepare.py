"""What the server needs before its first start: tables, the operator, the fleet's key. Safe at every start."""

from __future__ import annotations

import argparse
import contextlib
import io
import secrets
from pathlib import Path

import django

from .groups import GROUPS
from .keeping import kept_secret
from .services import CONFIGS, HTTP


def prepare(var: Path) -> None:
    from django.core.management import call_command  # after setup

    call_command("migrate", verbosity=0, interactive=False)
    _keep_operator(kept_secret(var / "operator-password", secrets.token_urlsafe(12)))
    _keep_fleet_key(var / "fleet-key")
    _describe()


def _describe() -> None:
    """The breakers of the fleet, grouped; those that are there stay as people made them."""
    from breakers.problems import AlreadyExists
    from breakers.services import Actor, breaker_create

    for name, (group, description) in GROUPS.items():
        texts = {"group": group, "description": description, "reason": "What belongs together"}
        with contextlib.suppress(AlreadyExists):
            breaker_create(name=name, config=CONFIGS[name], http=HTTP[name], by=Actor("user", "operator"), **texts)


def _keep_operator(password: str) -> None:
    from django.contrib.auth.models import Group, User

    user, created = User.objects.get_or_create(username="operator", defaults={"is_staff": True})
    user.groups.add(*Group.objects.filter(name__in=("operator", "editor")))
    if created or not user.check_password(password):
        user.set_password(password)
        user.save()


def _keep_fleet_key(path: Path) -> None:
    """A key in ``path`` that the database knows; a database begun anew gets a new one."""
    from django.core.management import call_command

    from breakers.api.authentication import authenticate_key

    if path.exists() and authenticate_key(path.read_text().strip()) is not None:
        return
    path.unlink(missing_ok=True)
    printed = io.StringIO()
    call_command("create_api_key", f"demo fleet {secrets.token_hex(3)}", scopes="agent", stdout=printed)
    kept_secret(path, printed.getvalue().strip())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("var", type=Path)
    django.setup()
    prepare(parser.parse_args().var)
