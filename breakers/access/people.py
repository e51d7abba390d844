"""Who is signed in: Django's users, remembered for while the database is away, and then only to read."""

from __future__ import annotations

import logging
from copy import copy
from typing import Any, Final

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.db.models import F

from breakers.outage import AWAY, MOST, Remembered, outage

from .sessions import sessions_remember

logger = logging.getLogger("breakers.access")

known: Final[Remembered[Any, User]] = Remembered()
_RECALLED: Final = "_was_recalled"


class People(ModelBackend):
    """Raises what the database does while it is away, where nothing is remembered."""

    def get_user(self, user_id: Any) -> User | None:  # of whatever type the key of users has
        try:
            found: User | None = outage.ask(lambda: super(People, self).get_user(user_id))
        except AWAY:
            remembered = known.recall(user_id)
            if remembered is None:
                raise
            return _recalled(remembered)
        if found is None:
            known.forget(user_id)
        else:
            known.keep(user_id, copy(found))
        return found


def _recalled(remembered: User) -> User:
    user = copy(remembered)
    setattr(user, _RECALLED, True)
    return user


def is_recalled(user: object) -> bool:
    """Whether the database could not say who this is: memory did."""
    return getattr(user, _RECALLED, False)


def people_remember() -> None:
    """Who may sign in, and the sessions in which they are. Two queries."""
    sessions_remember()
    active = User.objects.filter(is_active=True).order_by(F("last_login").desc(nulls_last=True))
    people = {user.pk: user for user in active[:MOST]}
    known.keep_only(people)
    logger.debug("%d people and their sessions are remembered", len(people))
