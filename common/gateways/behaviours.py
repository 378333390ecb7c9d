"""How the simulator behaves, chosen by the token of the payment method.

=============================  ===================================================================
``tok_ok``                     everything goes well; so does any token not beginning with ``tok_``
``tok_declined``               declined; ``tok_insufficient_funds`` too
``tok_async``                  pending until ``advance``; ``tok_async_declined`` is then declined
``tok_timeout_done``           the first answer to authorize is lost, although it happened
``tok_timeout_lost``           the first request to authorize is lost: nothing happened
``tok_capture_timeout_done``   the same of capture, void and refund; each with ``_lost`` too
``tok_refund_async``           refunds pend until ``advance``; with ``tok_refund_failed`` they fail
``tok_dispute``                disputed as fraudulent once captured, won after evidence
``tok_dispute_lost``           disputed as not received, lost after evidence
``tok_inquiry``                a question before a dispute: no money moves
``tok_expires_soon``           the hold lapses after ten minutes instead of seven days
=============================  ===================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

HOLD: Final = timedelta(days=7)


@dataclass(frozen=True)
class Behaviour:
    """``faults``: by kind, whether the answer (done) or the request (lost) goes missing once."""

    decline: str = ""
    waits: bool = False
    faults: Mapping[str, str] = field(default_factory=dict)
    refund: Literal["done", "pending", "failed"] = "done"
    dispute: str = ""
    inquiry: bool = False
    verdict: Literal["won", "lost"] = "won"
    hold: timedelta = HOLD


BEHAVIOURS: Final[Mapping[str, Behaviour]] = {
    "tok_ok": Behaviour(),
    "tok_declined": Behaviour(decline="card_declined"),
    "tok_insufficient_funds": Behaviour(decline="insufficient_funds"),
    "tok_async": Behaviour(waits=True),
    "tok_async_declined": Behaviour(waits=True, decline="card_declined"),
    "tok_timeout_done": Behaviour(faults={"authorize": "done"}),
    "tok_timeout_lost": Behaviour(faults={"authorize": "lost"}),
    **{
        f"tok_{kind}_timeout_{fate}": Behaviour(faults={kind: fate})
        for kind in ("capture", "void", "refund")
        for fate in ("done", "lost")
    },
    "tok_refund_async": Behaviour(refund="pending"),
    "tok_refund_failed": Behaviour(refund="failed"),
    "tok_dispute": Behaviour(dispute="fraudulent"),
    "tok_dispute_lost": Behaviour(dispute="product_not_received", verdict="lost"),
    "tok_inquiry": Behaviour(dispute="unrecognized", inquiry=True),
    "tok_expires_soon": Behaviour(hold=timedelta(minutes=10)),
}


def behaviour_of(method: str) -> Behaviour:
    """That of ``tok_ok`` for a token of another maker, such as an imported shop's."""
    return BEHAVIOURS.get(method, BEHAVIOURS["tok_ok"])
