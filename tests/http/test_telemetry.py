"""What an operator sees of a call: a trace through guard, rule and transaction, and log lines.
What nobody may see there: what was in the call."""

import io
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import func, select

from common import telemetry
from common.http.guests import guests
from common.tables.spine import ApprovalRequest
from servers.orders.tools import tools
from servers.storefront.tools import tools as storefront
from tests.conftest import CopyOf
from tests.inventory.conftest import FILL
from tests.inventory.seed import CUPS, NORTH, a_desk
from tests.support.http import Face, a_face, on_port
from tests.support.shop import a_shop, call, settings_in

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CANARIES = {
    "card": "4242 4242 4242 4242",
    "key": "sk_live_51Hcanary0000000000",
    "token": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ",
    "password": "postgresql://shop:hunter2canary@db/shop",
}
CLIENTS = ("httpx2", "httpcore2", "mcp.client")  # the test's own, in this process
PERSONAL = ("canary.person@example.org", "Canary Crescent 7")


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """One provider a process: OpenTelemetry lets it be set once."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    telemetry.trace_with(provider)
    return found


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Everything that is logged, at every level, as a machine reads it."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(telemetry.Lines())
    handler.addFilter(lambda record: not record.name.startswith(CLIENTS))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield said
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
async def orders(tmp_path: Path) -> AsyncIterator[Face]:
    http = on_port(settings_in(tmp_path)).http
    async with a_shop(tmp_path, http=http) as shop, a_face(shop, [tools]) as face:
        yield face


def by_name(spans: tuple[ReadableSpan, ...], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


async def test_a_call_is_one_trace_that_goes_on_from_the_callers(
    orders: Face, exporter: InMemorySpanExporter
) -> None:
    exporter.clear()
    token = orders.callers.token(orders.http.audience("orders"), "orders:read")
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    message = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "search_orders", "arguments": {}, "_meta": meta},
    }  # fmt: skip
    headers = {
        "Authorization": f"Bearer {token}", "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call", "Mcp-Name": "search_orders",
        "Accept": "application/json, text/event-stream",
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    }  # fmt: skip
    async with orders.browser() as browser:
        answer = await browser.post("/orders/mcp", json=message, headers=headers)
    assert answer.json()["result"]["isError"] is False
    spans = exporter.get_finished_spans()
    (guard,) = by_name(spans, "guard")
    (rule,) = by_name(spans, "rule")
    assert guard.attributes is not None
    assert guard.attributes["shop.tool"] == "search_orders"
    named = {span.context.span_id: span for span in spans if span.context}
    line = []
    current: ReadableSpan | None = rule
    while current is not None:
        line.append(current.name)
        current = named.get(current.parent.span_id) if current.parent else None
    assert line[:3] == ["rule", "transaction", "guard"]
    for span in (guard, rule):
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE


async def test_a_refusal_says_its_code_in_the_trace(
    orders: Face, exporter: InMemorySpanExporter
) -> None:
    exporter.clear()
    async with orders.client("orders", "orders:read") as client:
        await call(client, "get_order", order_id="none")
    (guard,) = by_name(exporter.get_finished_spans(), "guard")
    assert guard.attributes is not None
    assert guard.attributes["error.type"] == "not_found"


async def test_planted_secrets_are_nowhere(
    orders: Face, exporter: InMemorySpanExporter, lines: io.StringIO, tmp_path: Path
) -> None:
    exporter.clear()
    answers = []
    async with orders.client("orders", "orders:write") as client:
        for secret in CANARIES.values():
            for tool, arguments in _everywhere(secret):
                answers.append(await call(client, tool, **arguments))
        for text in PERSONAL:
            await call(client, "find_customer", email=text.replace(" ", ".") + "@example.org")
            await call(client, "add_order_note", order_id="none", note=text)
    logging.getLogger("common.test").warning("Bearer %s was refused", CANARIES["token"])
    logging.getLogger("common.test").warning("cannot reach %s", CANARIES["password"])
    seen = lines.getvalue()
    assert seen.count("\n") >= 2
    for line in seen.splitlines():
        assert {"at", "level", "logger", "message"} <= set(json.loads(line))
    spans = "\n".join(span.to_json() for span in exporter.get_finished_spans())
    async with orders.browser() as browser:
        figures = (await browser.get("/metrics")).text
    assert "shop_calls_total" in figures
    places = {
        "logs": seen, "spans": spans, "figures": figures, "answers": json.dumps(answers),
        "database": _dump(tmp_path / "shop.db"),
    }  # fmt: skip
    for name, secret in CANARIES.items():
        for place, text in places.items():
            assert secret not in text, f"{name} in {place}"
            assert secret.replace(" ", "") not in text, f"{name} in {place}"
    places["database"] = _dump(tmp_path / "shop.db", but="audit_payload")  # which may be erased
    for text in PERSONAL:
        for place, found in places.items():
            assert text not in found, f"{text} in {place}"


async def test_a_secret_in_a_reason_is_not_kept_for_those_who_decide(
    copy_of: CopyOf, tmp_path: Path
) -> None:
    url = copy_of("sqlite", "inventory", FILL)
    async with a_desk(tmp_path, database_url=url) as desk:
        for name, secret in CANARIES.items():
            asked = {"sku": CUPS, "warehouse": NORTH, "quantity": 5_000, **desk.key()}
            said = await call(desk.client, "create_reorder", reason=f"see {secret}", **asked)
            assert (said.get("code") == "invalid_parameters") is (name == "card")
            assert secret not in json.dumps(said)
            assert secret not in _dump(tmp_path / "shop.db"), name
        query = select(func.count()).select_from(ApprovalRequest)
        assert await desk.look(lambda session: session.scalar(query)) == len(CANARIES) - 1


async def test_a_guests_session_is_not_logged(tmp_path: Path, lines: io.StringIO) -> None:
    """Its id is all that a guest has to show."""
    telemetry.hold_back()
    http = on_port(settings_in(tmp_path)).http
    async with (
        a_shop(tmp_path, http=http) as shop,
        a_face(shop, [storefront], guests=guests(http)) as face,
        face.browser() as browser,
    ):
        client = {"name": "test", "version": "1"}
        begin = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        begun = await browser.post(
            "/storefront/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin},
            headers={"accept": "application/json, text/event-stream"},
        )
        session = begun.headers["mcp-session-id"]
        at = {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
        assert (await browser.delete("/storefront/mcp", headers=at)).is_success
    assert lines.getvalue()
    assert session not in lines.getvalue()


def _everywhere(secret: str) -> list[tuple[str, dict[str, Any]]]:
    """Calls that carry a text in a note, an id, a key, a name of an argument and of a tool."""
    return [
        ("add_order_note", {"order_id": "ord_1", "note": f"see {secret} please"}),
        ("get_order", {"order_id": secret.replace(" ", "")}),
        ("get_order", {"order_id": "ord_1", secret: 1}),
        ("hold_order", {"order_id": "ord_1", "kind": secret, "reason": secret}),
        ("cancel_order", {"order_id": "o", "reason": secret, "idempotency_key": secret}),
        ("find_customer", {"email": f"{secret}@example.org".replace(" ", "")}),
        ("search_orders", {"query": secret}),
    ]


def _dump(file: Path, but: str = "") -> str:
    """Every row of every table."""
    with sqlite3.connect(file) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        found = [
            str(connection.execute(f"SELECT * FROM {name}").fetchall())
            for (name,) in tables
            if name != but
        ]
    connection.close()
    return "\n".join(found)


def test_a_setting_without_its_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(telemetry.MissingExtra, match=r"shop\[traces\]"):
        telemetry._trace("http://127.0.0.1:4318/v1/traces", "shop")


def test_a_long_crash_keeps_its_end_and_no_part_of_a_secret() -> None:
    frames = "\n".join(f'  File "rule.py", line {n}, in rule' for n in range(400))
    said = telemetry.clean(f"inventory.get_stock crashed\n{frames}\nValueError: no such shelf")
    assert said.startswith("inventory.get_stock crashed")
    assert said.endswith("ValueError: no such shelf")
    assert len(said) < telemetry.LONGEST + 10
    card = CANARIES["card"]
    for before in range(990, 1_010):
        said = telemetry.clean("x" * (before - 10) + f" {card} " + "y " * 4_000)
        assert not any(part in said for part in card.split())


def test_a_crash_is_told_without_marks_and_with_what_lies_beneath_it(lines: io.StringIO) -> None:
    def broken() -> None:
        try:
            try:
                raise OSError("the shelf fell")
            except OSError as error:
                raise ExceptionGroup("two", [KeyError("first"), ValueError("second")]) from error
        except ExceptionGroup:
            assert [][int("1")] is None

    try:
        broken()
    except IndexError:
        logging.getLogger("shop").exception("get_stock crashed")
    told = json.loads(lines.getvalue())["exception"]
    for part in (
        "OSError: the shelf fell", "direct cause of the following", "two (2 sub-exceptions)",
        "KeyError: 'first'", "ValueError: second", "During handling of the above",
        '    assert [][int("1")] is None\n',
    ):  # fmt: skip
        assert part in told
    assert told.endswith("\nIndexError: list index out of range")
    assert "^" not in told
    assert "~" not in told


async def test_a_request_is_one_object_for_a_machine(tmp_path: Path, lines: io.StringIO) -> None:
    """Not JSON in a string of JSON."""
    http = on_port(settings_in(tmp_path), SHOP_ACCESS_LOG="1").http
    async with (
        a_shop(tmp_path, http=http) as shop,
        a_face(shop, [storefront]) as face,
        face.browser() as browser,
    ):
        await browser.get(f"/nowhere/{CANARIES['key']}?q=1")
    found = [json.loads(line) for line in lines.getvalue().splitlines() if "shop.access" in line]
    (line,) = found
    assert (line["client"], line["method"], line["status"]) == ("127.0.0.1", "GET", 404)
    assert line["path"].startswith("/nowhere/")
    assert CANARIES["key"] not in json.dumps(line)
    assert "message" not in line
