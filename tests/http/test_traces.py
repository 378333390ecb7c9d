"""A trace's context is recorded. Whatever it says, the same is answered, allowed and recorded."""

import re
import secrets
from typing import Any, Final

import pytest
from sqlalchemy import select

from common import telemetry
from common.shop import Shop
from common.tables.spine import AuditRecord
from tests.http.test_scopes import asking, bearer
from tests.support.http import Face
from tests.support.shop import look

OURS: Final = f"00-{'a' * 32}-{'b' * 16}-01"
OTHER: Final = f"00-{'c' * 32}-{'d' * 16}-00"
CLAIMS: Final = "scope=inventory:write,sub=kim%40example.com,approved=true,audit=off"

Sent = tuple[list[tuple[str, str]], dict[str, Any]]
CONTEXTS: Final[dict[str, Sent]] = {
    "another's": ([("traceparent", OTHER), ("tracestate", "shop=root"), ("baggage", CLAIMS)], {}),
    "two": ([("traceparent", OURS), ("traceparent", OTHER)], {}),
    "contradicting": ([("traceparent", OURS)], {"traceparent": OTHER, "baggage": CLAIMS}),
    "malformed": ([("traceparent", "'; DROP TABLE audit_record;--"), ("tracestate", "=,=,=")], {}),
    "zeros": ([("traceparent", f"00-{'0' * 32}-{'0' * 16}-01"), ("baggage", "=;;,")], {}),
    "no such version": ([("traceparent", f"ff{OURS[2:]}-more")], {}),
    "not ASCII": ([("traceparent", OURS.replace("a", "\xe4")), ("tracestate", "\xe4=\xf6")], {}),
    "long": ([("traceparent", OURS * 50), ("baggage", "k=v," * 1_000)], {}),
    "of other kinds": ([], {"traceparent": 7, "tracestate": [OURS], "baggage": {"a": None}}),
}
OWN: Final = frozenset({"event_id", "args_commit", "ts", "ms"})
TRACE: Final = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")


async def answered(face: Face, token: str, sent: Sent) -> tuple[int, str, Any]:
    """Status, challenge and what was said to a call that changes something."""
    arguments = {"amount_minor": 100, "idempotency_key": secrets.token_hex(8)}
    body, headers = asking("tools/call", name="spend", arguments=arguments)
    given, meta = sent
    body["params"]["_meta"] |= meta
    named = [*(headers | (bearer(token) if token else {})).items(), *given]
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in named]
    async with face.browser() as browser:
        answer = await browser.post("/inventory/mcp", json=body, headers=encoded)
    result = answer.json().get("result", answer.json())
    said = result.get("structuredContent", result)
    return answer.status_code, answer.headers.get("www-authenticate", ""), said


async def recorded(shop: Shop) -> list[dict[str, Any]]:
    """All records, without what no two of them share, and without the trace where it is one."""
    query = select(AuditRecord.record).order_by(AuditRecord.chain, AuditRecord.seq)
    records = await look(shop, lambda s: list(s.scalars(query)))
    return [
        {
            key: value
            for key, value in record.items()
            if key not in OWN and not (key == "trace" and TRACE.fullmatch(value))
        }
        for record in records
    ]


@pytest.mark.parametrize("traced", [True, False])
async def test_no_trace_context_decides_anything(
    toys: Shop, face: Face, monkeypatch: pytest.MonkeyPatch, traced: bool
) -> None:
    monkeypatch.setattr(telemetry, "_on", traced)
    writes = face.token("inventory", "inventory:write")
    reads = face.token("inventory", "inventory:read")

    async def all_told(sent: Sent) -> tuple[list[tuple[int, str, Any]], list[dict[str, Any]]]:
        before = await recorded(toys)
        answers = [await answered(face, token, sent) for token in (writes, reads, "")]
        return answers, (await recorded(toys))[len(before) :]

    plain, records = await all_told(([], {}))
    assert [status for status, _, _ in plain] == [200, 403, 401]
    assert [record["outcome"] for record in records] == ["ok", "denied"]
    for name, sent in CONTEXTS.items():
        answers, found = await all_told(sent)
        assert answers == plain, name
        assert found == records, name
    query = select(AuditRecord.record)
    kept = await look(toys, lambda s: [record.get("trace", "") for record in s.scalars(query)])
    assert any(trace.startswith("c" * 32) for trace in kept), "what was told was recorded"
