"""Crews by skill, breaks on the way, travel times from a server or without it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from common.call import Call
from common.errors import Conflict
from common.settings import RoutingSettings, Settings
from common.tables.fleet import Driver, DutyRule, Vehicle
from servers.logistics import breaks, engine, reassigning, travelling
from servers.logistics.breaks import Rest
from servers.logistics.engine.routes import Breach, Lookup
from servers.logistics.engine.travel import Place, StraightLine
from servers.logistics.travelling import Times
from tests.logistics.seed import TODAY, Desk
from tests.support.shop import done

HOUR = 3_600


class Quiet:
    """Progress nobody looks at."""

    def report(self, done: int, total: int, message: str = "") -> None: ...

    def cancelled(self) -> bool:
        return False


async def skilled(desk: Desk, **skills: list[str]) -> None:
    def give(call: Call) -> None:
        for id, names in skills.items():
            kind = Driver if id.startswith("DRV") else Vehicle
            call.get(kind, id.replace("_", "-")).skills = names

    await desk.seed("logistics", give)


async def planned(desk: Desk, **more: Any) -> dict[str, Any]:
    return await desk.done("plan_routes", date=TODAY, depot="DEP-1", iterations=20, **more)


@pytest.mark.parametrize("able", ["DRV_1", "DRV_2"])
async def test_the_driver_with_the_skill_gets_the_stop(desk: Desk, able: str) -> None:
    await skilled(desk, **{able: ["hazmat"]})
    oil = await desk.shipment(("OIL", 1))
    plain = await desk.shipment(("LAMP", 1))
    found = await planned(desk)
    assert found["unassigned_count"] == 0
    with_oil = [r for r in found["routes"] if oil in {s["shipment_id"] for s in r["stops"]}]
    assert [route["driver_id"] for route in with_oil] == [able.replace("_", "-")]
    assert {s["shipment_id"] for r in found["routes"] for s in r["stops"]} == {oil, plain}


async def test_a_vans_list_does_not_make_a_driver_able(desk: Desk) -> None:
    """Drivers list it, so a driver has to have it: the only one who does is elsewhere."""
    await skilled(desk, DRV_1=["hazmat"], VAN_1=["hazmat"], VAN_2=["hazmat"])
    await desk.seed("logistics", lambda call: setattr(call.get(Driver, "DRV-1"), "status", "off"))
    oil = await desk.shipment(("OIL", 1))
    plain = await desk.shipment()
    found = await planned(desk)
    assert [(u["shipment_id"], u["reason"]) for u in found["unassigned"]] == [(oil, "skill")]
    assert [s["shipment_id"] for r in found["routes"] for s in r["stops"]] == [plain]


async def test_the_skill_goes_to_the_van_that_is_equipped(desk: Desk) -> None:
    """Both are needed, and only the small van and the second driver have them."""
    await skilled(desk, DRV_2=["hazmat"], VAN_2=["hazmat"])
    oil = await desk.shipment(("OIL", 1))
    found = await planned(desk)
    route = found["routes"][0]
    assert (route["vehicle_id"], route["driver_id"]) == ("VAN-2", "DRV-2")
    assert [s["shipment_id"] for s in route["stops"]] == [oil]


# Breaks


def a_problem(legs: int, minutes: int, shift_hours: int = 12) -> engine.Problem:
    """A line of places, so many minutes apart."""
    apart = [[abs(i - j) * minutes * 60 for j in range(legs + 1)] for i in range(legs + 1)]
    return engine.Problem(
        (engine.Depot("D", 0),),
        (engine.Vehicle("V", "D", "D", (10, 10), (0, shift_hours * HOUR)),),
        tuple(engine.Stop(f"S{i}", i, (1, 1), service=600) for i in range(1, legs + 1)),
        engine.TravelMatrix(apart, apart),
    )


def driven_without_break(problem: engine.Problem, route: engine.PlannedRoute) -> int:
    """An independent count of the longest time at the wheel."""
    rests = {rest.stop_id for rest in route.breaks}
    stops = {stop.id: stop for stop in problem.stops}
    longest = driven = place = 0
    for visit in route.visits:
        driven += problem.travel.seconds[place][stops[visit.stop_id].place]
        longest, place = max(longest, driven), stops[visit.stop_id].place
        if visit.stop_id in rests:
            driven = 0
    return max(longest, driven + problem.travel.seconds[place][0])


@pytest.mark.parametrize(("minutes", "count"), [(20, 0), (60, 1)])
def test_breaks_are_put_in(minutes: int, count: int) -> None:
    problem = a_problem(4, minutes, 24)
    rest = Rest(270 * 60, 45 * 60)
    route = breaks.timed(Lookup.of(problem), problem.vehicles[0], problem.stops, rest)
    assert isinstance(route, engine.PlannedRoute)
    plain = breaks.timed(Lookup.of(problem), problem.vehicles[0], problem.stops, None)
    assert isinstance(plain, engine.PlannedRoute)
    assert len(route.breaks) == count
    assert route.finish == plain.finish + count * rest.length
    assert driven_without_break(problem, route) <= rest.after


def test_a_way_longer_than_may_be_driven_at_once_is_refused() -> None:
    problem = a_problem(4, 110, 24)
    found = breaks.timed(
        Lookup.of(problem), problem.vehicles[0], problem.stops, Rest(270 * 60, 45 * 60)
    )
    assert isinstance(found, Breach)
    assert (found.reason, found.stop_id) == (engine.Reason.SHIFT, "S4")


def test_a_break_goes_where_a_window_leaves_room() -> None:
    """As late as it may be it would make the last stop late: it is taken earlier instead."""
    problem = a_problem(4, 60)
    order = [*problem.stops[:3], replace(problem.stops[3], windows=((0, 5 * HOUR + 60 * 45),))]
    rest = Rest(270 * 60, 45 * 60)
    route = breaks.timed(Lookup.of(problem), problem.vehicles[0], order, rest)
    assert isinstance(route, engine.PlannedRoute)
    assert driven_without_break(problem, route) <= rest.after
    tight = [*problem.stops[:3], replace(problem.stops[3], windows=((0, 4 * HOUR + 60 * 31),))]
    found = breaks.timed(Lookup.of(problem), problem.vehicles[0], tight, Rest(200 * 60, 45 * 60))
    assert isinstance(found, Breach)


async def test_a_plan_has_its_drivers_breaks(desk: Desk) -> None:
    def rule(call: Call) -> None:
        call.add(
            DutyRule(
                id="short", name="Test", drive_before_break_seconds=2_700, break_seconds=900,
                source="a test", as_of=date(2026, 11, 1),
            )
        )  # fmt: skip
        for id in ("DRV-1", "DRV-2"):
            call.get(Driver, id).duty_rule_id = "short"

    await desk.seed("logistics", rule)
    for _ in range(8):
        await desk.shipment()
    found = await planned(desk, vehicles=["VAN-1"])
    assert found["unassigned_count"] == 0
    route = found["routes"][0]
    whole = await done(desk.client, "get_route", route_id=route["route_id"])
    assert whole["breaks"]
    stops = {stop["shipment_id"] for stop in whole["stops"]}
    for rest in whole["breaks"]:
        assert " for 900 s after " in rest
        assert rest.rpartition(" ")[2] in stops


# Travel times


@dataclass
class Roads:
    """A travel server on loopback: what it answers, and how often it was asked."""

    answer: Any
    status: int = 200
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(roads: Roads) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            roads.asked.append(self.path)
            found = roads.answer(self.path) if callable(roads.answer) else roads.answer
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(roads.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PLACES = [Place(52_500_000 + 10_000 * i, 13_400_000) for i in range(3)]
ROWS = [[0, 60, 120], [61, 0, 62], [121, 63, 0]]
VALHALLA = [
    [{"time": cell, "distance": cell / 100} for cell in row] for row in ROWS
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("osrm", {"code": "Ok", "durations": ROWS, "distances": ROWS}),
        ("valhalla", {"sources_to_targets": VALHALLA}),
    ],
)
def test_times_of_a_server(kind: str, answer: dict[str, Any]) -> None:
    roads = Roads(answer)
    with serving(roads) as url:
        found, note = travelling.times(PLACES, RoutingSettings("default", kind, url))
    assert note == f"from {kind}"
    assert [list(row) for row in found.seconds] == ROWS
    assert len(roads.asked) == 1


@pytest.mark.parametrize(
    ("kind", "status", "answer", "why"),
    [
        ("osrm", 400, {"code": "TooBig", "message": "Too many table coordinates"}, "TooBig"),
        (
            "osrm",
            400,
            {"code": "InvalidQuery", "message": "Query string malformed"},
            "InvalidQuery",
        ),
        ("osrm", 200, {"code": "NoSegment", "message": "no road near"}, "NoSegment"),
        ("osrm", 200, {"code": "Ok", "durations": [[0]], "distances": [[0]]}, "another size"),
        ("osrm", 500, b"<html>", "no JSON"),
        ("osrm", 200, [1], "no object"),
        ("osrm", 200, b"[" * 5_000_000, "bytes"),
        ("valhalla", 400, {"error_code": 154, "error": "Path distance exceeds"}, "exceeds"),
        ("valhalla", 200, {}, "without sources_to_targets"),
    ],
)
def test_a_server_that_fails_is_named(kind: str, status: int, answer: Any, why: str) -> None:
    with serving(Roads(answer, status)) as url:
        found, note = travelling.times(PLACES, RoutingSettings("default", kind, url))
    assert note.startswith(f"{travelling.ESTIMATED}, because {kind} failed")
    assert why in note
    assert found == StraightLine().matrix(PLACES)


def test_nobody_there_too_many_places_and_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Roads({})) as url:
        pass
    _, note = travelling.times(PLACES, RoutingSettings("default", "osrm", url))
    assert "failed" in note
    roads = Roads({"code": "Ok", "durations": ROWS, "distances": ROWS})
    with serving(roads) as url:
        monkeypatch.setattr(travelling, "MOST_PLACES", 2)
        assert (
            "more than 2 places"
            in travelling.times(PLACES, RoutingSettings("default", "osrm", url))[1]
        )
        monkeypatch.setattr(travelling, "MOST_PLACES", 9)
        monkeypatch.setattr(travelling, "WHOLE_S", -1)
        assert (
            "not done within"
            in travelling.times(PLACES, RoutingSettings("default", "osrm", url))[1]
        )
    assert roads.asked == []


async def test_a_plan_says_where_its_times_are_from(desk: Desk) -> None:
    await desk.shipment()
    with serving(Roads({"code": "InvalidQuery"}, 400)) as url:
        desk.shop.guard.ports["routing"] = RoutingSettings("default", "osrm", url)
        found = await planned(desk)
    assert "InvalidQuery" in found["travel"]


def ten_minutes_each(path: str) -> dict[str, Any]:
    """An OSRM on whose roads every way takes ten minutes and is a kilometre long."""
    asked = parse_qs(urlsplit(path).query)
    rows, columns = (asked[name][0].split(";") for name in ("sources", "destinations"))
    points = urlsplit(path).path.rpartition("/")[2].split(";")
    seconds = [
        [0 if points[int(row)] == points[int(column)] else 600 for column in columns]
        for row in rows
    ]
    metres = [[cell and 1_000 for cell in row] for row in seconds]
    return {"code": "Ok", "durations": seconds, "distances": metres}


async def test_a_stop_is_reassigned_with_the_same_times(desk: Desk) -> None:
    first, second, third = [await desk.shipment() for _ in range(3)]
    roads = Roads(ten_minutes_each)
    with serving(roads) as url:
        desk.shop.guard.ports["routing"] = RoutingSettings("default", "osrm", url)
        one = (await planned(desk, vehicles=["VAN-1"]))["routes"][0]
        assert one["driving_minutes"] == 4 * 10
        moved = await desk.shipment()
        two = (await planned(desk, vehicles=["VAN-2"]))["routes"][0]
        asked = len(roads.asked)
        both = await desk.done("reassign_stop", shipment_id=third, route_id=two["route_id"])
        assert len(roads.asked) > asked
        assert {stop["shipment_id"] for stop in both["stops"]} == {moved, third}
        assert (both["driving_minutes"], both["metres"]) == (3 * 10, 3_000)
        assert both["travel"] == "from osrm"
        left = await done(desk.client, "get_route", route_id=one["route_id"])
        live = {s["shipment_id"] for s in left["stops"] if s["status"] == "pending"}
        assert live == {first, second}
        assert (left["driving_minutes"], left["travel"]) == (3 * 10, "from osrm")
    back = await desk.done("reassign_stop", shipment_id=third, route_id=one["route_id"])
    assert back["travel"].startswith(f"{travelling.ESTIMATED}, because osrm failed")


async def test_a_route_that_changes_while_times_are_asked_for(desk: Desk) -> None:
    await desk.shipment()
    route = (await planned(desk))["routes"][0]["route_id"]
    mine, theirs = await desk.shipment(), await desk.shipment()

    def ready(call: Call) -> Times:
        return reassigning.compute(reassigning.prepare(call, mine, route, None), Quiet())

    times = await desk.seed("logistics", ready)
    await desk.done("reassign_stop", shipment_id=theirs, route_id=route)
    with pytest.raises(Conflict):
        await desk.seed("logistics", lambda c: reassigning.reassign(c, mine, route, None, times))


async def test_the_other_engine_through_the_tool(desk: Desk) -> None:
    await desk.shipment()
    desk.shop.guard.ports["routing"] = RoutingSettings("pyvrp")
    found = await planned(desk)
    assert found["assigned"] == 1
    assert found["travel"] == travelling.ESTIMATED


@pytest.mark.parametrize(
    "bad",
    [
        {"SHOP_ROUTE_ENGINE": "best"},
        {"SHOP_TRAVEL_TIMES": "maps", "SHOP_TRAVEL_URL": "http://127.0.0.1"},
        {"SHOP_TRAVEL_TIMES": "osrm"},
        {"SHOP_TRAVEL_TIMES": "osrm", "SHOP_TRAVEL_URL": "file:///etc/passwd"},
    ],
)
def test_settings_that_mean_nothing_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="SHOP_"):
        Settings.load({"SHOP_HOME": "/tmp", **bad})
