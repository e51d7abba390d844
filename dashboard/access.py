"""Who may open ``/ws/feed``: the rules of contract 3 and 4, for a socket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from breakers.api.authentication import authenticate_key

Headers = Mapping[str, str]


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """An ASGI scope's headers by lower-case name; of a repeated one the last stands."""
    return {name.decode("latin1").lower(): value.decode("latin1") for name, value in raw}


def may_read(headers: Headers) -> bool:
    """A key with scope ``read``; or a page of ours, signed in or where reading is public. Blocks: two queries."""
    if "cookie" in headers and not same_origin(headers):
        return False
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme:
        return scheme.lower() == "bearer" and authenticate_key(secret.strip(), "read") is not None
    if "origin" in headers and not same_origin(headers):
        return False  # someone else's page, in the browser of one who may reach us
    return bool(settings.CIRCUIT_BREAKER_PUBLIC_READ) or _is_signed_in(headers)


def same_origin(headers: Headers) -> bool:
    """Whether the page that opens the socket came from here, or from an origin that the operator trusts."""
    host, origin = headers.get("host", ""), urlsplit(headers.get("origin", ""))
    domain, _ = split_domain_port(host)
    ours = bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS) and origin.netloc.lower() == host.lower()
    if settings.SESSION_COOKIE_SECURE and origin.scheme != "https":
        return False  # whoever is on the way could have written that page
    return ours or any(_trusts(trusted, origin.scheme, origin.netloc) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _trusts(trusted: str, scheme: str, netloc: str) -> bool:
    pattern = urlsplit(trusted)
    return scheme == pattern.scheme and is_same_domain(netloc.lower(), pattern.netloc.lstrip("*").lower())


def who_asks(headers: Headers) -> str:
    """As the log of refusals calls them. Blocks: two queries."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme:
        key = authenticate_key(secret.strip()) if scheme.lower() == "bearer" else None
        return "an unknown key" if key is None else f"key:{key}"
    user = _user_of(headers)
    return "nobody" if user is None else f"user:{user.get_username()}"


def _is_signed_in(headers: Headers) -> bool:
    return _user_of(headers) is not None


def _user_of(headers: Headers) -> AbstractBaseUser | None:
    """Whose session it is."""
    key = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    if not key:
        return None
    request: Any = HttpRequest()  # get_user asks for no more than the session
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    found = get_user(request)
    return found if isinstance(found, AbstractBaseUser) else None
