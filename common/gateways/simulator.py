"""A payment provider in a file of its own: it outlives our processes, as a provider would.

What happens is decided by the token of the method: see ``common.gateways.behaviours``.
References depend on the seed and the op_id alone. The fee is 1.9 % of a capture.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from common.canonical import digest
from common.clock import Clock, stamp, utc_now
from common.gateways.behaviours import BEHAVIOURS, Behaviour, behaviour_of
from common.gateways.port import (
    PAGE,
    EvidenceKind,
    Kind,
    OperationMismatch,
    Outcome,
    Page,
    ProviderDispute,
    ProviderPayout,
    Sent,
    State,
    check_amount,
    check_evidence,
    check_operation,
    check_texts,
)
from common.gateways.simulator_books import (
    SCHEMA,
    amend,
    authorization,
    book,
    capture_refusal,
    closed,
    decide,
    failed,
    first_try,
    lines,
    moment,
    newest,
    refund_refusal,
    settle_payment,
    settle_refund,
)

FEE_BASIS_POINTS: Final = 190
RESPONSE: Final = timedelta(days=7)
_WAIT_S: Final = 30
_NO_ANSWER: Final = Outcome(State.UNKNOWN, code="timeout", message="The provider did not answer.")

Effect = Callable[[sqlite3.Connection], Outcome]


class Simulator:
    """Implements PaymentGateway. Processes and threads may share the file."""

    name: Final = "simulator"

    def __init__(self, path: Path, *, seed: int = 0, clock: Clock = utc_now) -> None:
        self._path = path
        self._seed = seed
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.executescript(SCHEMA)

    def authorize(
        self,
        op_id: str,
        amount_minor: int,
        currency: str,
        method_token: str,
        metadata: Mapping[str, str],
    ) -> Outcome:
        check_operation(op_id)
        check_amount(amount_minor, currency)
        check_texts(method_token=method_token, metadata=metadata)

        def effect(db: sqlite3.Connection) -> Outcome:
            if method_token.startswith("tok_") and method_token not in BEHAVIOURS:
                return failed("no_such_method", "No such payment method.")
            behaviour = behaviour_of(method_token)
            until = self._now() + behaviour.hold
            state = "pending" if behaviour.waits else "authorized"
            if behaviour.decline and not behaviour.waits:
                state = "declined"
            ref = self._ref("pay", op_id)
            db.execute(
                "insert into payment (ref, op_id, method, amount, currency, state, capture_before)"
                " values (?, ?, ?, ?, ?, ?, ?)",
                (ref, op_id, method_token, amount_minor, currency, state, stamp(until)),
            )
            return authorization(db, ref)

        sent = [amount_minor, currency, method_token, dict(metadata)]
        return self._perform(op_id, "authorize", sent, behaviour_of(method_token), effect)

    def capture(self, op_id: str, provider_ref: str, amount_minor: int) -> Outcome:
        check_operation(op_id, provider_ref)
        check_amount(amount_minor)

        def effect(db: sqlite3.Connection) -> Outcome:
            payment = self._payment(db, provider_ref)
            refusal = capture_refusal(payment, amount_minor)
            if refusal is not None or payment is None:
                return refusal or failed("no_such_payment", "No such payment.")
            fee = (amount_minor * FEE_BASIS_POINTS + 5_000) // 10_000
            db.execute(
                "update payment set state = 'captured', captured = ? where ref = ?",
                (amount_minor, provider_ref),
            )
            book(db, "charge", provider_ref, payment["currency"], amount_minor, fee)
            behaviour = behaviour_of(payment["method"])
            if behaviour.dispute:
                self._open_dispute(db, payment, amount_minor, behaviour)
            return Outcome(State.DONE, provider_ref, fee_minor=fee)

        behaviour = self._behaviour_of(provider_ref)
        return self._perform(op_id, "capture", [provider_ref, amount_minor], behaviour, effect)

    def void(self, op_id: str, provider_ref: str) -> Outcome:
        check_operation(op_id, provider_ref)

        def effect(db: sqlite3.Connection) -> Outcome:
            payment = self._payment(db, provider_ref)
            if payment is None:
                return failed("no_such_payment", "No such payment.")
            if payment["state"] not in {"authorized", "pending"}:
                return closed(payment)
            if payment["state"] == "pending":
                amend(db, payment["op_id"], failed("already_voided", "Voided before it settled."))
            db.execute("update payment set state = 'voided' where ref = ?", (provider_ref,))
            return Outcome(State.DONE, provider_ref)

        behaviour = self._behaviour_of(provider_ref)
        return self._perform(op_id, "void", [provider_ref], behaviour, effect)

    def refund(self, op_id: str, provider_ref: str, amount_minor: int, reason: str) -> Outcome:
        check_operation(op_id, provider_ref)
        check_amount(amount_minor)
        check_texts(reason=reason)
        behaviour = self._behaviour_of(provider_ref)

        def effect(db: sqlite3.Connection) -> Outcome:
            payment = self._payment(db, provider_ref)
            refusal = refund_refusal(db, payment, amount_minor)
            if refusal is not None or payment is None:
                return refusal or failed("no_such_payment", "No such payment.")
            ref = self._ref("refund", op_id)
            state = "done" if behaviour.refund == "done" else "pending"
            db.execute(
                "update payment set refunded = refunded + ? where ref = ?",
                (amount_minor, provider_ref),
            )
            db.execute(
                "insert into refund values (?, ?, ?, ?, ?)",
                (ref, op_id, provider_ref, amount_minor, state),
            )
            book(db, "refund", ref, payment["currency"], -amount_minor)
            return Outcome(State(state), ref)

        sent = [provider_ref, amount_minor, reason]
        return self._perform(op_id, "refund", sent, behaviour, effect)

    def ask(self, op_id: str, sent: Sent) -> Outcome:
        check_operation(op_id)
        with self._open() as db:
            found = db.execute("select outcome from operation where op_id = ?", (op_id,)).fetchone()
        return Outcome.read(json.loads(found["outcome"])) if found else Outcome(State.NOT_FOUND)

    def disputes(self, since: datetime, after: str | None = None) -> Page[ProviderDispute]:
        with self._open() as db:
            rows = newest(db, "dispute", "opened_at", since, after)
        found = tuple(
            ProviderDispute(
                row["ref"], row["payment"], row["status"], row["reason"], row["amount"],
                row["currency"], moment(row["opened_at"]), moment(row["respond_by"]),
            )
            for row in rows[:PAGE]
        )  # fmt: skip
        return Page(found, str(rows[PAGE - 1]["position"]) if len(rows) > PAGE else None)

    def submit_evidence(
        self, op_id: str, dispute_ref: str, evidence: Mapping[EvidenceKind, str]
    ) -> Outcome:
        check_operation(op_id, dispute_ref)
        check_evidence(evidence)
        told = json.dumps(dict(evidence), sort_keys=True)
        return self._answer(op_id, "submit_evidence", dispute_ref, "under_review", told)

    def accept_dispute(self, op_id: str, dispute_ref: str) -> Outcome:
        check_operation(op_id, dispute_ref)
        return self._answer(op_id, "accept_dispute", dispute_ref, "lost", None)

    def payouts(self, since: datetime, after: str | None = None) -> Page[ProviderPayout]:
        with self._open() as db:
            rows = newest(db, "payout", "made_at", since, after)
            found = tuple(
                ProviderPayout(
                    row["ref"], row["currency"], row["amount"],
                    date.fromisoformat(row["made_at"][:10]), lines(db, row["ref"]),
                )
                for row in rows[:PAGE]
            )  # fmt: skip
        return Page(found, str(rows[PAGE - 1]["position"]) if len(rows) > PAGE else None)

    def advance(self) -> int:
        """Let the provider's own time pass: what is pending settles, what is under review is
        decided. How many things changed."""
        with self._transaction() as db:
            waiting = db.execute("select * from payment where state = 'pending'").fetchall()
            for payment in waiting:
                settle_payment(db, payment)
            refunds = db.execute("select * from refund where state = 'pending'").fetchall()
            for refund in refunds:
                settle_refund(db, refund)
            reviewed = db.execute("select * from dispute where status = 'under_review'").fetchall()
            for dispute in reviewed:
                decide(db, dispute)
            return len(waiting) + len(refunds) + len(reviewed)

    def pay_out(self) -> tuple[str, ...]:
        """Send what the balances hold to the bank; references of the payouts made. A currency that
        owes the provider has none."""
        made = []
        with self._transaction() as db:
            sums = db.execute(
                "select currency, sum(amount - fee) as net, max(position) as last from balance"
                " where payout is null group by currency having net > 0 order by currency"
            ).fetchall()
            for row in sums:
                ref = self._ref("payout", f"{row['currency']}{row['last']}")
                db.execute(
                    "insert into payout (ref, currency, amount, made_at) values (?, ?, ?, ?)",
                    (ref, row["currency"], row["net"], stamp(self._now())),
                )
                db.execute(
                    "update balance set payout = ? where payout is null and currency = ?",
                    (ref, row["currency"]),
                )
                made.append(ref)
        return tuple(made)

    def totals(self, provider_ref: str) -> tuple[int, int, int]:
        """Authorized, captured and refunded minor units of a payment, from the provider's books."""
        with self._open() as db:
            row = self._payment(db, provider_ref)
            if row is None:
                return 0, 0, 0
            held = row["amount"] if row["state"] in {"authorized", "captured"} else 0
            return held, row["captured"], row["refunded"]

    def _answer(
        self, op_id: str, kind: Kind, dispute_ref: str, status: str, evidence: str | None
    ) -> Outcome:
        def effect(db: sqlite3.Connection) -> Outcome:
            found = db.execute("select * from dispute where ref = ?", (dispute_ref,)).fetchone()
            if found is None:
                return failed("no_such_dispute", "No such dispute.")
            if found["status"] not in {"needs_response", "inquiry"}:
                return failed("dispute_closed", f"The dispute is {found['status']}.")
            if found["status"] == "inquiry" and status == "lost":
                # Nothing was withdrawn for an inquiry: giving up takes the money now.
                book(db, "dispute", dispute_ref, found["currency"], -found["amount"])
            db.execute(
                "update dispute set status = ?, evidence = ? where ref = ?",
                (status, evidence, dispute_ref),
            )
            return Outcome(State.DONE, dispute_ref)

        return self._perform(op_id, kind, [dispute_ref, evidence], Behaviour(), effect)

    def _perform(
        self, op_id: str, kind: Kind, sent: list[Any], behaviour: Behaviour, effect: Effect
    ) -> Outcome:
        fault = behaviour.faults.get(kind)
        fingerprint = digest([kind, *sent])
        with self._transaction() as db:
            known = db.execute("select * from operation where op_id = ?", (op_id,)).fetchone()
            if known is not None:
                if known["digest"] != fingerprint:
                    raise OperationMismatch(
                        "This operation was sent before with other parameters.",
                        next="Find out which of the two is meant; a new intent needs a new op_id.",
                    )
                return Outcome.read(json.loads(known["outcome"]))
            if fault == "lost" and first_try(db, op_id):
                return _NO_ANSWER
            outcome = effect(db)
            db.execute(
                "insert into operation values (?, ?, ?, ?)",
                (op_id, kind, fingerprint, json.dumps(outcome.record())),
            )
        return _NO_ANSWER if fault == "done" else outcome

    def _open_dispute(
        self, db: sqlite3.Connection, payment: sqlite3.Row, amount: int, behaviour: Behaviour
    ) -> None:
        ref = self._ref("dispute", payment["op_id"])
        now = self._now()
        db.execute(
            "insert into dispute (ref, payment, status, reason, amount, currency, opened_at,"
            " respond_by) values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                ref, payment["ref"], "inquiry" if behaviour.inquiry else "needs_response",
                behaviour.dispute, amount, payment["currency"], stamp(now), stamp(now + RESPONSE),
            ),
        )  # fmt: skip
        if not behaviour.inquiry:
            book(db, "dispute", ref, payment["currency"], -amount)

    def _payment(self, db: sqlite3.Connection, ref: str) -> sqlite3.Row | None:
        """The payment as it stands now: a hold past its time has lapsed."""
        db.execute(
            "update payment set state = 'expired'"
            " where ref = ? and state = 'authorized' and capture_before <= ?",
            (ref, stamp(self._now())),
        )
        found: sqlite3.Row | None = db.execute(
            "select * from payment where ref = ?", (ref,)
        ).fetchone()
        return found

    def _behaviour_of(self, provider_ref: str) -> Behaviour:
        with self._open() as db:
            row = db.execute("select method from payment where ref = ?", (provider_ref,)).fetchone()
        return behaviour_of(row["method"]) if row else Behaviour()

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)

    def _ref(self, kind: str, of: str) -> str:
        return f"sim_{kind}_{hashlib.sha256(f'{self._seed}/{kind}/{of}'.encode()).hexdigest()[:20]}"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            # Killed processes lose nothing by it; only a power cut would.
            db.execute("pragma synchronous=off")
            yield db
        finally:
            db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            db.execute("begin immediate")
            with db:
                yield db
