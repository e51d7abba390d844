"""API keys on HTTP: ``Authorization: Bearer KEY``."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from breakers.models import ApiKey
from breakers.services import authenticate_key

from .memory import known_keys
from .throttling import may_try_keys, note_wrong_key

__all__ = ["ApiKeyAuthentication", "authenticate_key"]


class ApiKeyAuthentication(BaseAuthentication):
    """A wrong or revoked key is a 401, also where anonymous people may read: who shows a key means it."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ApiKey] | None:
        scheme, _, secret = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        text = secret.strip().decode("latin-1")
        if text not in known_keys:  # the wrong keys of others behind the same address are not its fault
            may_try_keys(request._request)
        key = known_keys.ask(text)
        if key is None:
            note_wrong_key(request._request)
            raise AuthenticationFailed("This API key is unknown or was revoked.")
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
