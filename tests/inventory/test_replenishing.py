"""Golden values are worked out by hand in the comments beside them."""

from dataclasses import replace
from datetime import date
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidParameters
from servers.inventory.classes import (
    Action,
    DemandClass,
    Policy,
    Position,
    Reason,
    Receipt,
    Surplus,
)
from servers.inventory.forecasting import Forecast, Method, forecast
from servers.inventory.replenishing import (
    days_of_cover,
    decide,
    fill_rate_point,
    order_quantity,
    reorder_levels,
    reorder_point,
    safety_stock,
    stock_out_date,
    stock_out_in_days,
    with_lead_time,
)

STEADY = [10] * 100
# Lead time 4, review 1: five days of exactly 10, so point 50 and target 50 + 70.
POLICY = Policy(lead_time_days=4)
QUICK = settings(derandomize=True, deadline=None, max_examples=200)


def flat(per_day: int, days: int, scenarios: tuple[int, ...] | None = None) -> Forecast:
    total = per_day * days
    return Forecast(
        demand_class=DemandClass.SMOOTH,
        method=Method.MOVING_AVERAGE,
        milliunits=(per_day * 1000,) * days,
        expected_units=total,
        low_units=total,
        high_units=total,
        coverage_percent=90,
        expected_milliunits=total * 1000,
        daily_sd_milliunits=4000,
        observed_days=100,
        explanation="",
        scenarios=scenarios or (total * 1000,),
    )


FLAT = flat(10, 5)


def test_inventory_position():
    position = Position(
        on_hand=50, reserved=8, unavailable=2, on_order=30, inbound_transfer=5, backordered=4
    )
    assert position.available == 40
    assert position.inventory_position == 71  # 50 + 30 + 5 - 8 - 4 - 2


def test_safety_stock_and_reorder_point():
    # z(0.95) 1.6449. sd 4 over 9 days: 12, times z 19.74. Lead time sd 1 day of 5: sqrt(144 + 25).
    assert safety_stock(0.95, 5, 4, 9) == 20
    assert safety_stock(0.95, 5, 4, 9, 1) == 22  # 13 * 1.6449 = 21.38
    assert safety_stock(0.5, 5, 4, 9) == 0
    assert reorder_point(5, 9, 20) == 65
    assert reorder_point(0.1, 30, 0) == 3  # not 4 through float noise


def test_service_level_uses_the_z_formula():
    # sd 4 over 5 days 8.944, times 1.6449 = 14.71, so 15; a week's order on top of 65.
    levels = reorder_levels(FLAT, replace(POLICY, service_level=0.95))
    assert (levels.expected_demand, levels.safety_stock) == (50, 15)
    assert (levels.reorder_point, levels.target) == (65, 135)


def test_fill_rate_point_by_hand():
    # Totals 10, 20, 30, 40; (1 - 0.9) 20 = 2 units may be short on average.
    # At 33: 7 / 4 = 1.75. At 32: 8 / 4 = 2, allowed. At 31: 9 / 4 = 2.25.
    assert fill_rate_point([10_000, 20_000, 30_000, 40_000], 20, 0.9) == 32
    assert fill_rate_point([], 20, 0.9) == 0


def test_a_varying_lead_time_adds_its_spread():
    # 6 copies around 100 units: shifts of sqrt(3) * 2 days * 10 a day. Mean kept, variance 20².
    totals = with_lead_time([100_000], 10, 2.0)
    assert len(totals) == 6
    assert fmean(totals) == pytest.approx(100_000)
    assert fmean((total / 1000 - 100) ** 2 for total in totals) == pytest.approx(400, rel=1e-4)
    fixed = reorder_levels(FLAT, POLICY).reorder_point
    assert reorder_levels(FLAT, replace(POLICY, lead_time_sd_days=2)).reorder_point > fixed


@pytest.mark.parametrize(
    ("target", "position", "minimum", "pack", "expected"),
    [
        (100, 40, 1, 1, 60),
        (100, 40, 1, 24, 72),
        (100, 95, 20, 6, 24),
        (100, 100, 20, 6, 0),
        (100, 130, 1, 1, 0),
        (10, -5, 1, 4, 16),
    ],
)
def test_order_quantity(target: int, position: int, minimum: int, pack: int, expected: int):
    assert order_quantity(target, position, minimum, pack) == expected


@given(
    st.integers(0, 10_000), st.integers(-1_000, 12_000), st.integers(1, 500), st.integers(1, 100)
)
@QUICK
def test_an_order_reaches_the_target_in_packs_and_is_no_larger_than_needed(
    target: int, position: int, minimum: int, pack: int
):
    quantity = order_quantity(target, position, minimum, pack)
    if position >= target:
        assert quantity == 0
        return
    assert quantity % pack == 0
    assert quantity >= minimum
    assert position + quantity >= target
    smaller = quantity - pack
    assert smaller < minimum or position + smaller < target


@given(
    st.lists(st.integers(0, 200_000), min_size=1, max_size=60),
    st.integers(1, 100),
    st.floats(0.5, 0.999),
)
@QUICK
def test_fill_rate_point_is_the_smallest_that_holds(totals: list[int], order: int, rate: float):
    def short(point: int) -> float:
        return fmean(max(0, total - point * 1000) for total in totals) / 1000

    point = fill_rate_point(totals, order, rate)
    assert short(point) <= (1 - rate) * order + 1e-6
    assert point == 0 or short(point - 1) > (1 - rate) * order - 1e-6


def test_cover_and_stock_out():
    assert days_of_cover(35, FLAT) == 3
    assert days_of_cover(-5, FLAT) == 0
    assert days_of_cover(35, forecast([], 5)) is None
    assert stock_out_in_days(35, FLAT) == 3
    assert stock_out_in_days(30, FLAT) == 3  # three whole days, the fourth has nothing
    assert stock_out_in_days(-1, FLAT) == 0
    assert stock_out_in_days(10**6, FLAT) is None
    assert stock_out_in_days(5, forecast([], 5)) is None
    assert stock_out_in_days(35, FLAT, [Receipt("PO-1", 20, 3)]) == 5
    assert stock_out_in_days(35, FLAT, [Receipt("PO-1", 20, 4)]) == 3
    assert stock_out_date(date(2026, 3, 1), 3) == date(2026, 3, 5)
    assert stock_out_date(date(2026, 3, 1), None) is None


def test_levels_of_a_steady_item():
    levels = reorder_levels(forecast(STEADY, 5), POLICY)
    assert (levels.expected_demand, levels.safety_stock) == (50, 0)
    assert (levels.reorder_point, levels.target) == (50, 120)


def test_a_maximum_is_the_target_but_never_below_the_point():
    assert reorder_levels(FLAT, replace(POLICY, maximum=90)).target == 90
    assert reorder_levels(FLAT, replace(POLICY, maximum=20)).target == 50


def test_reorder_now():
    decision = decide(Position(50), FLAT, replace(POLICY, pack_multiple=12), recent=STEADY)
    # At the point. A week is 70, in packs 72: target 122, 122 - 50 = 72.
    assert (decision.action, decision.reason) == (Action.REORDER_NOW, Reason.BELOW_REORDER_POINT)
    assert decision.quantity == decision.order_quantity == 72
    assert not decision.stockout_before_receipt
    assert "reorder point 50 = expected demand 50 + safety stock 0" in "\n".join(
        decision.arithmetic
    )
    assert "order 72 = target 122 - 50" in decision.arithmetic[-1]


def test_ignore_when_there_is_enough():
    decision = decide(Position(51), FLAT, POLICY, recent=STEADY)
    assert (decision.action, decision.reason) == (Action.IGNORE, Reason.ENOUGH)
    assert decision.order_quantity == 0


def test_expedite_a_receipt_that_comes_after_the_stock_out():
    receipts = [Receipt("PO-2", 100, 9), Receipt("PO-1", 60, 6)]
    decision = decide(Position(20, on_order=160), FLAT, POLICY, receipts=receipts)
    assert (decision.action, decision.reason) == (Action.EXPEDITE, Reason.RECEIPT_TOO_LATE)
    assert (decision.reference, decision.quantity, decision.order_quantity) == ("PO-1", 60, 0)
    assert decision.stockout_before_receipt
    assert decision.stock_out_in_days == 2


def test_a_receipt_before_the_gap_is_not_the_one_to_hurry():
    receipts = [Receipt("PO-1", 5, 0), Receipt("PO-2", 100, 8)]
    decision = decide(Position(20, on_order=105), FLAT, POLICY, receipts=receipts)
    assert (decision.action, decision.reference) == (Action.EXPEDITE, "PO-2")


def test_a_receipt_in_time_is_left_alone():
    decision = decide(Position(20, on_order=60), FLAT, POLICY, receipts=[Receipt("PO-1", 60, 2)])
    assert decision.action is Action.IGNORE
    assert not decision.stockout_before_receipt


def test_expedite_open_orders_without_a_known_date():
    decision = decide(Position(20, on_order=100), FLAT, POLICY)
    assert (decision.action, decision.quantity) == (Action.EXPEDITE, 100)
    assert decision.reference is None


def test_transfer_from_the_nearest_site_that_beats_the_supplier():
    surpluses = [Surplus("far", 500, 4), Surplus("WH-3", 40, 2), Surplus("WH-2", 60, 1)]
    decision = decide(Position(10), FLAT, POLICY, surpluses=surpluses)
    assert (decision.action, decision.reference) == (Action.TRANSFER, "WH-2")
    assert decision.quantity == 60
    assert decision.order_quantity == 0  # 10 + 60 is above the point of 50
    less = decide(Position(10), FLAT, POLICY, surpluses=[Surplus("WH-3", 40, 2)])
    assert (less.action, less.quantity, less.order_quantity) == (Action.TRANSFER, 40, 70)


def test_without_hurry_only_a_full_transfer_replaces_an_order():
    part = decide(Position(45), FLAT, POLICY, surpluses=[Surplus("WH-2", 74, 1)])
    assert part.action is Action.REORDER_NOW
    whole = decide(Position(45), FLAT, POLICY, surpluses=[Surplus("WH-2", 75, 1)])
    assert (whole.action, whole.quantity, whole.order_quantity) == (Action.TRANSFER, 75, 0)


def test_dead_and_ending_items_are_left_alone_unless_customers_wait():
    gone = forecast([3] * 10 + [0] * 90, 5)
    dead = decide(Position(0), gone, POLICY, recent=[3] * 10 + [0] * 90)
    assert (dead.action, dead.reason) == (Action.IGNORE, Reason.NO_DEMAND)
    ending = replace(POLICY, ending=True)
    assert decide(Position(5), FLAT, ending, recent=STEADY).reason is Reason.ENDING
    waiting = decide(Position(0, backordered=3), FLAT, ending, recent=STEADY)
    assert waiting.action is Action.REORDER_NOW


def test_a_spike_by_one_order_is_ignored_while_ordinary_demand_is_covered():
    recent = [10] * 27 + [150]
    spiky = flat(10, 5, (50_000,) * 9 + (190_000,))
    known = decide(Position(60), spiky, POLICY, recent=recent, largest_recent_order=140)
    assert (known.action, known.reason) == (Action.IGNORE, Reason.ONE_ORDER_SPIKE)
    assert known.spike
    unknown = decide(Position(60), spiky, POLICY, recent=recent)
    assert unknown.action is Action.REORDER_NOW
    short = decide(Position(45), spiky, POLICY, recent=recent, largest_recent_order=140)
    assert short.action is Action.REORDER_NOW


@pytest.mark.parametrize(
    "change",
    [
        {"lead_time_days": -1},
        {"review_days": 0},
        {"pack_multiple": 0},
        {"minimum_order": 0},
        {"fill_rate": 1.0},
        {"service_level": 0.2},
        {"lead_time_sd_days": -0.5},
        {"maximum": -1},
    ],
)
def test_refuses_a_policy_out_of_bounds(change: dict[str, float]):
    with pytest.raises(InvalidParameters):
        replace(POLICY, **change)


def test_refuses_a_forecast_of_another_interval():
    with pytest.raises(InvalidParameters, match="5 days"):
        decide(Position(10), flat(10, 7), POLICY)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=90),
    st.integers(0, 500),
    st.integers(0, 300),
    st.integers(0, 40),
    st.integers(1, 40),
    st.integers(1, 24),
    st.none() | st.integers(0, 400),
)
@QUICK
def test_any_decision_is_consistent(
    history: list[int],
    on_hand: int,
    on_order: int,
    backordered: int,
    minimum: int,
    pack: int,
    maximum: int | None,
):
    policy = replace(POLICY, minimum_order=minimum, pack_multiple=pack, maximum=maximum)
    position = Position(on_hand, on_order=on_order, backordered=backordered)
    decision = decide(position, forecast(history, 5), policy, recent=history)
    levels = decision.levels
    assert levels.reorder_point == levels.expected_demand + levels.safety_stock
    assert levels.target >= levels.reorder_point
    assert decision.order_quantity % pack == 0
    assert decision.order_quantity == 0 or decision.order_quantity >= minimum
    assert (decision.quantity == 0) == (decision.action is Action.IGNORE)
    if decision.action is Action.REORDER_NOW:
        assert position.inventory_position <= levels.reorder_point
        after = position.inventory_position + decision.order_quantity
        assert after > levels.reorder_point
    assert all(decision.arithmetic)
