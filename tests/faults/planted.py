"""Bugs as somebody might write them, one in each part that must not have any."""

import os
from collections.abc import Callable
from random import Random
from typing import Any, Final

from common import idempotency
from common.approvals import decisions, requests
from common.audit import chain
from common.rules import funds, reserving
from common.tables.spine import ApprovalRequest


def reserve(random: Random) -> None:
    """A retry in the rule itself: now and then units are promised twice."""
    right = reserving.reserve

    def again(*args: Any, **named: Any) -> Any:
        if random.random() < 0.3:
            right(*args, **named)
        return right(*args, **named)

    reserving.reserve = again


def refund(random: Random) -> None:
    """Cents lost on the way: the row says one amount, the ledger moves another."""
    right = funds.refund

    def rounded(call: Any, payment_id: str, amount_minor: int, *args: Any, **named: Any) -> Any:
        less = amount_minor > 1 and random.random() < 0.2
        return right(call, payment_id, amount_minor - less, *args, **named)

    funds.refund = rounded  # type: ignore[assignment]


def replay(random: Random) -> None:
    """The answer is kept in a place of this process's own, so others do not find it."""
    right = idempotency.key_of

    def own(actor: Any, server: str, tool: str, key: str) -> str:
        return right(actor, server, f"{tool}{os.getpid()}", key)

    idempotency.key_of = own


def audit(random: Random) -> None:
    """A record is hashed over other bytes than those that are kept."""
    right = chain._hash

    def sloppy(number: int, seq: int, prev: str, content: bytes) -> str:
        return right(number, seq, prev, content + b" " * (random.random() < 0.05))

    chain._hash = sloppy


def approval(random: Random) -> None:
    """Whoever holds the number of a request counts as approved."""
    right = requests.consume

    def trusting(session: Any, *, approval_id: str, **named: Any) -> Any:
        asked = session.get(ApprovalRequest, approval_id)
        if asked is not None and asked.state == "pending":
            asked.state = "approved"
            session.flush()
            right_count = decisions.counted
            decisions.counted = lambda *_: ([None] * 3, "")  # type: ignore[assignment]
            try:
                return right(session, approval_id=approval_id, **named)
            finally:
                decisions.counted = right_count
        return right(session, approval_id=approval_id, **named)

    requests.consume = trusting


BUGS: Final[dict[str, Callable[[Random], None]]] = {
    "reserve": reserve,
    "refund": refund,
    "idempotency": replay,
    "audit": audit,
    "approval": approval,
}
