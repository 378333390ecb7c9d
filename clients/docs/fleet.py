"""Worked examples of the logistics page: prices, a route, a rest, scans out of order."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from clients.docs.goods import MONDAY, shop
from common.call import Call
from common.money import Money
from common.rules import rates
from common.tables.logistics import Carrier, RateCard, Shipment
from servers.logistics import breaks, engine, tracking
from servers.logistics.engine.routes import Breach, Lookup
from servers.logistics.engine.travel import Place, StraightLine
from servers.logistics.tracking import Reported

DEPOT: Final = Place(52_520_000, 13_405_000)
HOUR: Final = 3_600
OPENS: Final = 8 * HOUR


def prices_table() -> str:
    """A parcel of 1.2 kg in a box of 40 x 30 x 20 cm, with two carriers."""
    load = rates.Load(1_200, 24_000)
    rows = []
    for name, divisor, base, per_kg, fuel in (
        ("post", 5_000, 399, 60, 500), ("swift", 4_000, 990, 180, 0),
    ):  # fmt: skip
        card = RateCard(base_minor=base, per_kg_minor=per_kg, fuel_bps=fuel)
        dim = rates.dimensional_weight(load.volume_cm3, divisor)
        billed = max(load.weight_g, dim)
        price = Money(rates.price(card, billed), "EUR")
        rows.append(
            f"| {name} | {divisor} | {dim} g | {billed} g | {Money(base, 'EUR')} + "
            f"{-(-billed // 1_000)} × {Money(per_kg, 'EUR')}, fuel {fuel / 100:g} % | {price} |"
        )
    head = "| carrier | cm³ a kg | dimensional weight | billed | terms | price |"
    return "\n".join([head, "| --- |" + " --- |" * 5, *rows, ""])


def route_table() -> str:
    """One van of 40 kg, five stops, eight to noon."""
    places = [DEPOT, *(Place(52_520_000 + 9_000 * n, 13_405_000) for n in (3, -2, 6, 1, -5))]
    stops = [
        engine.Stop("A", 1, (9_000, 0), service=300),
        engine.Stop("B", 2, (12_000, 0), windows=((OPENS + HOUR, OPENS + 2 * HOUR),), service=300),
        engine.Stop("C", 3, (6_000, 0), service=600),
        engine.Stop("D", 4, (45_000, 0), service=300),
        engine.Stop("E", 5, (4_000, 0), service=300, skills=frozenset({"hazmat"})),
    ]
    problem = engine.Problem(
        depots=(engine.Depot("depot", 0),),
        vehicles=(
            engine.Vehicle("van", "depot", "depot", (40_000, 0), (OPENS, OPENS + 4 * HOUR)),
        ),
        stops=tuple(stops), travel=StraightLine().matrix(places),
    )  # fmt: skip
    found = engine.plan(problem, seed=1, iterations=200)
    (route,) = found.routes
    rows = [
        f"| {visit.stop_id} | {_clock(visit.arrival)} | {visit.wait // 60} min | "
        f"{visit.slack // 60} min | {visit.load_after[0] / 1_000:g} kg | {visit.metres:,} m |"
        for visit in route.visits
    ]
    left = [f"* {each.stop_id}: {each.reason}, {each.detail}" for each in found.unassigned]
    head = "| stop | arrival | wait | slack | load after it | way to it |"
    return "\n".join(
        [head, "| --- |" + " --- |" * 5, *rows, "",
         f"Away {_clock(route.departure)} to {_clock(route.finish)}, {route.metres:,} m, "
         f"{route.load[0] / 1_000:g} of 40 kg at the start. Left out:", "", *left, ""]
    )  # fmt: skip


def rest_table() -> str:
    """Three stops two hours apart, with and without a rule."""
    seconds = [[0 if a == b else 2 * HOUR for b in range(4)] for a in range(4)]
    stops = tuple(engine.Stop(f"stop {n}", n, (1, 0), service=600) for n in (1, 2, 3))
    van = engine.Vehicle("van", "depot", "depot", (10, 0), (OPENS, OPENS + 14 * HOUR))
    problem = engine.Problem(
        depots=(engine.Depot("depot", 0),), vehicles=(van,), stops=stops,
        travel=engine.TravelMatrix(seconds, seconds),
    )  # fmt: skip
    rows = []
    for said, rest in (
        ("none", None),
        ("45 min after 4 h 30 min", breaks.Rest(16_200, 2_700)),
        ("the same, 3 h driven before", breaks.Rest(16_200, 2_700, driven=3 * HOUR)),
    ):
        timed = breaks.timed(Lookup.of(problem), van, stops, rest)
        if isinstance(timed, Breach):
            rows.append(f"| {said} | {timed.reason}: {timed.detail} | – |")
            continue
        taken = [
            f"{_clock(each.at)} {f'at {each.stop_id}' if each.stop_id else 'before leaving'}"
            for each in timed.breaks
        ]
        rows.append(f"| {said} | {', '.join(taken) or 'none'} | {_clock(timed.finish)} |")
    return "\n".join(["| rule | breaks | back |", "| --- | --- | --- |", *rows, ""])


def scans_table() -> str:
    """What a carrier's messages do to a shipment, in the order in which they come."""
    with shop() as call:
        shipment = _on_the_way(call)
        call.now = MONDAY + timedelta(hours=9)
        rows = []
        for id, status, hours, kind in (
            ("s3", "out_for_delivery", 7, None),
            ("s2", "in_transit", 3, None),
            ("s3", "out_for_delivery", 7, None),
            ("s4", "exception", 8, "weather"),
            ("s5", "in_transit", 9, None),
        ):
            before = len(tracking.track(call, shipment.id).events)
            told = Reported(id, status, MONDAY + timedelta(hours=hours), exception_kind=kind)
            _, event = tracking.report(call, shipment.id, told)
            known = len(tracking.track(call, shipment.id).events) == before
            counts = "known already" if known else "yes" if event.applied else "kept, too late"
            rows.append(
                f"| {id} | {status} | {told.occurred_at:%H:%M} | {counts} | {shipment.status} |"
            )
    head = "| event | says | happened at | counts | the shipment is |"
    return "\n".join([head, "| --- |" + " --- |" * 4, *rows, ""])


def _on_the_way(call: Call) -> Shipment:
    call.add(Carrier(id="post", name="Post"))
    return call.add(
        Shipment(
            id="shp_example", status="picked_up", status_at=MONDAY, ship_to={}, carrier_id="post",
            currency="EUR", created_at=MONDAY - timedelta(hours=1), shipped_at=MONDAY,
        )
    )  # fmt: skip


def _clock(seconds: int) -> str:
    return f"{seconds // HOUR:02d}:{seconds % HOUR // 60:02d}"


EXAMPLES: Final[dict[str, Callable[[], str]]] = {
    "example-prices": prices_table,
    "example-route": route_table,
    "example-rest": rest_table,
    "example-scans": scans_table,
}
