"""A route as an SVG picture: the depot, the stops in order, the way between them."""

import math
from xml.sax.saxutils import escape

from common.call import Call
from servers.logistics import routes

WIDTH, HEIGHT, EDGE = 640, 480, 36
COLOURS = {"done": "#2e7d32", "failed": "#c62828", "skipped": "#9e9e9e"}


def of_route(call: Call, route_id: str) -> str:
    """Straight lines, north is up. Only numbers and ids of our own are written into it."""
    found = routes.whole(call, route_id)
    depot = (found.depot.lat_e6, found.depot.lon_e6)
    halts = [
        (halt, (halt.shipment.lat_e6, halt.shipment.lon_e6))
        for halt in found.halts
        if halt.shipment.lat_e6 is not None and halt.shipment.lon_e6 is not None
    ]
    places = [depot, *((lat or 0, lon or 0) for _, (lat, lon) in halts)]
    points = _fitted(places)
    way = " ".join(f"{x},{y}" for x, y in [*points, points[0]])
    title = escape(f"Route {found.route.id}, {found.route.on_date.isoformat()}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<polyline points="{way}" fill="none" stroke="#5c6bc0" stroke-width="2"/>',
    ]
    for (halt, _), (x, y) in zip(halts, points[1:], strict=True):
        colour = COLOURS.get(halt.stop.status, "#1a237e")
        parts.append(
            f'<g><title>{escape(halt.shipment.id)}</title><circle cx="{x}" cy="{y}" r="11" '
            f'fill="{colour}"/><text x="{x}" y="{y + 4}" font-size="11" text-anchor="middle" '
            f'font-family="sans-serif" fill="#ffffff">{halt.stop.position}</text></g>'
        )
    x, y = points[0]
    parts.append(
        f'<g><title>{escape(found.depot.id)}</title><rect x="{x - 9}" y="{y - 9}" width="18" '
        f'height="18" fill="#ef6c00"/></g></svg>'
    )
    return "".join(parts)


def _fitted(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Latitude and longitude to pixels, in one scale for both directions."""
    lats, lons = [lat for lat, _ in places], [lon for _, lon in places]
    narrow = math.cos(math.radians((min(lats) + max(lats)) / 2e6))
    wide = max(1.0, (max(lons) - min(lons)) * narrow)
    high = max(1, max(lats) - min(lats))
    scale = min((WIDTH - 2 * EDGE) / wide, (HEIGHT - 2 * EDGE) / high)
    return [
        (
            round(EDGE + (lon - min(lons)) * narrow * scale),
            round(EDGE + (max(lats) - lat) * scale),
        )
        for lat, lon in places
    ]
