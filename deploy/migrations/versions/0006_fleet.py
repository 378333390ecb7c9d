"""Depots, drivers, vehicles, routes."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, record, unique_where, words

revision = "0006_fleet"
down_revision = "0005_logistics"


def upgrade() -> None:
    depot()
    driver()
    route_plan()
    vehicle()
    route()
    stop()


def depot() -> None:
    op.create_table(
        "depot",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id")),
        sa.Column("address", JSON, nullable=False),
        sa.Column("lat_e6", sa.BigInteger, nullable=False),
        sa.Column("lon_e6", sa.BigInteger, nullable=False),
        sa.Column("timezone", ID, nullable=False),
        sa.CheckConstraint(
            "lat_e6 between -90000000 and 90000000 and lon_e6 between -180000000 and 180000000",
            name="on_earth",
        ),
    )
    op.create_index("ix_depot_warehouse_id", "depot", ["warehouse_id"])


def driver() -> None:
    op.create_table(
        "driver",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("phone", sa.String(40)),
        sa.Column("depot_id", ID, sa.ForeignKey("depot.id"), nullable=False),
        sa.Column("skills", JSON, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("status_at", TIME, nullable=False),
        sa.Column("shift_start_minute", sa.BigInteger, nullable=False),
        sa.Column("shift_end_minute", sa.BigInteger, nullable=False),
        sa.Column("max_duty_seconds", sa.BigInteger, nullable=False),
        sa.Column("max_driving_seconds", sa.BigInteger, nullable=False),
        sa.Column("clock_on", sa.Date),
        sa.Column("duty_seconds", sa.BigInteger, nullable=False),
        sa.Column("driving_seconds", sa.BigInteger, nullable=False),
        sa.Column("since_break_seconds", sa.BigInteger, nullable=False),
        sa.Column("licence_until", sa.Date),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.CheckConstraint(
            "duty_seconds >= 0 and driving_seconds >= 0 and since_break_seconds >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("max_duty_seconds > 0 and max_driving_seconds > 0", name="positive"),
        sa.CheckConstraint(
            "shift_start_minute between 0 and 1439 and shift_end_minute > shift_start_minute and "
            "shift_end_minute <= shift_start_minute + 1440",
            name="shift",
        ),
        words("status", "off available on_duty driving break"),
    )
    op.create_index("ix_driver_depot_id", "driver", ["depot_id"])
    op.create_index("ix_driver_status", "driver", ["status", "id"])


def route_plan() -> None:
    op.create_table(
        "route_plan",
        *record(),
        sa.Column("on_date", sa.Date, nullable=False),
        sa.Column("depot_id", ID, sa.ForeignKey("depot.id")),
        sa.Column("engine", sa.String(32), nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("iterations", sa.BigInteger, nullable=False),
        sa.Column("totals", JSON, nullable=False),
        sa.Column("unassigned", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index("ix_route_plan_date", "route_plan", ["on_date", "created_at", "id"])


def vehicle() -> None:
    op.create_table(
        "vehicle",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("plate", sa.String(20)),
        sa.Column("depot_id", ID, sa.ForeignKey("depot.id"), nullable=False),
        sa.Column("capacity_weight_g", sa.BigInteger, nullable=False),
        sa.Column("capacity_volume_cm3", sa.BigInteger, nullable=False),
        sa.Column("skills", JSON, nullable=False),
        sa.Column("speed_profile", sa.String(32), nullable=False),
        sa.Column("cost_per_km_minor", sa.BigInteger, nullable=False),
        sa.Column("fixed_cost_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("status_note", sa.String(2000), nullable=False),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("cost_per_km_minor >= 0 and fixed_cost_minor >= 0", name="not_negative"),
        sa.CheckConstraint("capacity_weight_g > 0 and capacity_volume_cm3 > 0", name="positive"),
        words("status", "available on_route maintenance broken_down retired"),
    )
    op.create_index("ix_vehicle_depot_id", "vehicle", ["depot_id"])
    op.create_index("ix_vehicle_status", "vehicle", ["status", "id"])


def route() -> None:
    op.create_table(
        "route",
        *record(),
        sa.Column("on_date", sa.Date, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("plan_id", ID, sa.ForeignKey("route_plan.id")),
        sa.Column("depot_id", ID, sa.ForeignKey("depot.id"), nullable=False),
        sa.Column("end_depot_id", ID, sa.ForeignKey("depot.id")),
        sa.Column("driver_id", ID, sa.ForeignKey("driver.id")),
        sa.Column("vehicle_id", ID, sa.ForeignKey("vehicle.id"), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("planned_start", TIME, nullable=False),
        sa.Column("planned_finish", TIME, nullable=False),
        sa.Column("metres", sa.BigInteger, nullable=False),
        sa.Column("duty_seconds", sa.BigInteger, nullable=False),
        sa.Column("driving_seconds", sa.BigInteger, nullable=False),
        sa.Column("waiting_seconds", sa.BigInteger, nullable=False),
        sa.Column("load_weight_g", sa.BigInteger, nullable=False),
        sa.Column("load_volume_cm3", sa.BigInteger, nullable=False),
        sa.Column("cost_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("plan", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("dispatched_at", TIME),
        sa.Column("departed_at", TIME),
        sa.Column("completed_at", TIME),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint(
            "status not in ('dispatched','in_progress','completed') or driver_id is not null",
            name="driver",
        ),
        sa.CheckConstraint(
            "metres >= 0 and duty_seconds >= 0 and driving_seconds >= 0 and waiting_seconds >= 0 "
            "and load_weight_g >= 0 and load_volume_cm3 >= 0 and cost_minor >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("number > 0", name="positive"),
        words("status", "draft optimised published dispatched in_progress completed cancelled"),
        sa.CheckConstraint("planned_finish >= planned_start", name="times"),
    )
    op.create_index("ix_route_date", "route", ["on_date", "id"])
    op.create_index("ix_route_driver", "route", ["driver_id", "on_date"])
    op.create_index("ix_route_plan_id", "route", ["plan_id"])
    op.create_index("ix_route_status", "route", ["status", "on_date", "id"])
    op.create_index("ix_route_vehicle", "route", ["vehicle_id", "on_date"])
    unique_where("uq_route_driver_now", "route", ["driver_id"], "status = 'in_progress'")
    unique_where("uq_route_vehicle_now", "route", ["vehicle_id"], "status = 'in_progress'")


def stop() -> None:
    op.create_table(
        "stop",
        *record(),
        sa.Column("route_id", ID, sa.ForeignKey("route.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("planned_arrival", TIME, nullable=False),
        sa.Column("planned_departure", TIME, nullable=False),
        sa.Column("wait_seconds", sa.BigInteger, nullable=False),
        sa.Column("slack_seconds", sa.BigInteger, nullable=False),
        sa.Column("service_seconds", sa.BigInteger, nullable=False),
        sa.Column("metres", sa.BigInteger, nullable=False),
        sa.Column("load_weight_g", sa.BigInteger, nullable=False),
        sa.Column("load_volume_cm3", sa.BigInteger, nullable=False),
        sa.Column("arrived_at", TIME),
        sa.Column("departed_at", TIME),
        words("kind", "delivery pickup"),
        sa.CheckConstraint(
            "position >= 0 and wait_seconds >= 0 and service_seconds >= 0 and metres >= 0 and "
            "load_weight_g >= 0 and load_volume_cm3 >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("planned_departure >= planned_arrival", name="planned"),
        words("status", "pending enroute arrived servicing done failed skipped"),
        sa.CheckConstraint("departed_at >= arrived_at", name="times"),
    )
    op.create_index("ix_stop_route", "stop", ["route_id", "position", "id"])
    op.create_index("ix_stop_shipment_id", "stop", ["shipment_id"])
    unique_where(
        "uq_stop_live",
        "stop",
        ["shipment_id"],
        "status in ('pending','enroute','arrived','servicing')",
    )
