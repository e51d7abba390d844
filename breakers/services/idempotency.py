"""A request that carries a key is done once: begun under the key, and its answer kept for a day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from breakers.models import KeptAnswer
from breakers.problems import KeyInUse, KeyReused

from .actors import Actor

LIFETIME: Final = timedelta(hours=24)


def answer_begin(*, key: str, digest: str, by: Actor) -> KeptAnswer:
    """The answer that was given to the same request under this key, else a new row without a status: do it now.

    Raises ``KeyReused`` where the key came with another request, ``KeyInUse`` where that one has not ended. One that
    never ended, because the server did, stays so for its day: whether it was done, the audit says.
    """
    KeptAnswer.objects.filter(created_at__lt=timezone.now() - LIFETIME).delete()
    try:
        with transaction.atomic():
            return KeptAnswer.objects.create(caller=str(by), key=key, digest=digest)
    except IntegrityError:
        kept = KeptAnswer.objects.filter(caller=str(by), key=key).first()
    if kept is None:  # forgotten between the two statements
        raise KeyInUse(key)
    if kept.digest != digest:
        raise KeyReused(key)
    if kept.status is None:
        raise KeyInUse(key)
    return kept


def answer_keep(*, begun: KeptAnswer, status: int, headers: Mapping[str, str], body: str) -> None:
    """What everybody gets who asks the same again."""
    KeptAnswer.objects.filter(pk=begun.pk).update(status=status, headers=dict(headers), body=body)


def answer_forget(*, begun: KeptAnswer) -> None:
    """The request was refused and did nothing: its key is free again."""
    KeptAnswer.objects.filter(pk=begun.pk).delete()
