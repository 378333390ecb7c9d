"""The spine's own tables in a real database, and the people of the approval tests."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Table, delete
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from common.approvals import approvers, requests
from common.call import Actor
from common.canonical import digest
from common.policy import Verdict
from common.storage.database import Database
from common.tables.spine import (
    ApprovalDecision,
    ApprovalRequest,
    Approver,
    PolicyUse,
    StoredResult,
)

T = TypeVar("T")
START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
CHEAP = 2**4
PASSPHRASE = "five random words would do"
KINDS = (ApprovalDecision, ApprovalRequest, Approver, PolicyUse, StoredResult)
SCOPES = frozenset({"payments:read", "payments:refund"})

ANA = Actor("local", "ana@example.com", "desktop", SCOPES)
BEN = Actor("https://id.example.com", "ben@example.com", "desktop", SCOPES)
ROBOT = Actor("https://id.example.com", "nightly-job", "job", SCOPES, machine=True)


class Spine:
    """A database with the spine's tables. ``do`` is one transaction."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self.url = url
        self.database = Database(url)
        self.runner = runner

    def do(self, work: Callable[[Session], T]) -> T:
        return self.runner.run(self.database.run("payments", work, audit_id="aud_test"))

    def see(self, work: Callable[[Session], T]) -> T:
        """Read. Rows that are handed out keep what they had."""

        def kept(session: Session) -> T:
            result = work(session)
            session.expunge_all()
            return result

        return self.runner.run(self.database.run("payments", kept, write=False))

    def both(self, *works: Callable[[Session], Any]) -> list[Any]:
        """Several transactions at once; exceptions are returned."""

        async def at_once() -> list[Any]:
            runs = (self.database.run("payments", work, audit_id="aud_test") for work in works)
            return await asyncio.gather(*runs, return_exceptions=True)

        return self.runner.run(at_once())

    def clear(self) -> None:
        for kind in KINDS:
            self.do(lambda session, kind=kind: session.execute(delete(kind)))  # type: ignore[misc]


@contextmanager
def a_spine(url: str) -> Iterator[Spine]:
    """The tables, and the database to run work on."""
    with asyncio.Runner() as runner:
        runner.run(_create(url))
        spine = Spine(url, runner)
        try:
            yield spine
        finally:
            runner.run(spine.database.close())


async def _create(url: str) -> None:
    engine = create_async_engine(url.replace("sqlite://", "sqlite+aiosqlite://"))
    tables = [kind.__table__ for kind in reversed(KINDS)]
    async with engine.begin() as connection:
        for table in tables:
            assert isinstance(table, Table)
            await connection.run_sync(table.create)
    await engine.dispose()


def after(**by: float) -> datetime:
    return START + timedelta(**by)


def at_level(level: int, **more: Any) -> Verdict:
    return Verdict(level, "payments.refund_payment", "61.00 EUR: up to 500.00 EUR", **more)


class Desk:
    """Shorthand for one call, asked for and used: a refund unless said otherwise."""

    def __init__(self, spine: Spine) -> None:
        self.spine = spine

    def approver(
        self, subject: str, *, by: str = "", voucher: Ed25519PrivateKey | None = None
    ) -> tuple[Approver, Ed25519PrivateKey]:
        made = self.spine.do(
            lambda s: approvers.enroll(
                s, subject, subject, PASSPHRASE, by, START, voucher=voucher, n=CHEAP
            )
        )
        return made, approvers.unlock(made, PASSPHRASE)

    def ask(
        self,
        level: int = 2,
        *,
        who: Actor = ANA,
        args: dict[str, Any] | None = None,
        versions: dict[str, int] | None = None,
        now: datetime = START,
        **verdict: Any,
    ) -> ApprovalRequest:
        call = bound(args, versions)
        return self.spine.do(
            lambda s: requests.ask(
                s, server="payments", tool="refund_payment", preview=PREVIEW, reason="why",
                actor=who, verdict=at_level(level, **verdict), now=now, **call,
            )
        )  # fmt: skip

    def consume(
        self,
        id: str,
        level: int = 2,
        *,
        who: Actor = ANA,
        tool: str = "refund_payment",
        args: dict[str, Any] | None = None,
        versions: dict[str, int] | None = None,
        now: datetime = START,
        check: requests.Check | None = None,
    ) -> ApprovalRequest:
        return self.spine.do(using(id, level, who, tool, args, versions, now, check))

    def state(self, id: str) -> str:
        return self.spine.do(lambda s: requests.get(s, id).state)


PREVIEW = {"title": "Refund pay_1", "lines": ['Reason: "broken"'], "amount": "61.00 EUR"}
ARGS = {"payment_id": "pay_1", "amount_minor": 6_100}


def bound(args: dict[str, Any] | None, versions: dict[str, int] | None) -> dict[str, str]:
    arguments = args or ARGS
    rows = versions or {"payment:pay_1": 3}
    return {
        "args_digest": digest(arguments),
        "digest": requests.digest("payments", "refund_payment", "1", arguments, rows, PREVIEW),
    }


def using(
    id: str,
    level: int = 2,
    who: Actor = ANA,
    tool: str = "refund_payment",
    args: dict[str, Any] | None = None,
    versions: dict[str, int] | None = None,
    now: datetime = START,
    check: requests.Check | None = None,
) -> Callable[[Session], ApprovalRequest]:
    call = bound(args, versions)
    return lambda s: requests.consume(
        s, approval_id=id, server="payments", tool=tool, actor=who, verdict=at_level(level),
        preview=PREVIEW, now=now, check=check, **call,
    )  # fmt: skip
