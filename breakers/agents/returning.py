"""An instance that nobody here remembers says hello: new, or back after it was gone for long."""

from __future__ import annotations

from django.utils import timezone

from breakers import selectors, services
from breakers.fleet import fleet
from breakers.models import InstanceIdentity


def readmit(identity: InstanceIdentity, revision: int) -> bool:
    """Lets the fleet know what the database still holds of it; whether that is nothing, though it was linked before.

    ``revision``: the desired state that it has applied. One query.
    """
    record = selectors.instance(identity.id)
    if record is not None:
        if record.folded:
            fleet.readmit(record)
        return record.forgotten
    return revision > 0 and timezone.now() - identity.started_at > services.FORGET_AFTER
