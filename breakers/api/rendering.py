"""JSON as REST framework writes it, a long list member by member.

The encoder lets no other thread run before it is done, and with it the event loop: fifty milliseconds for a page of a
thousand changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder

FEW: Final = 20
"""Members that are written at once."""
_encoder: Final = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def text(value: object) -> str:
    """As REST framework's renderer writes it; what no UTF-8 can say, half a surrogate pair, as a question mark."""
    written = _encoder.encode(value)
    if written.isascii():
        return written
    written = written.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return written.encode("utf-8", "replace").decode()


class MemberByMember(JSONRenderer):
    """What the views of the API answer with."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None:
            return b""
        if isinstance(data, dict):
            return f"{{{','.join(f'{text(name)}:{_written(value)}' for name, value in data.items())}}}".encode()
        return text(data).encode()


def _written(value: Any) -> str:
    return f"[{','.join(map(text, value))}]" if isinstance(value, list) and len(value) > FEW else text(value)
