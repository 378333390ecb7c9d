"""The shop's own vans: depots, drivers, vehicles, routes and their stops."""

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from common.tables import inventory, logistics  # noqa: F401 - its foreign keys name them
from common.tables.base import Record
from common.tables.columns import (
    Currency,
    Name,
    Note,
    Ref,
    Word,
    a_currency,
    not_negative,
    on_earth,
    one_of,
    positive,
    to,
    unique_where,
)

DRIVER_STATUSES: Final = ("off", "available", "on_duty", "driving", "break")
VEHICLE_STATUSES: Final = ("available", "on_route", "maintenance", "broken_down", "retired")
ROUTE_STATUSES: Final = (
    "draft", "optimised", "published", "dispatched", "in_progress", "completed", "cancelled",
)  # fmt: skip
STOP_STATUSES: Final = ("pending", "enroute", "arrived", "servicing", "done", "failed", "skipped")
STOP_KINDS: Final = ("delivery", "pickup")


class Depot(Record):
    __tablename__ = "depot"
    owner = "logistics"

    name: Mapped[Name]
    warehouse_id: Mapped[str | None] = to("warehouse", index=True)
    address: Mapped[dict[str, Any]] = mapped_column(default=dict)
    lat_e6: Mapped[int]
    lon_e6: Mapped[int]
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")

    __table_args__ = (on_earth(),)


class DutyRule(Record):
    """When a driver has to rest, as data with its source: not advice on the law."""

    __tablename__ = "duty_rule"
    owner = "logistics"

    name: Mapped[Name]
    drive_before_break_seconds: Mapped[int]
    break_seconds: Mapped[int]
    source: Mapped[Note]
    as_of: Mapped[date]

    __table_args__ = (positive("drive_before_break_seconds", "break_seconds"),)


class Driver(Record):
    """Shift in minutes after local midnight of the depot; an end past 1,440 is the next morning.
    The duty clock holds seconds of ``clock_on``, up to ``status_at``."""

    __tablename__ = "driver"
    owner = "logistics"

    name: Mapped[Name]
    phone: Mapped[str | None] = mapped_column(String(40))
    depot_id: Mapped[str] = to("depot", index=True)
    skills: Mapped[list[str]] = mapped_column(default=list)
    status: Mapped[Word] = mapped_column(default="off")
    status_at: Mapped[datetime]
    shift_start_minute: Mapped[int]
    shift_end_minute: Mapped[int]
    max_duty_seconds: Mapped[int] = mapped_column(default=36_000)
    max_driving_seconds: Mapped[int] = mapped_column(default=32_400)
    # Without a rule no breaks are planned.
    duty_rule_id: Mapped[Ref | None]
    clock_on: Mapped[date | None]
    duty_seconds: Mapped[int] = mapped_column(default=0)
    driving_seconds: Mapped[int] = mapped_column(default=0)
    since_break_seconds: Mapped[int] = mapped_column(default=0)
    licence_until: Mapped[date | None]
    active: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (
        Index("ix_driver_status", "status", "id"),
        one_of("status", DRIVER_STATUSES),
        CheckConstraint(
            "shift_start_minute between 0 and 1439 and shift_end_minute > shift_start_minute"
            " and shift_end_minute <= shift_start_minute + 1440",
            name="shift",
        ),
        positive("max_duty_seconds", "max_driving_seconds"),
        not_negative("duty_seconds", "driving_seconds", "since_break_seconds"),
    )


class Vehicle(Record):
    __tablename__ = "vehicle"
    owner = "logistics"

    name: Mapped[Name]
    plate: Mapped[str | None] = mapped_column(String(20))
    depot_id: Mapped[str] = to("depot", index=True)
    capacity_weight_g: Mapped[int]
    capacity_volume_cm3: Mapped[int]
    skills: Mapped[list[str]] = mapped_column(default=list)
    speed_profile: Mapped[Word] = mapped_column(default="van")
    cost_per_km_minor: Mapped[int] = mapped_column(default=0)
    fixed_cost_minor: Mapped[int] = mapped_column(default=0)
    currency: Mapped[Currency]
    status: Mapped[Word] = mapped_column(default="available")
    status_note: Mapped[Note] = mapped_column(default="")

    __table_args__ = (
        Index("ix_vehicle_status", "status", "id"),
        one_of("status", VEHICLE_STATUSES),
        positive("capacity_weight_g", "capacity_volume_cm3"),
        not_negative("cost_per_km_minor", "fixed_cost_minor"),
        a_currency(),
    )


class RoutePlan(Record):
    """One answer of the planner, kept: totals, and every shipment left out with the reason."""

    __tablename__ = "route_plan"
    owner = "logistics"

    on_date: Mapped[date]
    depot_id: Mapped[str | None] = to("depot")
    engine: Mapped[Word]
    seed: Mapped[int]
    iterations: Mapped[int]
    totals: Mapped[dict[str, Any]]
    unassigned: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_route_plan_date", "on_date", "created_at", "id"),)


class Route(Record):
    """A van's day. ``number`` tells several trips of one van on one date apart."""

    __tablename__ = "route"
    owner = "logistics"

    on_date: Mapped[date]
    number: Mapped[int] = mapped_column(default=1)
    plan_id: Mapped[str | None] = to("route_plan", index=True)
    depot_id: Mapped[str] = to("depot")
    end_depot_id: Mapped[str | None] = to("depot")
    driver_id: Mapped[str | None] = to("driver")
    vehicle_id: Mapped[str] = to("vehicle")
    status: Mapped[Word] = mapped_column(default="draft")
    planned_start: Mapped[datetime]
    planned_finish: Mapped[datetime]
    metres: Mapped[int] = mapped_column(default=0)
    duty_seconds: Mapped[int] = mapped_column(default=0)
    driving_seconds: Mapped[int] = mapped_column(default=0)
    waiting_seconds: Mapped[int] = mapped_column(default=0)
    load_weight_g: Mapped[int] = mapped_column(default=0)
    load_volume_cm3: Mapped[int] = mapped_column(default=0)
    cost_minor: Mapped[int] = mapped_column(default=0)
    currency: Mapped[Currency]
    # What the planner said beyond the columns: explanations, the picture's points.
    plan: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    dispatched_at: Mapped[datetime | None]
    departed_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_route_date", "on_date", "id"),
        Index("ix_route_driver", "driver_id", "on_date"),
        Index("ix_route_vehicle", "vehicle_id", "on_date"),
        Index("ix_route_status", "status", "on_date", "id"),
        # Behind the rule on overlapping times: nobody drives two routes at once.
        unique_where("uq_route_driver_now", "status = 'in_progress'", "driver_id"),
        unique_where("uq_route_vehicle_now", "status = 'in_progress'", "vehicle_id"),
        one_of("status", ROUTE_STATUSES),
        positive("number"),
        not_negative(
            "metres", "duty_seconds", "driving_seconds", "waiting_seconds", "load_weight_g",
            "load_volume_cm3", "cost_minor",
        ),
        CheckConstraint("planned_finish >= planned_start", name="times"),
        CheckConstraint(
            "status not in ('dispatched','in_progress','completed') or driver_id is not null",
            name="driver",
        ),
        a_currency(),
    )  # fmt: skip


class Stop(Record):
    """One shipment on one route. A shipment is on at most one route that is still to be driven."""

    __tablename__ = "stop"
    owner = "logistics"

    route_id: Mapped[str] = to("route")
    position: Mapped[int]
    shipment_id: Mapped[str] = to("shipment", index=True)
    kind: Mapped[Word] = mapped_column(default="delivery")
    status: Mapped[Word] = mapped_column(default="pending")
    planned_arrival: Mapped[datetime]
    planned_departure: Mapped[datetime]
    wait_seconds: Mapped[int] = mapped_column(default=0)
    slack_seconds: Mapped[int] = mapped_column(default=0)
    service_seconds: Mapped[int] = mapped_column(default=0)
    metres: Mapped[int] = mapped_column(default=0)
    load_weight_g: Mapped[int] = mapped_column(default=0)
    load_volume_cm3: Mapped[int] = mapped_column(default=0)
    arrived_at: Mapped[datetime | None]
    departed_at: Mapped[datetime | None]

    __table_args__ = (
        # Not unique: positions are renumbered one row at a time.
        Index("ix_stop_route", "route_id", "position", "id"),
        unique_where(
            "uq_stop_live", "status in ('pending','enroute','arrived','servicing')", "shipment_id"
        ),
        one_of("kind", STOP_KINDS),
        one_of("status", STOP_STATUSES),
        not_negative(
            "position", "wait_seconds", "service_seconds", "metres", "load_weight_g",
            "load_volume_cm3",
        ),
        CheckConstraint("planned_departure >= planned_arrival", name="planned"),
        CheckConstraint("departed_at >= arrived_at", name="times"),
    )  # fmt: skip
