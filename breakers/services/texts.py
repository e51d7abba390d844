"""Text that comes from elsewhere."""

from __future__ import annotations


def storable(text: str, longest: int | None = None) -> str:
    """``text`` without what a database refuses (NUL, lone surrogates), cut to ``longest`` characters."""
    clean = text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return clean[:longest]
