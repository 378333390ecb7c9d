"""What a refusal of arguments says: words for every form, one line a field, never the value."""

from importlib import import_module
from typing import Any, Literal

import pytest

from common.call import missing
from common.errors import InvalidParameters
from common.tables import Record
from common.tables.inventory import PurchaseOrder
from common.tables.orders import Order
from common.tables.payments import PaymentMethod
from common.wire import (
    WORDS,
    Args,
    Country,
    Currency,
    Day,
    IdempotencyKey,
    Line,
    Sku,
    input_schema,
    parse,
)
from servers.logistics.offer import Moment
from servers.run import DOMAINS


class Inner(Args):
    sku: Sku


class Asked(Args):
    on: Day | None = None
    at: Moment | None = None
    key: IdempotencyKey | None = None
    sku: Sku | None = None
    country: Country | None = None
    currency: Currency | None = None
    name: Line | None = None
    status: Literal["available", "held"] | Literal["in_transit"] = "available"
    lines: list[Inner] | None = None


def refused(**arguments: Any) -> InvalidParameters:
    with pytest.raises(InvalidParameters) as error:
        parse(Asked, arguments)
    return error.value


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("on", "5.12.2026", "a date such as 2026-12-05"),
        ("on", "2026-02-31", "a date such as 2026-12-05"),
        ("at", "2026-12-05", "a time with its zone, such as 2026-12-05T14:30:00Z"),
        ("at", "2026-12-05T25:00:00Z", "a time with its zone, such as 2026-12-05T14:30:00Z"),
        ("key", "?", "8 to 128 characters out of A-Z a-z 0-9 _ -"),
        ("sku", "a mug", "letters A-Z a-z, digits and signs, without spaces"),
        ("country", "XX", "a country, such as DE or Germany"),
        ("currency", "euro", "a currency such as EUR"),
        ("name", "a\u200bb", "may not contain control or invisible characters"),
        ("status", "lost", "Input should be 'available' or 'held' or 'in_transit'"),
    ],
)
def test_words(field: str, value: str, words: str) -> None:
    error = refused(**{field: value})
    assert error.message == f"{field}: {words}"
    assert error.details == {"problems": [{"field": field, "requirement": words}]}


def test_a_field_within_others_is_named_whole() -> None:
    error = refused(lines=[{"sku": "ok"}, {"sku": "not ok"}, {"sku": "ok", "more": 1}, {}], odd=1)
    fields = [each["field"] for each in error.details["problems"]]
    assert fields == ["lines.1.sku", "lines.2.more", "lines.3.sku", "odd"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_form_has_words(domain: str) -> None:
    found: set[str] = set()

    def look(schema: Any) -> None:
        if isinstance(schema, dict):
            if isinstance(schema.get("pattern"), str):
                found.add(schema["pattern"])
            schema = list(schema.values())
        if isinstance(schema, list):
            for each in schema:
                look(each)

    for spec in import_module(f"servers.{domain}.tools").tools.tools.values():
        look(input_schema(spec.arguments))
    assert found <= WORDS.keys()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (PurchaseOrder, 'No purchase order "4711".'), (PaymentMethod, 'No payment method "4711".'),
        (Order, 'No order "4711".'),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_as_people_name_it(kind: type[Record], words: str) -> None:
    assert missing(kind, "4711").message == words
