"""The harness's approval-binding tests, on the real approval engine over HTTP.

The tests run in the judges' own interpreter and ask, a line of JSON each, for one of five
operations; they are answered here. What was executed is read from the table of stock corrections.
"""

import asyncio
import json
import secrets
from typing import Any, Final

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.approvals import approvers, decisions
from common.clock import utc_now
from common.errors import ShopError
from common.tables.stock_documents import StockAdjustment
from tests.judges.outside.stage import ANA, DENIED_FROM, KIM, PASSPHRASE, Stage, Verdict
from tests.support.shop import call

UNITS: Final = 101
MOST_OPERATIONS: Final = 200
ASKING: Final = """
import json, sys
from protocol_tests.approval_binding_harness import ApprovalBindingHarness
def target(request):
    print(json.dumps(request), flush=True)
    return json.loads(sys.stdin.readline())
said = ApprovalBindingHarness(target, tool="adjust_stock").run_all()
print(json.dumps({"done": [
    [r.test_id,
     "passed" if r.passed else "inconclusive" if r.not_evaluated else "failed", r.details]
    for r in said]}))
"""


class Engine:
    """The five operations of the tests, on our side."""

    def __init__(self, stage: Stage, agent: Client, article: dict[str, Any]) -> None:
        self.stage, self.agent, self.article = stage, agent, article
        self.denied: list[Any] = []
        self.granted: list[str] = []

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["op"]:
            case "profile":
                return {"_status": 200, "single_use": True}
            case "declare":  # more units than the policy file ever allows
                self.denied.append(request["deny"]["args"])
                return {"_status": 200, "declared": True}
            case "approve":
                return {"_status": 200, "approved": await self._approve(request["args"])}
            case "call":
                return await self._call(request["args"])
            case _:
                return {"_status": 200, "executions": await self._executed()}

    def _arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        units = DENIED_FROM if given in self.denied else UNITS
        where = {name: self.article[name] for name in ("sku", "warehouse")}
        note = json.dumps(given, sort_keys=True)
        said = {"quantity": units, "reason": "found", "note": note}
        return where | said | {"idempotency_key": secrets.token_hex(8)}  # each call is meant anew

    async def _approve(self, given: dict[str, Any]) -> bool:
        asked = await call(self.agent, "adjust_stock", **self._arguments(given))
        id = asked.get("approval_id")
        if asked.get("status") != "approval_required" or not id:
            return False

        def decide(session: Session) -> None:
            kim = approvers.find(session, KIM)
            key = approvers.unlock(kim, PASSPHRASE)
            decisions.decide(session, id, kim, key, "approve", "", utc_now(), "terminal")

        try:
            await self.stage.shop.database.run("*", decide)
        except ShopError:
            return False
        self.granted.append(id)
        return True

    async def _call(self, given: dict[str, Any]) -> dict[str, Any]:
        """With the newest approval there is, whatever it was given for."""
        with_it = {"approval_id": self.granted[-1]} if self.granted else {}
        answer = await call(self.agent, "adjust_stock", **self._arguments(given), **with_it)
        return {"_status": 200, "result": answer}

    async def _executed(self) -> list[dict[str, Any]]:
        def read(session: Session) -> list[str]:
            rows = select(StockAdjustment.note).where(StockAdjustment.note.startswith("{"))
            return list(session.scalars(rows.order_by(StockAdjustment.at, StockAdjustment.id)))

        notes = await self.stage.shop.database.run("*", read, write=False)
        return [{"tool": "adjust_stock", "args": json.loads(note)} for note in notes]


async def bound(stage: Stage) -> list[Verdict]:
    """APB-001 to APB-003."""
    headers = {"Authorization": f"Bearer {await stage.token(ANA)}"}
    article = await stage.an_article()
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(stage.url(), http_client=http)) as agent,
    ):
        return await _asked(stage, Engine(stage, agent, article))


async def _asked(stage: Stage, engine: Engine) -> list[Verdict]:
    process = await asyncio.create_subprocess_exec(
        str(stage.judges / "bin" / "python"), "-c", ASKING,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        for _ in range(MOST_OPERATIONS):
            line = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
            if "done" in line:
                return [Verdict("approval-binding", *each) for each in line["done"]]
            process.stdin.write(json.dumps(await engine.answer(line)).encode() + b"\n")
            await process.stdin.drain()
        return [Verdict("approval-binding", "run", "failed", "it never ended")]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
