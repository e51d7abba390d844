"""What the site has beside the pages of ``docs/``: README, CHANGELOG, the reference, files that pages link to.

MkDocs calls the functions named ``on_...``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import breakers  # noqa: E402  # a hook knows its repository by its own place only
import breakers.client  # noqa: E402
import breakers.testing  # noqa: E402
from breakers.core.config import BREAKER_FIELDS, HTTP_FIELDS, TABLE_DEFAULTS, Field  # noqa: E402

MODULES = {"breakers": breakers, "breakers.client": breakers.client, "breakers.testing": breakers.testing}
FIELDS = {
    "CircuitBreakerConfig": (BREAKER_FIELDS, TABLE_DEFAULTS),
    "HttpConfig": (HTTP_FIELDS, breakers.HttpConfig().as_dict()),
}
MEMBERS = {
    "CircuitBreaker": (
        "name", "config", "state", "get_state", "call", "call_sync", "protect", "acquire", "settle", "judge",
        "get_metrics", "reset", "force_open", "force_closed", "release", "configure", "on_transition",
    ),
    "CircuitBreakerOpenError": ("name", "state", "reason", "retry_after"),
    "ServiceError": ("status", "code", "fields", "retry_after"),
    "CircuitBreakerRegistry": ("get", "get_or_create", "all", "reset_all", "forget", "on_transition", "on_register"),
    "Link": ("status", "close"),
    "LinkStatus": ("connected", "since", "server", "revision", "last_error", "queued", "dropped"),
}  # fmt: skip
"""Of classes that have more than is promised."""
ERRORS = (
    "AccessDeniedError", "AlreadyExistsError", "InvalidRequestError", "NotFoundError", "ServiceUnreachableError",
    "VersionConflictError",
)  # fmt: skip
TELEMETRY = ("instrument", "uninstrument")
TRANSPORTS = ("AsyncCircuitBreakerTransport", "CircuitBreakerTransport")

ROOTED = ("CHANGELOG", "CONTRIBUTING")
_OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)\)")
"""A link from a page to a file of the repository."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A page that nobody has placed is found under "More"."""
    placed = str(config.nav)
    found = sorted(path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md"))
    if more := [page for page in found if f"'{page}'" not in placed]:
        config.nav = [*(config.nav or []), {"More": more}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    made = {"index.md": _rooted((ROOT / "README.md").read_text()), "reference.md": _reference()} | {
        f"{name.lower()}.md": _rooted((ROOT / f"{name}.md").read_text()) for name in ROOTED
    }
    for path in _linked(files):
        made[_place(path)] = (ROOT / path).read_text()
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return _OUTSIDE.sub(lambda found: f"]({_place(found[1])})", markdown)


def _rooted(text: str) -> str:
    """A page of the repository's root, with its links as from ``docs/``."""
    for name in ROOTED:
        text = text.replace(f"]({name}.md)", f"]({name.lower()}.md)")
    return text.replace("](docs/", "](")


def _linked(files: Files) -> set[str]:
    pages = [file.content_string for file in files.documentation_pages()]
    return {path for text in pages for path in _OUTSIDE.findall(text)}


def _place(path: str) -> str:
    return f"files/{path}.txt"  # browsers show it, whatever it is


def _reference() -> str:
    """Every public name of the library, with its signature and docstring."""
    parts = ["# Reference of the library", "What services import. What is not named here may change without notice."]
    for name, module in MODULES.items():
        parts += [f"## {name}", *(_entry(name, public) for public in module.__all__)]
    parts += [
        "## What connect() gives",
        _entry("breakers.client.link", "Link"),
        _entry("breakers.client.link", "LinkStatus"),
    ]
    parts += ["## Errors of the control plane", *(_entry("breakers.client.errors", name) for name in ERRORS)]
    parts += ["## breakers.client.metrics", _entry("breakers.client.metrics", "register")]
    parts += ["## breakers.client.telemetry", *(_entry("breakers.client.telemetry", name) for name in TELEMETRY)]
    parts += [
        "## breakers.client.events",
        *(_entry("breakers.client.events", name) for name in ("EventSystemClient", "EventSystemError")),
        *(_entry("breakers.core.events", name) for name in ("Event", "EventError")),
        _entry("breakers.client.subscriptions", "Delivery"),
    ]
    parts += [
        "## breakers.client.httpx_transport",
        *(_entry("breakers.client.httpx_transport", name) for name in TRANSPORTS),
    ]
    return "\n\n".join(parts)


def _entry(module: str, name: str) -> str:
    fields, options = FIELDS.get(name), ""
    if fields is not None:
        options = "\n    options: {show_signature: false, members: [as_dict, from_mapping]}"
    elif name in ERRORS:
        options = "\n    options: {members: false}"
    elif name in MEMBERS:
        options = f"\n    options: {{members: [{', '.join(MEMBERS[name])}]}}"
    return f"::: {module}.{name}{options}" + ("" if fields is None else f"\n\n{_table(*fields)}")


def _table(fields: Mapping[str, Field], defaults: Mapping[str, Any]) -> str:
    rows = [f"| `{name}` | {_shown(defaults[name])} | {field.help} |" for name, field in fields.items()]
    return "\n".join(["| field | default | |", "|---|---|---|", *rows])


def _shown(default: object) -> str:
    return "`None`" if default is None else f"`{default}`"
