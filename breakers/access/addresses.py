"""Where a request comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest

UNKNOWN: Final = "unknown"
NOWHERE: Final = "::"
_PORT: Final = re.compile(r"^(?:\[([^\]]*)\]|([^:\[]*))(?::\d+)?$")
"""``1.2.3.4:80`` and ``[::1]:80``, as some proxies write addresses."""
LINE: Final = 64
"""Bits that all addresses of one line have in common: whoever has one has more than anybody can count."""


def address_of(request: HttpRequest) -> str:
    """The client's IP address: the peer's, or behind proxies of ours what the outermost of them wrote down."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return _address(forwarded, request.META.get("REMOTE_ADDR") or "")


def network_of(request: HttpRequest) -> str:
    """The same, for limits: of IPv6 the first address of its line, since nobody has a single one."""
    return _line(address_of(request))


def storable_network_of(request: HttpRequest) -> str:
    """The same for columns that hold addresses only: those of nowhere (a local socket) count as one."""
    found = network_of(request)
    return NOWHERE if found == UNKNOWN else found


def address_of_scope(scope: Mapping[str, Any]) -> str:
    """The same, of an ASGI scope."""
    lines = (value.decode("latin-1") for name, value in scope.get("headers", ()) if name.lower() == b"x-forwarded-for")
    return _address(",".join(lines), (scope.get("client") or ("",))[0])


def network_of_scope(scope: Mapping[str, Any]) -> str:
    """As ``network_of``, of an ASGI scope."""
    return _line(address_of_scope(scope))


def _line(address: str) -> str:
    return str(IPv6Network((address, LINE), strict=False).network_address) if ":" in address else address


def _address(forwarded: str, peer: str) -> str:
    """Each proxy appends the address of who asked it; what stands further left is what clients claim."""
    proxies: int = getattr(settings, "CIRCUIT_BREAKER_PROXIES", 0)
    hops = [hop.strip() for hop in forwarded.split(",")]
    text = hops[-proxies] if 0 < proxies <= len(hops) else peer
    try:
        return str(_plain(ip_address(_PORT.sub(r"\1\2", text))))
    except ValueError:
        return UNKNOWN


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """A socket for both kinds writes one as the other."""
    return getattr(address, "ipv4_mapped", None) or address
