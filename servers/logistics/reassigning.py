"""Move a shipment to another route, or onto one, if the route can still be driven."""

from common.call import Call
from common.errors import InvalidParameters, RuleViolation
from common.tables.fleet import Depot, Route
from common.tables.logistics import Shipment
from servers.logistics import engine, fleet, moving, routes, writing
from servers.logistics.engine.routes import Breach


def reassign(call: Call, shipment_id: str, route_id: str, position: int | None) -> routes.Whole:
    """Put it at ``position`` (from 1), or where it costs least.

    Raises NotFound, InvalidParameters (position), RuleViolation (a van has left, another depot,
    load, window, skill or hours; ``details.reason`` says which).
    """
    shipment = moving.find(call, shipment_id)
    target = call.get(Route, route_id)
    call.stake()
    _require_draft(target)
    stop = moving.live_stop(call, shipment.id)
    source = call.get(Route, stop.route_id) if stop is not None else None
    if source is not None:
        _require_draft(source)
    _require_movable(call, shipment, target, on_route=source is not None)
    others = [
        call.get(Shipment, each.shipment_id)
        for each in writing.live_stops(call, target)
        if each.shipment_id != shipment.id
    ]
    timed = _best(call, target, others, shipment, position)
    if stop is not None and source is not None and source.id != target.id:
        stop.status = "skipped"
        call.session.flush()
        routes.shorten(call, source)
    if shipment.status != "planned":
        moving.advance(call, shipment, "planned", detail=target.id)
        call.session.flush()
    writing.retime(call, target, timed)
    return routes.whole(call, target.id)


def _require_draft(route: Route) -> None:
    if route.status not in fleet.DRAFTS:
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


def _best(
    call: Call, route: Route, others: list[Shipment], shipment: Shipment, position: int | None
) -> engine.PlannedRoute:
    if position is not None and position > len(others) + 1:
        raise InvalidParameters.field("position", position, f"1 to {len(others) + 1}")
    places = range(len(others) + 1) if position is None else [position - 1]
    best: engine.PlannedRoute | None = None
    wrong: Breach | None = None
    for place in places:
        found = writing.timed(call, route, [*others[:place], shipment, *others[place:]])
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
