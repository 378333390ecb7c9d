"""Move a shipment to another route, or onto one, if the route can still be driven."""

from dataclasses import dataclass

from common.call import Call
from common.errors import Conflict, InvalidParameters, RuleViolation
from common.settings import RoutingSettings
from common.tables.fleet import Depot, Route, Stop
from common.tables.logistics import Shipment
from common.toolset import Progress
from servers.logistics import crews, engine, moving, routes, travelling, writing
from servers.logistics.engine.routes import Breach
from servers.logistics.engine.travel import Place
from servers.logistics.travelling import Times


@dataclass(frozen=True)
class Brief:
    """Where the van may drive, and how travel times are found."""

    places: tuple[Place, ...]
    routing: RoutingSettings | None


@dataclass(frozen=True)
class _Move:
    """``others`` are on the target already, ``rest`` stays on the source."""

    shipment: Shipment
    target: Route
    source: Route | None
    stop: Stop | None
    others: list[Shipment]
    rest: list[Shipment]


def prepare(call: Call, shipment_id: str, route_id: str, position: int | None) -> Brief:
    """Raises what ``reassign`` raises, but for the timetable."""
    return Brief(_places(call, _move(call, shipment_id, route_id)), call.ports.get("routing"))


def compute(brief: Brief, progress: Progress) -> Times:
    """As for a plan: no database here."""
    return Times(brief.places, *travelling.times(brief.places, brief.routing))


def reassign(
    call: Call, shipment_id: str, route_id: str, position: int | None, travel: Times
) -> routes.Whole:
    """Put it at ``position`` (from 1), or where it costs least.

    Raises NotFound, InvalidParameters (position), RuleViolation (a van has left, another depot,
    load, window, skill or hours; ``details.reason`` says which), Conflict (the routes changed
    while travel times were asked for).
    """
    move = _move(call, shipment_id, route_id)
    call.stake()
    if not travel.knows(_places(call, move)):
        raise Conflict(
            f"Route {move.target.id} changed while travel times were asked for.",
            details={"id": move.target.id},
            next="Call reassign_stop again; nothing was written.",
        )
    shipment, target, source, stop = move.shipment, move.target, move.source, move.stop
    timed = _best(call, move, position, travel)
    if stop is not None and source is not None and source.id != target.id:
        stop.status = "skipped"
        call.session.flush()
        routes.shorten(call, source, travel)
    if shipment.status != "planned":
        moving.advance(call, shipment, "planned", detail=target.id)
        call.session.flush()
    writing.retime(call, target, timed, travel.note)
    return routes.whole(call, target.id)


def _move(call: Call, shipment_id: str, route_id: str) -> _Move:
    shipment = moving.find(call, shipment_id)
    target = call.get(Route, route_id)
    _require_draft(target)
    stop = moving.live_stop(call, shipment.id)
    source = call.get(Route, stop.route_id) if stop is not None else None
    if source is not None:
        _require_draft(source)
    _require_movable(call, shipment, target, on_route=source is not None)
    rest = _aboard(call, source, shipment) if source is not None else []
    return _Move(shipment, target, source, stop, _aboard(call, target, shipment), rest)


def _aboard(call: Call, route: Route, without: Shipment) -> list[Shipment]:
    stops = writing.live_stops(call, route)
    return [call.get(Shipment, s.shipment_id) for s in stops if s.shipment_id != without.id]


def _places(call: Call, move: _Move) -> tuple[Place, ...]:
    """The depot, which is the same for both routes, and every stop's place once."""
    depot = call.get(Depot, move.target.depot_id)
    stops = [crews.stop_of(each)[1] for each in (move.shipment, *move.others, *move.rest)]
    return tuple(dict.fromkeys([Place(depot.lat_e6, depot.lon_e6), *stops]))


def _require_draft(route: Route) -> None:
    if route.status != "draft":
        raise RuleViolation(
            f"Route {route.id} is {route.status}: its van has left with what it has aboard.",
            details={"route_id": route.id, "status": route.status},
            next="Choose a route that is still a draft, or plan the shipment anew.",
        )


def _require_movable(call: Call, shipment: Shipment, target: Route, *, on_route: bool) -> None:
    if not on_route and (
        shipment.status not in moving.PLANNABLE or shipment.carrier_id is not None
    ):
        by = f"with {shipment.carrier_id}" if shipment.carrier_id else shipment.status
        raise RuleViolation(f"Shipment {shipment.id} is {by}: no van can be planned for it.")
    if call.get(Depot, target.depot_id).warehouse_id != shipment.warehouse_id:
        raise RuleViolation(f"Shipment {shipment.id} is at another depot than the route.")
    if shipment.lat_e6 is None or shipment.lon_e6 is None:
        raise RuleViolation(
            f"Shipment {shipment.id} has no coordinates.", next="Set them with resolve_exception."
        )


def _best(call: Call, move: _Move, position: int | None, travel: Times) -> engine.PlannedRoute:
    route, others, shipment = move.target, move.others, move.shipment
    if position is not None and position > len(others) + 1:
        raise InvalidParameters.field("position", position, f"1 to {len(others) + 1}")
    places = range(len(others) + 1) if position is None else [position - 1]
    best: engine.PlannedRoute | None = None
    wrong: Breach | None = None
    for place in places:
        found = writing.timed(call, route, [*others[:place], shipment, *others[place:]], travel)
        if isinstance(found, Breach):
            wrong = found
        elif found is not None and (best is None or _rank(found) < _rank(best)):
            best = found
    if best is not None:
        return best
    raise RuleViolation(
        f"Route {route.id} cannot take shipment {shipment.id}: "
        f"{wrong.detail if wrong else 'its shift is over'}.",
        details={
            "reason": str(wrong.reason) if wrong else "shift",
            "shipment_id": wrong.stop_id if wrong else shipment.id,
        },
        next="Choose another route or position; nothing was changed.",
    )


def _rank(timed: engine.PlannedRoute) -> tuple[int, int]:
    return timed.metres, timed.finish
