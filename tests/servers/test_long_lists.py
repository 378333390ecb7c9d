"""However much is over and done with, a list of what is open looks at little of it."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import JSON, Boolean, Connection, DateTime, Integer, insert, text
from sqlalchemy.orm import Session

from common.call import Call
from common.tables.base import Utc
from common.tables.claims import Claim
from common.tables.inventory import PurchaseOrder, Reservation
from common.tables.logistics import Carrier, Label, ProofOfDelivery, Shipment
from common.tables.payments import Dispute, Hold, Outbox, Payment
from common.tables.returns import Return
from servers.claims import late_shipments
from servers.claims import service as claims
from servers.inventory import journal, purchasing
from servers.logistics import listing as shipping
from servers.payments import disputes, holds
from servers.payments import service as payments
from servers.returns import service as returns
from tests.conftest import CopyOf
from tests.orders.grown import ORDERS, grown
from tests.orders.seed import CARD, EVE, MUG, NORTH, SOUTH
from tests.orders.test_searching import NOW
from tests.support.plans import visited
from tests.support.shop import actor
from tests.support.sql import inside

MOST = 2_500
# Orders are numbered from the latest, 0, to the oldest. Lists that begin with the oldest are asked
# for what is new, the others for what is old.
NEW, OLD = "{n} < 5", f"{{n}} >= {ORDERS - 5}"
NUMBER = "CAST(substr(o.id, 3) AS integer)"
Rows = dict[str, str]


def one(condition: str, then: str, other: str) -> str:
    return f"CASE WHEN {condition.format(n=NUMBER)} THEN {then} ELSE {other} END"


TABLES: dict[Any, Rows] = {
    Shipment: {
        "status": one(NEW, "'created'", one("{n} < 9", "'held'", "'delivered'")),
        "kind": "'outbound'", "carrier_id": one(NEW, "NULL", "'post'"),
        "warehouse_id": "o.warehouse_id", "order_id": "o.id", "delivered_at": "o.placed_at",
        "promised_at": "o.promised_at", "ship_by": "o.placed_at",
    },
    ProofOfDelivery: {"shipment_id": "o.id", "damage_noted": one(NEW, "{true}", "{false}")},
    Label: {
        "shipment_id": "o.id", "state": "'purchased'", "agreed_minor": "1",
        "cost_minor": one(NEW, "2", "1"),
    },
    Payment: {
        "status": one(OLD, "'expired'", one("{n} < 4", "'authorized'", "'captured'")),
        "purpose": "'order'", "order_id": "o.id", "customer_id": "o.customer_id",
        "method_id": f"'{CARD}'",
    },
    Hold: {
        "state": one(NEW, "'active'", one("{n} < 9", "'expired'", "'released'")),
        "payment_id": "o.id", "reason": "'fraud_review'", "expires_at": "o.promised_at",
    },
    Dispute: {
        "status": one(OLD, "'needs_response'", one("{n} < 9", "'lost'", "'won'")),
        "payment_id": "o.id", "reason": "'fraudulent'",
    },
    Outbox: {
        "operation_id": "o.id", "port": "'gateway'", "state": one(NEW, "'failed'", "'done'"),
    },
    Return: {
        "state": one(NEW, "'requested'", "'settled'"), "kind": "'return'", "order_id": "o.id",
        "refund_to": "'original'", "customer_id": "o.customer_id",
    },
    Claim: {
        "state": one(NEW, "'draft'", "'closed'"), "kind": one("{n} < 9", "'supplier'", "'carrier'"),
        "type": one(NEW, "'late'", "'damage'"), "carrier_id": "'post'", "order_id": "o.id",
        "shipment_id": "o.id", "supplier_id": "'x'",
        "deadline_at": one(NEW, "o.placed_at", "NULL"),
    },
    Reservation: {
        "state": one(OLD, "'confirmed'", "'consumed'"), "sku": f"'{MUG}'", "source_type": "'order'",
        "transfer_id": "(SELECT min(id) FROM transfer)",
        "warehouse_id": f"'{NORTH}'",
    },
    PurchaseOrder: {
        "state": one(OLD, "'sent'", "'received'"), "warehouse_id": f"'{NORTH}'",
    },
}  # fmt: skip


def filled_up(url: str) -> None:
    """A shipment, a payment, a return and so on of each order, nearly all of them over."""
    grown(url)
    sqlite = url.startswith("sqlite")

    def fill(connection: Connection) -> None:
        if not sqlite:  # as SQLite is beside the program: rows need not lead anywhere
            connection.execute(text("SET session_replication_role = replica"))
        for kind, known in TABLES.items():
            columns = {"id": "o.id", "audit_id": "'aud'"} | known
            for column in kind.__table__.columns:
                if not column.nullable and column.name not in columns:
                    columns[column.name] = anything(column.type)
            said = f"INSERT INTO {kind.__tablename__} ({', '.join(columns)}) SELECT "
            said += f"{', '.join(columns.values())} FROM sales_order o"
            truth = ("1", "0") if sqlite else ("true", "false")
            said = said.replace("{true}", truth[0]).replace("{false}", truth[1])
            connection.exec_driver_sql(said)
        post = {"id": "post", "version": 1, "audit_id": "aud", "name": "Post"}
        connection.execute(insert(Carrier).values(**post))

    inside(url, fill)
    inside(url, lambda connection: connection.execute(text("ANALYZE")))


def anything(kind: Any) -> str:
    if isinstance(kind, Utc | DateTime):
        return "o.placed_at"
    if isinstance(kind, JSON):
        return "'{}'"
    if isinstance(kind, Boolean):
        return "{false}"
    return "1" if isinstance(kind, Integer) else "'EUR'"


def shipments(**more: Any) -> Callable[[Call], object]:
    every = dict.fromkeys(("order_id", "status", "warehouse", "carrier", "cursor"))
    wanted: dict[str, Any] = {"queue": "all", "limit": 20} | every | more
    return lambda call: shipping.listed(call, **wanted)


def documents(*wanted: Any) -> Callable[[Call], object]:
    return lambda call: journal.list_stock_documents(call, "reservation", *wanted, 20, None)


def bought(*wanted: Any) -> Callable[[Call], object]:
    return lambda call: purchasing.list_purchase_orders(call, None, *wanted, 20, None)


LISTS: dict[str, Callable[[Call], object]] = {
    "open returns": lambda call: returns.listed(call, None, None, True, None, 20),
    "returns by state": lambda call: returns.listed(call, "requested", None, False, None, 20),
    "returns of an order": lambda call: returns.listed(call, "settled", "o-9", False, None, 20),
    "open claims": lambda call: claims.listed(call, claims.Wanted(), None, 20),
    **{
        f"claims by {name}": lambda call, wanted=wanted: claims.listed(
            call, claims.Wanted(**wanted), None, 20
        )
        for name, wanted in {
            "open kind": {"kind": "customer"}, "carrier": {"carrier_id": "post"},
            "type": {"type": "late", "open_only": False},
            "kind": {"kind": "supplier", "open_only": False},
            "state": {"state": "draft", "open_only": False},
            "order": {"order_id": "o-9", "state": "closed", "open_only": False},
        }.items()
    },
    "claims that are due": lambda call: claims.coming_due(call, 14, None, 20),
    "late shipments": lambda call: late_shipments.detect(call, 1, "post", None, 20),
    **{
        f"shipments {queue}": shipments(queue=queue)
        for queue in ("late_risk", "exceptions", "unassigned", "overcharged")
    },
    "shipments at risk, beside others": shipments(queue="late_risk", warehouse=SOUTH),
    "shipments by status": shipments(status="held"),
    "shipments by status and house": shipments(status="held", warehouse=NORTH),
    "shipments by status and carrier": shipments(status="delivered", carrier="post"),
    "shipments by house": shipments(warehouse=SOUTH),
    "shipments by carrier": shipments(carrier="post"),
    "shipments of an order": shipments(order_id="o-9", status="delivered", warehouse=NORTH),
    **{
        f"payments by {sorted(wanted)}": lambda call, wanted=wanted: payments.search(
            call, payments.Wanted(**wanted), None, 20
        )
        for wanted in (
            {"status": "expired"}, {"status": "authorized"}, {"status": "captured"},
            {"customer_id": EVE, "status": "captured"}, {"order_id": "o-9", "status": "captured"},
            {"expiring_within_hours": 24}, {"created_to": "2026-09-30"},
        )
    },
    "what a provider owes": lambda call: payments.unsettled(call, None, 20),
    **{
        f"holds {state}": lambda call, state=state: holds.search(
            call, holds.Wanted(state), None, 20
        )
        for state in ("active", "expired", "captured", None)
    },
    "holds that end": lambda call: holds.search(call, holds.Wanted(None, None, None, 1), None, 20),
    "open disputes": lambda call: disputes.search(call, None, None, None, 20),
    "lost disputes": lambda call: disputes.search(call, "lost", None, None, 20),
    "open reservations": documents("open", None, None),
    "open reservations of an item": documents("open", MUG, NORTH),
    "reservations": documents("all", None, None),
    "reservations of an item": documents("all", MUG, None),
    "reservations in a house": documents("all", None, NORTH),
    "coming purchases": bought("open", None, None, None),
    "late purchases": bought("late", None, None, NORTH),
    "purchases by state": bought("sent", None, None, None),
    "purchases for a house": bought("all", None, None, NORTH),
}  # fmt: skip


def test_no_list_walks_through_what_is_over(kind: str, copy_of: CopyOf) -> None:
    def every(connection: Connection) -> dict[str, int]:
        return {name: visited(connection, listing(work)) for name, work in LISTS.items()}

    found = inside(copy_of(kind, "filled up", filled_up), every)
    assert {name: rows for name, rows in found.items() if rows > MOST} == {}


def listing(work: Callable[[Call], object]) -> Callable[[Session], object]:
    return lambda session: work(Call(actor(), session, NOW, "aud", "*", "test"))
