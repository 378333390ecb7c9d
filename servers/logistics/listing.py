"""The lists of shipments: all that fit, or one of the queues that wait for somebody."""

from datetime import timedelta
from typing import Final

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    and_,
    exists,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.orm import aliased

from common.call import Call
from common.paging import page, plain
from common.rules import meant
from common.tables.claims import Claim
from common.tables.fleet import Stop
from common.tables.inventory import Warehouse
from common.tables.logistics import (
    DAMAGED,
    OPEN_SHIPMENT,
    OVERCHARGED,
    Carrier,
    Label,
    ProofOfDelivery,
    Shipment,
)
from common.tables.orders import Order
from servers.logistics import moving

# A carrier that has not answered for so long has to be looked after.
LABEL_WAIT: Final = timedelta(hours=1)
# Of so few the shipments are looked up; of more one comes soon on the way through all.
FEW_OVERCHARGED: Final = 500


def listed(
    call: Call,
    *,
    queue: str,
    order_id: str | None,
    status: str | None,
    warehouse: str | None,
    carrier: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[Shipment], str | None]:
    """Oldest first. Filters are combined. Raises NotFound for one that names nothing."""
    meant.filters(call, (Order, order_id), (Warehouse, warehouse), (Carrier, carrier))
    query = select(Shipment)
    for column, value in (
        (Shipment.order_id, order_id), (Shipment.status, status),
        (Shipment.warehouse_id, warehouse), (Shipment.carrier_id, carrier),
    ):  # fmt: skip
        if value is not None:
            leads = column is Shipment.order_id or (order_id is None and queue == "all")
            query = query.where((column if leads else plain(column)) == value)
    if queue != "all":
        query = query.where(_queue(call, queue))
    return page(call.session, query, [Shipment.created_at, Shipment.id], cursor, limit)


def _queue(call: Call, name: str) -> ColumnElement[bool]:
    on_route = exists().where(Stop.shipment_id == Shipment.id, Stop.status.in_(moving.LIVE))
    if name == "unassigned":
        waits = Shipment.status.in_(moving.PLANNABLE)
        return and_(
            text(OPEN_SHIPMENT),
            waits,
            Shipment.carrier_id.is_(None),
            Shipment.kind != "return",
            ~on_route,
        )
    if name == "exceptions":
        damaged = exists().where(
            ProofOfDelivery.shipment_id == Shipment.id, ProofOfDelivery.damage_noted.is_(True)
        )
        claimed = exists().where(Claim.shipment_id == Shipment.id)
        no_label = exists().where(
            Label.shipment_id == Shipment.id, Label.carrier_id == Shipment.carrier_id,
            or_(
                Label.state == "failed",
                and_(Label.state == "pending", Label.created_at < call.now - LABEL_WAIT),
            ),
        )  # fmt: skip
        stuck = or_(
            Shipment.status.in_(("exception", "held", "attempted")),
            and_(Shipment.status == "created", no_label),
            and_(or_(damaged, Shipment.status == "lost"), ~claimed),
        )
        return and_(Shipment.id.in_(_seldom()), stuck)
    if name == "overcharged":
        some = select(Label.shipment_id).where(text(OVERCHARGED)).limit(FEW_OVERCHARGED + 1)
        ids = list(call.session.scalars(some))
        if len(ids) <= FEW_OVERCHARGED:
            return Shipment.id.in_(ids)
        return exists().where(Label.shipment_id == Shipment.id, overcharged())
    too_late = on_route.where(Stop.planned_arrival > Shipment.promised_at)
    return and_(
        text(OPEN_SHIPMENT),
        or_(
            Shipment.promised_at < call.now,
            and_(Shipment.shipped_at.is_(None), Shipment.ship_by < call.now),
            too_late,
        ),
    )


def _seldom() -> CompoundSelect[str]:
    """The shipments that may be exceptions: few, and found without a look at the others."""
    other = aliased(Shipment)
    return union_all(
        select(other.id).where(text(OPEN_SHIPMENT)),
        select(other.id).where(other.status == "lost"),
        select(ProofOfDelivery.shipment_id).where(text(DAMAGED)),
    )


def overcharged() -> ColumnElement[bool]:
    """A label for which the carrier took more than its contract says. Voided ones cost nothing."""
    return and_(Label.cost_minor > Label.agreed_minor, Label.state != "voided")
