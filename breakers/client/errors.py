"""What a request to the control plane can end with::

breakers.CircuitBreakerError
└── ServiceError                    every one of these; carries status, code, fields and retry_after
    ├── ServiceUnreachableError     no answer: refused, broken off, or not within the timeout; ``status`` is None
    ├── InvalidRequestError         400: ``fields`` names each wrong field
    ├── AccessDeniedError           401 and 403: no key, a wrong one, or one without the scope
    ├── NotFoundError               404: no such breaker
    ├── AlreadyExistsError          409: the name is taken
    └── VersionConflictError        412: somebody else was faster than ``if_match``
"""

from __future__ import annotations

from collections.abc import Mapping

from breakers.core.errors import CircuitBreakerError

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "InvalidRequestError",
    "NotFoundError",
    "ServiceError",
    "ServiceUnreachableError",
    "VersionConflictError",
    "error_of",
]


class ServiceError(CircuitBreakerError):
    """The control plane refused, or could not be asked.

    ``status`` is the HTTP status, ``code`` the control plane's own word for the problem, ``fields`` maps each wrong
    field to a sentence, ``retry_after`` is how many seconds it asks to be left alone, if it does (429 and 503).
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        code: str = "error",
        fields: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = message
        self.status = status
        self.code = code
        self.fields: Mapping[str, str] = dict(fields or {})
        self.retry_after = retry_after
        super().__init__(message, status, code, self.fields, retry_after)

    def __str__(self) -> str:
        listed = "; ".join(f"{name}: {problem}" for name, problem in self.fields.items())
        return f"{self.message} ({listed})" if listed else self.message


class ServiceUnreachableError(ServiceError):
    pass


class InvalidRequestError(ServiceError):
    pass


class AccessDeniedError(ServiceError):
    pass


class NotFoundError(ServiceError):
    pass


class AlreadyExistsError(ServiceError):
    pass


class VersionConflictError(ServiceError):
    pass


_BY_STATUS: Mapping[int, type[ServiceError]] = {
    400: InvalidRequestError,
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: NotFoundError,
    409: AlreadyExistsError,
    412: VersionConflictError,
}


def error_of(status: int, reason: str, answer: object, retry_after: float | None = None) -> ServiceError:
    """The error that an HTTP answer stands for; ``answer`` is its JSON, or anything else where a proxy spoke."""
    told = answer.get("error") if isinstance(answer, Mapping) else None
    facts = told if isinstance(told, Mapping) else {}
    message = str(facts.get("message") or f"the control plane answered {status} {reason}".rstrip())
    code = str(facts.get("code") or "error")
    return _BY_STATUS.get(status, ServiceError)(message, status, code, _fields(facts.get("fields")), retry_after)


def _fields(told: object) -> dict[str, str]:
    if not isinstance(told, Mapping):
        return {}
    return {str(name): _sentence(problem) for name, problem in told.items()}


def _sentence(problem: object) -> str:
    return " ".join(str(part) for part in problem) if isinstance(problem, list) else str(problem)
