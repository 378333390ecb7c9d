"""What crosses the wire: argument types, schemas, strict validation, result forms.

Argument types are the only place where bounds on input are written down. Text types refuse
characters that a person cannot see; identifier types are printable ASCII, so that no confusable
letter can name another record.
"""

import inspect
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from common.canonical import compact
from common.countries import a_country
from common.errors import InvalidParameters
from common.untrusted import UNTRUSTED, cleaned

MAX_UNITS: Final = 1_000_000
MAX_MINOR: Final = 10**12
PAGE: Final = 100
MOST_PROBLEMS: Final = 20
SHOULD_BE: Final = "Input should be "


@dataclass(frozen=True)
class Logged:
    """Marks a text type whose values may stand in the audit record as they are."""


def _visible(text: str, allowed: str = "") -> str:
    for character in text:
        if character in allowed:
            continue
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
            raise ValueError("may not contain control or invisible characters")
    return text


def visible_line(text: str) -> str:
    return unicodedata.normalize("NFC", _visible(text))


def _note(text: str) -> str:
    return unicodedata.normalize("NFC", _visible(text, "\n\t"))


WORDS: Final[dict[str, str]] = {}
"""What each pattern asks for, as a refusal says it."""


def written(pattern: str, words: str, **more: Any) -> Any:
    """A field whose text has a form. ``words``: the form as a refusal says it."""
    WORDS[pattern] = words
    return Field(pattern=pattern, **more)


DAY: Final = "a date such as 2026-12-05"


def _real_date(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError(DAY) from None
    return text


ID_PATTERN: Final = r"^[!-~]+$"
ASCII: Final = "letters A-Z a-z, digits and signs, without spaces"
Identifier = Annotated[str, written(ID_PATTERN, ASCII, min_length=1, max_length=64), Logged()]
Sku = Annotated[str, written(ID_PATTERN, ASCII, min_length=1, max_length=64), Logged()]
Currency = Annotated[str, written(r"^[A-Z]{3}$", "a currency such as EUR"), Logged()]
Cursor = Annotated[str, written(ID_PATTERN, ASCII, min_length=1, max_length=400), Logged()]
Day = Annotated[str, written(r"^\d{4}-\d{2}-\d{2}$", DAY), AfterValidator(_real_date), Logged()]
Sha256 = Annotated[
    str, written(r"^[0-9a-f]{64}$", "a SHA-256 digest of 64 characters 0-9 a-f"), Logged()
]
Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(visible_line)]
Note = Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_note)]
Email = Annotated[
    str,
    written(
        r"^[^@\s]+@[^@\s]+$",
        "an e-mail address such as ana@example.com",
        min_length=3,
        max_length=254,
    ),
    AfterValidator(visible_line),
]
Country = Annotated[
    str,
    Field(min_length=2, max_length=60),
    AfterValidator(visible_line),
    AfterValidator(a_country),
]
Units = Annotated[int, Field(ge=1, le=MAX_UNITS)]
Count = Annotated[int, Field(ge=0, le=MAX_UNITS)]
Minor = Annotated[int, Field(ge=1, le=MAX_MINOR, description="Minor units: 1999 is 19.99 EUR.")]
Limit = Annotated[int, Field(ge=1, le=PAGE)]
Days = Annotated[int, Field(ge=1, le=366)]
IdempotencyKey = Annotated[
    str,
    written(
        r"^[A-Za-z0-9_-]{8,128}$",
        "8 to 128 characters out of A-Z a-z 0-9 _ -",
        description="One per intent. Send the same again when you retry.",
    ),
    Logged(),
]
ApprovalId = Annotated[
    str,
    written(
        ID_PATTERN,
        ASCII,
        min_length=1,
        max_length=64,
        description="From an earlier approval_required answer to this same call.",
    ),
    Logged(),
]


class Args(BaseModel):
    """A group of arguments. Unknown keys and loose types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Result(BaseModel):
    """What a tool answers. Lean: only what the next step needs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def meta(self) -> dict[str, Any]:
        """What goes into the answer's ``_meta``: for hosts, never for the model."""
        return {}


class Address(Args):
    """A postal address as written on a parcel."""

    line1: Line
    line2: Annotated[str, Field(max_length=200), AfterValidator(visible_line)] = ""
    city: Line
    region: Annotated[str, Field(max_length=100), AfterValidator(visible_line)] = ""
    postal_code: Annotated[str, Field(max_length=20), AfterValidator(visible_line)] = ""
    country: Country


def arguments_model(
    function: Callable[..., Any], *, skip: int = 1, extra: dict[str, Any] | None = None
) -> type[BaseModel]:
    """A strict model of a function's parameters after the first ``skip``, plus ``extra`` fields."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name == "plan":
            continue  # filled by the guard from the compute step, never by the caller
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    name = f"{getattr(function, '__name__', 'tool')}_arguments"
    return create_model(name, __config__=Args.model_config, **fields, **(extra or {}))


def parse(model: type[BaseModel], arguments: dict[str, Any]) -> BaseModel:
    """Strictly validated arguments. Raises InvalidParameters naming each field, never its value."""
    try:
        text = json.dumps(arguments, allow_nan=False)
        text.encode().decode("utf-8")
        return model.model_validate_json(text)
    except ValidationError as error:
        raise _refusal(error, arguments) from None
    except (ValueError, TypeError, RecursionError):
        raise InvalidParameters("The arguments are not JSON.") from None


def parse_text(model: type[BaseModel], values: dict[str, str]) -> BaseModel:
    """Arguments that came as text (resource templates, prompts), validated the same way."""
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        raise _refusal(error, values) from None


def _refusal(error: ValidationError, arguments: Mapping[str, Any]) -> InvalidParameters:
    """Field and requirement; the value only where it is a number, which cannot be a secret."""
    problems: dict[str, dict[str, Any]] = {}
    for item in error.errors(include_url=False)[:MOST_PROBLEMS]:
        given = item["input"]
        shown = {"value": given} if isinstance(given, int) and abs(given) < 10**6 else {}
        field = ".".join(_path(item["loc"], arguments)) or "arguments"
        wanted = _requirement(item)
        if field in problems:  # one of several forms that it may have
            wanted = f"{problems[field]['requirement']} or {wanted.removeprefix(SHOULD_BE)}"
        problems[field] = {"field": field, **shown, "requirement": wanted}
    told = "; ".join(f"{each['field']}: {each['requirement']}" for each in problems.values())
    return InvalidParameters(told[:600], details={"problems": list(problems.values())})


def _path(place: tuple[int | str, ...], arguments: Any) -> list[str]:
    """The way to what is wrong. Past what was given it only tells which form was tried."""
    path: list[str] = []
    for step in place:
        if isinstance(arguments, Mapping):
            arguments = arguments.get(str(step))
        elif isinstance(arguments, list):
            arguments = arguments[step] if isinstance(step, int) else None
        else:
            break
        path.append(str(step))
    return path


def _requirement(item: Any) -> str:
    context = item.get("ctx", {})
    if item["type"] == "value_error":
        return str(context["error"])
    return WORDS.get(context.get("pattern", ""), str(item["msg"]))


def input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of the arguments, without titles and without null alternatives."""
    schema: dict[str, Any] = slim(model.model_json_schema(mode="validation"))
    schema.pop("description", None)
    schema.setdefault("properties", {})
    return schema


def output_schema(model: type[BaseModel], *, waiting: bool) -> dict[str, Any]:
    """JSON Schema of the result. A changing tool may also answer that it waits for a person; its
    result is told in short (what is always there): the reading tool beside it tells it in full."""
    schema: dict[str, Any] = slim(model.model_json_schema(mode="serialization"))
    schema.pop("description", None)
    if not waiting:
        return schema
    always = {name: schema["properties"][name] for name in schema.get("required", [])}
    result = {
        "type": "object",
        "properties": _in_short(always, schema.get("$defs", {})),
        "required": list(always),
    }
    return {"type": "object", "anyOf": [result, WAITING_SCHEMA]}


def _in_short(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with references to objects cut down to ``object``, others written out."""
    if isinstance(schema, list):
        return [_in_short(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        if target.get("type") == "object":
            return {"type": "object"}
        return _in_short(target, definitions)
    return {key: _in_short(value, definitions) for key, value in schema.items()}


WAITING_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "status": {"const": "approval_required"},
        "approval_id": {"type": "string"},
        "level": {"type": "integer"},
    },
    "required": ["status", "approval_id", "level"],
}


def slim(schema: Any) -> Any:
    """Drop titles, and fold ``anyOf [X, null]`` into X: what is null is not sent."""
    if isinstance(schema, list):
        return [slim(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in {"properties", "$defs"}:
            cleaned[key] = {k: slim(v) for k, v in value.items()}
        else:
            cleaned[key] = slim(value)
    options = cleaned.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [option for option in options if option != {"type": "null"}]
        if cleaned.get("default", 0) is None:
            del cleaned["default"]
        del cleaned["anyOf"]
        cleaned = (rest[0] if len(rest) == 1 else {"anyOf": rest}) | cleaned
    return cleaned


def logged_fields(model: type[BaseModel]) -> frozenset[str]:
    """Top-level text fields whose values may stand in the audit record."""
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if _is_logged(field.metadata, field.annotation)
    )


def _is_logged(metadata: list[Any], annotation: Any) -> bool:
    if any(isinstance(item, Logged) for item in metadata):
        return True
    text = repr(annotation)
    return "Logged()" in text or bool(re.match(r"typing\.(Optional\[)?(typing\.)?Literal", text))


def dump(result: BaseModel) -> dict[str, Any]:
    """The structured form of a result: its texts cleaned, ``_meta`` with what hosts are told."""
    structured: dict[str, Any]
    structured, untrusted = cleaned(result.model_dump(mode="json", exclude_none=True))
    meta = result.meta() if isinstance(result, Result) else {}
    if untrusted:
        meta = meta | {UNTRUSTED: untrusted}
    return structured | {"_meta": meta} if meta else structured


def text_of(structured: dict[str, Any]) -> str:
    """The text copy of a structured result: compact, so that it costs few tokens."""
    return compact(structured)
