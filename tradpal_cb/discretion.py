"""What error pages show, also with ``DJANGO_DEBUG=1``: where and why, and nothing that opens anything.

Django hides settings, headers and cookies by their names. Here local variables, what was sent and what errors say are
looked through as well: by name, down into what they hold, and by what looks like a key or the address of a hook.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterable, Mapping
from types import FrameType
from typing import Any, Final

from django.http import HttpRequest, QueryDict
from django.template.defaultfilters import pprint
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

HIDDEN: Final = SafeExceptionReporterFilter.cleansed_substitute
_NAMES: Final = (
    "api|auth|token|key|secret|pass|signature|cookie|session|csrf|credential|bearer|digest|address|webhook|target"
)
_NAME: Final = re.compile(_NAMES, re.IGNORECASE)
_DEEPEST: Final = 8


def _address(found: re.Match[str]) -> str:
    """How, and of the web whereto; no person, path or query. Of anything else what looks like a host may be a token."""
    scheme, mark, rest = found.groups()
    if scheme.lower() not in ("http", "https", "ws", "wss"):
        return f"{scheme}{mark}{HIDDEN}"
    whereto = re.split(r"[/?#]|%2F|%3F", rest.rpartition("@")[2], maxsplit=1, flags=re.IGNORECASE)[0]
    return f"{scheme}{mark}{whereto}" + ("" if whereto == rest else f"/{HIDDEN}")


_Put: Final = str | Callable[[re.Match[str]], str]
_LOOKS: Final[tuple[tuple[re.Pattern[str], Any], ...]] = (
    (re.compile(r"tpcb_[\w-]+"), HIDDEN),
    (re.compile(r"([a-z][a-z0-9+.-]*)(://|%3A%2F%2F)([^\s'\"<>\\]+)", re.IGNORECASE), _address),
    (re.compile(r"((?:cookie|authorization):\s*)[^\r\n'\"\\]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"(csrfmiddlewaretoken\\?[\"']\s+value=\\?[\"'])[^\"'\\]*"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:pbkdf2_\w+|argon2\w*|bcrypt\w*|scrypt|md5)\$[^\s'\"]+"), HIDDEN),
    (re.compile(r"\b(?:[a-z0-9]{32}|[A-Za-z0-9]{64})\b"), HIDDEN),  # of sessions and of forms
    (
        re.compile(
            rf"([\w-]*(?:{_NAMES})[\w-]*(?:\\?['\"]\s*:|=)\s*)"
            r"(b?'(?:[^'\\]|\\.)*'|b?\"(?:[^\"\\]|\\.)*\"|[^\s,;&)}\]'\"\\][^\s,;&)}\]'\"]*)",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
)


def discreet(text: str) -> str:
    """``text`` without what looks like a secret, or stands beside the name of one."""
    for looks, put in _LOOKS:
        text = looks.sub(put, text)
    return text


class _Shown:
    """In place of a value: text that is shown as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def shown(name: object, value: object) -> object:
    """In place of a variable of this name: one whose ``repr`` is its discreet text."""
    try:
        return _Shown(discreet(pprint(_cleansed(name, value, _DEEPEST))))
    except Exception as error:  # of a value that cannot be looked at
        return _Shown(f"<{type(error).__name__} while it was looked at>")


def _cleansed(name: object, value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _is_secret(name):
        return _Shown(HIDDEN)
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return value
    if not depth:
        return _Shown("…")
    if isinstance(value, Mapping):
        return {key: _cleansed(key, each, depth - 1) for key, each in value.items()}
    if isinstance(value, tuple) and len(value) == 2:  # as a header
        return value[0] if _is_text(value[0]) else _cleansed("", value[0], depth - 1), _cleansed(*value, depth - 1)
    return type(value)(_each(value, depth - 1)) if type(value) in (list, tuple) else list(_each(value, depth - 1))


def _each(values: Iterable[object], depth: int) -> Iterable[object]:
    return (_cleansed("", each, depth) for each in values)


def _is_text(value: object) -> bool:
    return isinstance(value, str | bytes)


def _is_secret(name: object) -> bool:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    return isinstance(text, str) and bool(_NAME.search(text))


class ReporterFilter(SafeExceptionReporterFilter):
    """By name and by look, whether ``DEBUG`` or not."""

    hidden_settings = _NAME

    def cleanse_setting(self, key: Any, value: Any) -> Any:  # as its parent
        cleansed = super().cleanse_setting(key, value)
        return discreet(cleansed) if type(cleansed) is str and cleansed != HIDDEN else cleansed

    def get_post_parameters(self, request: HttpRequest | None) -> Any:  # as its parent
        cleansed, given = QueryDict(mutable=True), super().get_post_parameters(request)
        for name, values in given.lists() if isinstance(given, QueryDict) else ():
            cleansed.setlist(name, [HIDDEN if _is_secret(name) else discreet(value) for value in values])
        return cleansed

    def cleanse_special_types(self, request: HttpRequest | None, value: Any) -> Any:  # as its parent
        """Its parent's answer to a value that cannot be looked at may be an error."""
        try:
            return super().cleanse_special_types(request, value)
        except Exception as error:
            return f"<{type(error).__name__} while it was looked at>"

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> ItemsView[str, Any]:
        found = super().get_traceback_frame_variables(request, tb_frame)
        return {name: shown(name, value) for name, value in found}.items()


class Reporter(ExceptionReporter):
    """What the error says, and what it came of, as discreetly as its variables."""

    def get_traceback_data(self) -> dict[str, Any]:
        data = super().get_traceback_data()
        for name in ("exception_value", "exception_notes", "request_insecure_uri"):
            if name in data:
                data[name] = discreet(data[name])
        if "request_GET_items" in data:
            data["request_GET_items"] = [(name, shown(name, value)) for name, value in data["request_GET_items"]]
        return data

    def get_traceback_frames(self) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = super().get_traceback_frames()
        for frame in frames:
            frame["exc_cause"] = frame["exc_cause"] and discreet(str(frame["exc_cause"]))
        return frames
