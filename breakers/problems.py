"""What a write can meet, with the facts as attributes; wrong values are :class:`breakers.core.errors.ConfigError`::

Problem(Exception)
├── NotFound           no breaker, or key, of this name
├── AlreadyExists      the name is taken
├── UnknownVersion     the breaker never had this version
├── VersionConflict    somebody else was faster; carries the version that stands now
├── KeyReused          an idempotency key came with another request than the first time
├── KeyInUse           the request that took the key has not ended
└── NeedsConfirmation  it would stop most of a group's calls; say so again if you mean it
"""

from __future__ import annotations


class Problem(Exception):
    """Root of what services refuse although every value is right."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


class NotFound(Problem):
    def __init__(self, name: str) -> None:
        super().__init__(name, f"there is no {name!r}")


class AlreadyExists(Problem):
    def __init__(self, name: str) -> None:
        super().__init__(name, f"there is already a {name!r}")


class VersionConflict(Problem):
    def __init__(self, name: str, current_version: int) -> None:
        self.current_version = current_version
        super().__init__(name, f"{name!r} has meanwhile been changed; its version is now {current_version}")


class UnknownVersion(Problem):
    def __init__(self, name: str, version: int) -> None:
        self.version = version
        super().__init__(name, f"{name!r} never had a version {version}")


class KeyReused(Problem):
    def __init__(self, key: str) -> None:
        super().__init__(key, f"the key {key!r} was given with another request")


class KeyInUse(Problem):
    def __init__(self, key: str) -> None:
        super().__init__(
            key, f"the request that took the key {key!r} has not ended; the audit says whether it was done"
        )


class NeedsConfirmation(Problem):
    """``count`` of the ``of`` breakers of ``group`` (``""``: of the fleet) would reject every call."""

    def __init__(self, name: str, *, count: int, of: int, group: str) -> None:
        self.count, self.of, self.group = count, of, group
        where = f"the group {group!r}" if group else "the fleet"
        super().__init__(
            name, f"then {count} of the {of} breakers of {where} reject every call; confirm if you mean it"
        )
