"""What comes in, judged by the library's own bounds, and what goes out of the history. Never one class for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from rest_framework import serializers
from rest_framework.fields import empty

from breakers.core.config import (
    BREAKER_FIELDS,
    HTTP_FIELDS,
    MAX_INTEGER,
    TABLE_DEFAULTS,
    CircuitBreakerConfig,
    Field,
    HttpConfig,
)
from breakers.core.states import CircuitBreakerState, Override, Reason
from breakers.models import ConfigChange, StateChange

from .parsing import MAX_PAGE_SIZE
from .rows import ORDERINGS

SHORTEST_EXPIRY = 0.1
LONGEST_EXPIRY = 10 * 365 * 86400.0
CONFIG_FIELDS: Mapping[str, Field] = {n: f for n, f in BREAKER_FIELDS.items() if n != "name"} | dict(HTTP_FIELDS)


class BoundField(serializers.Field[Any, Any, Any, Any]):
    """A value that the library's own bounds judge; nothing is coerced, and ``null`` is a value like any other."""

    def __init__(self, bounds: Field, **options: Any) -> None:
        super().__init__(**{"help_text": bounds.help, **options})
        self.bounds = bounds

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return super().validate_empty_values(data) if data is empty else (False, data)

    def to_internal_value(self, data: Any) -> Any:
        problem = self.bounds.problem(data)
        if problem is not None:
            raise serializers.ValidationError(problem)
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class TextField(BoundField):
    """Text as it is: no trimming, no number read as text."""

    def __init__(self, longest: int, **options: Any) -> None:
        super().__init__(Field("choice", ""), **options)
        self.longest = longest

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str) and len(data) <= self.longest:
            return data
        raise serializers.ValidationError(f"must be text of at most {self.longest} characters")


class StrictInput(serializers.Serializer[Any]):
    """Input whose unknown keys are errors, named together with all others."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = {str(key)[:100]: ["no such field"] for key in data if key not in self.fields}
        try:
            found = super().to_internal_value(data)
        except serializers.ValidationError as problem:
            details: Any = problem.detail
            raise serializers.ValidationError({**details, **unknown}) from None
        if unknown:
            raise serializers.ValidationError(unknown)
        return found


def _reason() -> TextField:
    return TextField(500, required=False, help_text="Why; it stands in the audit.")


class ReasonInput(StrictInput):
    reason = _reason()


class TextUUIDField(serializers.UUIDField):
    """Not what a number might mean."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class ResetInput(ReasonInput):
    instance = TextUUIDField(required=False, allow_null=True, help_text="One instance only.")


class Flag(serializers.ChoiceField):
    """On or off, as a query string says it."""

    _WORDS: ClassVar = {"1": True, "0": False, "true": True, "false": False}

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=list(self._WORDS), required=False, **options)

    def to_internal_value(self, data: Any) -> Any:  # true or false
        if data not in self._WORDS:
            raise serializers.ValidationError("must be 1 or 0")
        return self._WORDS[data]


class ExportQuery(serializers.Serializer[Any]):
    versions = Flag(help_text="0: without the versions, for another control plane.")


class ImportQuery(ReasonInput):
    """Strict: of a misspelt ``dry_run`` everything would be written."""

    dry_run = Flag(help_text="1: only the plan.")


class OverrideInput(ReasonInput):
    override = BoundField(Field("choice", "What to force.", choices=tuple(o.value for o in Override)))
    expires_in = BoundField(
        Field(
            "duration",
            "Seconds until it ends; null: until released.",
            minimum=SHORTEST_EXPIRY,
            maximum=LONGEST_EXPIRY,
            nullable=True,
        ),
        required=False,
    )
    confirm = BoundField(
        Field("flag", "True: also where most of the breakers of the group would then reject every call."),
        required=False,
    )


class ConfigInput(ReasonInput):
    """Any of the fields of a config; ``name`` may be repeated, not changed."""

    name = BoundField(BREAKER_FIELDS["name"], required=False)
    group = TextField(100, required=False)
    description = TextField(10_000, required=False)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        bound = {name: BoundField(bounds, required=False) for name, bounds in CONFIG_FIELDS.items()}
        return super().get_fields() | bound


class CreateInput(ConfigInput):
    name = BoundField(BREAKER_FIELDS["name"])


DEFAULTS: Mapping[str, Any] = {**TABLE_DEFAULTS, **HttpConfig().as_dict()}


def configs_of(
    given: Mapping[str, Any], name: str, base: Mapping[str, Any] = DEFAULTS
) -> tuple[CircuitBreakerConfig, HttpConfig]:
    """Both configs from what was given over ``base``. Raises ``ConfigError`` for what only the whole shows."""
    values = {field: given.get(field, base[field]) for field in CONFIG_FIELDS}
    breaker = {field: value for field, value in values.items() if field in BREAKER_FIELDS}
    http = {field: value for field, value in values.items() if field in HTTP_FIELDS}
    return CircuitBreakerConfig(**breaker, name=name), HttpConfig(**http)


_STATES = [state.value for state in CircuitBreakerState]


class Words(serializers.CharField):
    """One or several of ``words``, with commas or each by itself; a list of them comes out."""

    def __init__(self, words: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.words = tuple(words)

    def get_value(self, dictionary: Any) -> Any:  # as its parent
        """Of ``?state=open&state=half_open`` both, where the last alone would silently win."""
        given = dictionary.getlist(self.field_name) if hasattr(dictionary, "getlist") else ()
        return ",".join(given) if len(given) > 1 else super().get_value(dictionary)

    def to_internal_value(self, data: Any) -> Any:  # a list, where its parent gives text
        found = [word.strip() for word in super().to_internal_value(data).split(",")]
        if set(found) <= set(self.words):
            return found
        raise serializers.ValidationError(f"must be of {', '.join(self.words)}, not {str(data)[:50]!r}")


class PageQuery(serializers.Serializer[Any]):
    page = serializers.IntegerField(required=False, min_value=1, max_value=MAX_INTEGER)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=MAX_PAGE_SIZE)


class RowsQuery(PageQuery):
    """Filters of the list; an empty one is none. ``state`` and ``ordering`` may name several, with commas."""

    state = Words(_STATES, required=False, help_text="Several with commas.")
    service = serializers.CharField(required=False, allow_blank=True, max_length=100)
    group = serializers.CharField(required=False, allow_blank=True, max_length=100)
    search = serializers.CharField(
        required=False, allow_blank=True, max_length=200, help_text="Words in name, group or services; all of them."
    )
    ordering = Words(
        [sign + name for name in ORDERINGS for sign in ("", "-")],
        required=False,
        help_text="Several with commas; `-` for descending.",
    )


class HistoryQuery(PageQuery):
    """Filters of transitions; ``since`` and ``until`` inclusive, ISO 8601."""

    service = serializers.CharField(required=False, allow_blank=True, max_length=100)
    instance = serializers.UUIDField(required=False)
    from_state = serializers.ChoiceField(_STATES, required=False)
    to_state = serializers.ChoiceField(_STATES, required=False)
    reason = serializers.ChoiceField([reason.value for reason in Reason], required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class ChangesQuery(PageQuery):
    """Filters of the audit; ``since`` and ``until`` inclusive, ISO 8601."""

    kind = serializers.ChoiceField(ConfigChange.Kind.choices, required=False)
    actor = serializers.CharField(required=False, allow_blank=True, max_length=200)
    reason = serializers.CharField(required=False, max_length=500, help_text="A part of the reason, in any case.")
    instance = serializers.UUIDField(required=False, help_text="Of a reset of one instance.")
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class TransitionOutput(serializers.ModelSerializer[StateChange]):
    """One transition of one instance."""

    name = serializers.CharField(source="breaker")

    class Meta:
        model = StateChange
        fields: ClassVar = (
            "id", "at", "received_at", "name", "service", "instance", "sequence", "from_state", "to_state", "reason",
            "cause", "epoch", "failures", "calls", "failure_rate",
        )  # fmt: skip


class ChangeOutput(serializers.ModelSerializer[ConfigChange]):
    """One line of the audit: who, when, why, from, to."""

    name = serializers.CharField(source="breaker")
    command = serializers.UUIDField(source="command_id")

    class Meta:
        model = ConfigChange
        fields: ClassVar = (
            "id", "at", "name", "kind", "actor", "reason", "before", "after", "version", "revision",
            "command", "instance", "request_id",
        )  # fmt: skip
