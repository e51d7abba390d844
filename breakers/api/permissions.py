"""Who may do what: people by permission, keys by scope. Used by the API, by the pages and by the sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from breakers.access.people import is_recalled
from breakers.models import ApiKey
from breakers.outage import DatabaseAway
from breakers.services import Actor

if TYPE_CHECKING:  # the views import these permissions, through the settings
    from rest_framework.views import APIView

Person = AbstractBaseUser | AnonymousUser


def may_read(user: Person, key: ApiKey | None = None) -> bool:
    """Whoever is signed in, a key of scope ``read``, or anybody where reading is public."""
    return public_read() or (key.allows("read") if key else _is_signed_in(user))


def public_read() -> bool:
    return getattr(settings, "CIRCUIT_BREAKER_PUBLIC_READ", False)


def may_operate(user: Person, permission: str, key: ApiKey | None = None) -> bool:
    """``permission`` is a codename of this app; a key needs scope ``operate`` instead.

    Raises ``DatabaseAway`` of somebody whom the database could not vouch for: who is remembered may read.
    """
    if key is not None:
        return key.allows("operate")
    if is_recalled(user):  # what they may now, and whether they still may, only the database could say
        raise DatabaseAway("The database did not say who this is")
    return _is_signed_in(user) and user.has_perm(f"breakers.{permission}")  # type: ignore[union-attr]  # a user model without permissions is not ours


def _is_signed_in(user: Person) -> bool:
    return user.is_authenticated and user.is_active


def actor_of(request: Request | HttpRequest) -> Actor:
    """Who asks, as the audit writes it. Raises ``ValueError`` for nobody: what changes something needs a name."""
    key = key_of(request)
    if key is not None:
        return Actor("key", key.name)
    if not request.user.is_authenticated:
        raise ValueError("an anonymous request has no actor")
    return Actor("user", request.user.get_username())


def key_of(request: Request | HttpRequest) -> ApiKey | None:
    """The API key that the request came with."""
    key = getattr(request, "auth", None)
    return key if isinstance(key, ApiKey) else None


class MayRead(BasePermission):
    """Reading only: a view that changes something must say what that takes, or refuses everybody."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.method in SAFE_METHODS and may_read(request.user, key_of(request))


class _MayOperate(BasePermission):
    permission: ClassVar[str]

    def has_permission(self, request: Request, view: APIView) -> bool:
        return may_operate(request.user, self.permission, key_of(request))


class MayReset(_MayOperate):
    permission = "reset_breaker"


class MayOverride(_MayOperate):
    permission = "override_breaker"


class MayEdit(BasePermission):
    """Creating by POST, deleting by DELETE, editing by any other method."""

    _permissions: ClassVar = {"POST": "add_breakerconfig", "DELETE": "delete_breakerconfig"}

    def has_permission(self, request: Request, view: APIView) -> bool:
        permission = self._permissions.get(request.method or "", "change_breakerconfig")
        return may_operate(request.user, permission, key_of(request))


class MayEditAll(BasePermission):
    """What may create as well as edit: an import, a copy, a restored version."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        key = key_of(request)
        wanted = ("add_breakerconfig", "change_breakerconfig")
        return all(may_operate(request.user, permission, key) for permission in wanted)
