"""Clients over HTTP: they call, lose their connection, hang up, ask people, and try again."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from benchmarks.requests import Target
from tests.faults import floor
from tests.faults.cycles import Transaction
from tests.faults.history import History, Intent

PATIENCE_S: Final = 30.0
AGREED: Final = {"confirm": {"action": "accept", "content": {"agree": True}}}
# Whoever is told one of these cannot know whether it happened.
OPEN_ENDED: Final = frozenset({"internal_error", "upstream_error"})


class Unknown(Exception):
    """No answer, or one that says nothing about what happened."""


class Refused(Exception):
    """Nothing happened; the code says why."""


@dataclass
class Book:
    """What every caller did, in memory and in a file."""

    history: History
    intents: dict[str, Intent] = field(default_factory=dict)
    transactions: list[Transaction] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    open: list[Intent] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)  # first try, first answer
    vanished: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)  # why nothing was learnt


@dataclass
class Caller:
    """One client, signed in under a name of its own."""

    name: str
    random: Random
    target: Callable[[str, str, Random], Target]
    decide: Callable[[str], Any]
    book: Book
    vanishing: float
    over: asyncio.Event
    served: Callable[[], bool] = lambda: True
    count: int = 0
    signed_in: str = ""
    patience_s: float = PATIENCE_S
    how: dict[str, Any] = field(default_factory=dict)  # from which address, with which TLS

    async def live(self) -> None:
        """Until it is over."""
        while not self.over.is_set():
            if not self.served():
                await asyncio.sleep(0.1)
            elif self.book.open and self.random.random() < 0.5:
                await self.attempt(self.book.open.pop(self.random.randrange(len(self.book.open))))
            elif self.random.random() < 0.15:
                await self.look()
            else:
                self.count += 1
                intent = floor.chosen(self.random, f"{self.name}-{self.count:06}")
                self.book.intents[intent.mark] = intent
                if self.random.random() < 0.05:
                    self.book.open.append(intent)  # somebody else sends it at the same time
                await self.attempt(intent)

    async def attempt(self, intent: Intent) -> None:
        """One try at an intent, with every question that is asked on the way."""
        intent.invoked += 1
        # A key belongs to who sent it first: whoever asks again signs in under that name.
        self.signed_in = intent.mark.rpartition("-")[0]
        self.book.history.write(
            "invoke", intent.mark, tool=intent.tool, arguments=intent.arguments, key=intent.key
        )
        began = time.monotonic()
        first = self.book.begun.setdefault(intent.mark, began)
        try:
            answer = await self.through(intent)
        except Refused as refused:
            intent.failed.append(str(refused))
            self.book.history.write("fail", intent.mark, code=str(refused))
        except Unknown as unknown:
            self.book.history.write("unknown", intent.mark, code=str(unknown))
            self.book.unanswered[str(unknown)] += 1
            await asyncio.sleep(self.random.uniform(0.01, 0.2))
            if self.random.random() < 0.8:
                self.book.open.append(intent)
        else:
            intent.ok += 1
            intent.answers.append(answer)
            self.book.history.write("ok", intent.mark, answer=answer)
            self.book.spans.setdefault(intent.mark, (first, time.monotonic()))
            self.book.latencies.append(time.monotonic() - began)
            if not answer.get("replayed") and self.random.random() < 0.05:
                self.book.open.append(intent)  # somebody who asks again although all is well

    async def through(self, intent: Intent) -> dict[str, Any]:
        """The call, and what it asks for: a yes in the client, or a second person's."""
        arguments = intent.arguments | {"idempotency_key": intent.key}
        answer = await self.call(intent.tool, arguments)
        if answer.get("resultType") == "input_required":
            answer = await self.call(
                intent.tool, arguments, inputResponses=AGREED, requestState=answer["requestState"]
            )
        said: dict[str, Any] = answer.get("structuredContent") or {}
        if said.get("status") != "approval_required":
            return _settled(answer, said)
        with_id = arguments | {"approval_id": said["approval_id"]}
        if self.random.random() < 0.4:  # somebody who does not wait for the decision
            early = await self.call(intent.tool, with_id)
            if not early.get("isError"):
                return _settled(early, early["structuredContent"])
        try:
            await self.decide(said["approval_id"])
        except Exception as error:
            raise Unknown(f"not decided: {type(error).__name__}") from None
        answer = await self.call(intent.tool, with_id)
        return _settled(answer, answer.get("structuredContent") or {})

    async def look(self) -> None:
        """Read both tallies in one call."""
        began, sku = time.monotonic(), self.random.choice(floor.TALLIES)
        try:
            answer = await self.call("inventory.get_stock", {"sku": sku})
            said = _settled(answer, answer.get("structuredContent") or {})
        except (Unknown, Refused):
            return
        self.count += 1
        seen = {shelf["warehouse"]: shelf["on_hand"] for shelf in said["shelves"]}
        assert set(seen) == set(floor.HOUSES), seen
        self.book.transactions.append(
            Transaction(
                f"{self.name}-look-{self.count}", began, time.monotonic(),
                reads={f"{sku}/{house}": upto(n) for house, n in seen.items()},
            )
        )  # fmt: skip

    async def call(self, tool: str, arguments: dict[str, Any], **params: Any) -> dict[str, Any]:
        """The result of one ``tools/call``. Raises Unknown, Refused."""
        domain, _, name = tool.partition(".")
        target = self.target(domain, f"{self.signed_in or self.name}@example.com", self.random)
        vanishes = self.random.random() < self.vanishing and name != "get_stock"
        patience = self.random.uniform(0, 0.08) if vanishes else self.patience_s
        try:
            async with asyncio.timeout(patience):
                status, body = await exchange(
                    target, target.call(name, arguments, **params), **self.how
                )
        except TimeoutError:
            self.book.vanished += vanishes
            raise Unknown("hung up" if vanishes else "no answer in time") from None
        except (OSError, EOFError, ValueError) as error:
            await asyncio.sleep(0.1)  # nobody is there; somebody will be
            raise Unknown(type(error).__name__) from None
        if status >= 500:
            raise Unknown(f"http_{status}")
        if status != 200:
            why = (body.get("error") or {}).get("data") or {}
            raise Refused(str(why.get("reason") or f"http_{status}"))
        if "result" not in body:
            raise Unknown(str(body.get("error"))[:200])
        result: dict[str, Any] = body["result"]
        return result


async def exchange(target: Target, request: bytes, **how: Any) -> tuple[int, dict[str, Any]]:
    """One request over a connection of its own; closed whatever happens."""
    reader, writer = await asyncio.open_connection(target.host, target.port, **how)
    try:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        _, found, rest = head.partition("content-length:")
        if not found:
            raise ValueError("an answer without a length")
        body = await reader.readexactly(int(rest.split("\r\n", 1)[0]))
        return status, json.loads(body) if body.startswith(b"{") else {}
    finally:
        writer.close()


def upto(count: int) -> tuple[int, ...]:
    """What a tally that shows ``count`` tells: each of one more up to it, in this order."""
    return tuple(range(2, count + 1))


def _settled(answer: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """The structured answer of a call that was made. Raises Unknown, Refused."""
    if answer.get("isError"):
        if "code" not in said:  # a refusal of another shape than ours
            raise Refused(f"unshaped: {json.dumps(answer.get('content'))[:300]}")
        code = str(said["code"])
        raise Unknown(code) if code in OPEN_ENDED else Refused(code)
    if answer.get("resultType") == "input_required" or ("status" in said and "approval_id" in said):
        raise Refused("asked_again")
    return said
