"""What must be true of a shop after anything: every promise, held against the callers' book."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.audit.verify import verify
from common.keys import anchor_key
from common.shop import Shop
from common.tables.inventory import Reservation
from common.tables.orders import Order
from common.tables.payments import Refund
from common.tables.spine import ApprovalDecision, ApprovalRequest, AuditRecord, Transfer
from common.tables.stock_documents import StockAdjustment, StockTransfer, StockTransferLine
from tests.common.ledger_model import broken_promises
from tests.faults import floor
from tests.faults.callers import Book, upto
from tests.faults.cycles import Transaction, anomalies
from tests.faults.history import Intent, _integrity

ALWAYS: Final = frozenset(
    {"insufficient_stock", "insufficient_funds", "approval_invalid", "conflict", "asked_again",
     "rate_limited"}
)  # fmt: skip
CODES: Final = {
    "reserve_stock": ("reserve",), "adjust_stock": ("adjust_gain", "adjust_loss"),
    "transfer_stock": ("transfer_out",), "refund_payment": ("refund",), "place_order": ("reserve",),
}  # fmt: skip


async def wrongs(shop: Shop, book: Book, *, also: frozenset[str] = frozenset()) -> list[str]:
    """Everything that is not as it should be. ``also``: what callers may be told in this run."""
    await shop.housekeeping.anchor(force=True)
    key, file = anchor_key(shop.settings.key_dir).public_key(), shop.settings.anchor_file

    def look(session: Session) -> list[str]:
        report = verify(session, file, key)
        found = [] if report.exit_code == 0 else [f"audit: {report}"]
        found += broken_promises(session) + _integrity(session)
        return found + list(_effects(session, book)) + list(_approved(session))

    told = {code for intent in book.intents.values() for code in intent.failed}
    found = [f"a caller was told {code}" for code in sorted(told - ALWAYS - also)]
    found += await shop.database.run("*", look, write=False)
    return found + [f"order of events: {each}" for each in anomalies(transactions(book))]


def _rows(session: Session) -> Iterator[tuple[str, str, int]]:
    """Mark, ledger reference and amount of everything that was made."""
    for row in session.scalars(select(Reservation).where(Reservation.source_type == "manual")):
        yield row.source_id, row.source_id, row.quantity
    for made in session.scalars(select(StockAdjustment)):
        yield made.note, made.id, abs(made.quantity)
    lines = dict(
        session.execute(
            select(
                StockTransferLine.stock_transfer_id, func.sum(StockTransferLine.quantity)
            ).group_by(StockTransferLine.stock_transfer_id)
        ).all()
    )
    for sent in session.scalars(select(StockTransfer)):
        yield sent.reason, sent.id, int(lines[sent.id])
    for back in session.scalars(select(Refund)):
        yield back.note, back.id, back.amount_minor
    for order in session.scalars(select(Order).where(~Order.id.startswith("ord-"))):
        yield order.ship_to["line1"], order.id, 0


def _effects(session: Session, book: Book) -> Iterator[str]:
    """Acknowledged: once. Refused: never. Unknown: once or never. Unheard of: never."""
    made: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for mark, reference, amount in _rows(session):
        made[mark].append((reference, amount))
    moved: dict[str, Counter[str]] = defaultdict(Counter)
    query = select(Transfer.reference, Transfer.code, Transfer.amount)
    for name, code, amount in session.execute(
        query.where(Transfer.kind.in_(("posted", "pending")))
    ):
        moved[name][code] += amount
    yield from (f"{mark}: an effect nobody asked for" for mark in made if mark not in book.intents)
    for intent in book.intents.values():
        effects = made[intent.mark]
        least, most = int(intent.ok > 0), int(intent.ok > 0 or intent.unknown > 0)
        if not least <= len(effects) <= most:
            yield f"{intent.mark}: {len(effects)} effects, {intent}"
        wanted = floor.amount_of(intent)
        for reference, amount in effects:
            if amount not in (wanted, 0):
                yield f"{intent.mark}: made for {amount}, asked for {wanted}"
            codes = CODES[intent.tool.partition(".")[2]]
            if (found := sum(moved[reference][code] for code in codes)) != wanted:
                yield f"{intent.mark}: {found} moved, asked for {wanted}"
        yield from _answers(intent)


def _answers(intent: Intent) -> Iterator[str]:
    originals = [answer for answer in intent.answers if not answer.get("replayed")]
    if len(originals) > 1:
        yield f"{intent.mark}: done {len(originals)} times"
    kept = [{k: v for k, v in answer.items() if k != "replayed"} for answer in intent.answers]
    told = {json.dumps(answer, sort_keys=True) for answer in kept}
    if len(told) > 1:
        yield f"{intent.mark}: different answers {sorted(told)}"


def _approved(session: Session) -> Iterator[str]:
    """Whatever needed a person has the request of a person who said yes, and of its own."""
    used: Counter[str] = Counter()
    asked: dict[str, str] = {}
    said = select(AuditRecord.record).where(AuditRecord.record["outcome"].as_string() == "ok")
    for record in session.scalars(said):
        approval: Any = record.get("approval") or {}
        if approval and record["tool"] in CODES:
            used[approval["id"]] += 1
        for effect in record.get("effects", []):
            if effect.get("type") == "refund" and effect.get("op") == "create":
                asked[effect["id"]] = approval.get("id", "")
    states = dict(session.execute(select(ApprovalRequest.id, ApprovalRequest.state)).all())
    yes = Counter(
        session.scalars(
            select(ApprovalDecision.request_id).where(ApprovalDecision.decision == "approve")
        )
    )
    for name, times in used.items():
        if times > 1 or states.get(name) != "used" or not yes[name]:
            yield f"{name}: used {times} times, {states.get(name)}, {yes[name]} said yes"
    for row in session.scalars(select(Refund)):
        if row.amount_minor > floor.ALONE and not asked.get(row.id):
            yield f"{row.id}: {row.amount_minor} paid back and nobody was asked"


def transactions(book: Book) -> list[Transaction]:
    """The tallies as lists that are appended to: the answer of an addition says its place."""
    found = list(book.transactions)
    seen: dict[str, int] = Counter()
    placed: set[tuple[str, int]] = set()
    for mark, (began, ended) in book.spans.items():
        intent = book.intents[mark]
        if intent.arguments.get("sku") in floor.TALLIES:
            place = intent.answers[0]["on_hand"]
            key = f"{intent.arguments['sku']}/{intent.arguments['warehouse']}"
            placed.add((key, place))
            found.append(Transaction(mark, began, ended, {key: place}, {key: upto(place)}))
    for made in found:
        for key, elements in made.reads.items():
            seen[key] = max(seen[key], len(elements) + 1)
    # What nobody was told of, and others have seen.
    found += [
        Transaction(f"somebody-{key}-{place}", 0.0, None, {key: place})
        for key, count in seen.items()
        for place in upto(count)
        if (key, place) not in placed
    ]
    return found
