"""Travel matrices: offline from coordinates, or from an OSRM or Valhalla server.

No network here: the two server sources build the request and read the answer, an injected
`fetch` sends it.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from servers.logistics.engine.problem import UNREACHABLE, TravelMatrix

EARTH_RADIUS_METRES = 6_371_008.8
"""Mean radius (IUGG)."""

Band = tuple[int, int]
Fetch = Callable[[str], Mapping[str, Any]]
"""GET a URL, return the decoded JSON object; raises whatever its transport raises."""


class TravelError(RuntimeError):
    """A travel server answered with something that is not a matrix."""


@dataclass(frozen=True, slots=True)
class Place:
    """Coordinates in millionths of a degree (WGS 84)."""

    latitude_e6: int
    longitude_e6: int


class TravelSource(Protocol):
    def matrix(self, places: Sequence[Place]) -> TravelMatrix: ...


def haversine_metres(a: Place, b: Place) -> float:
    """Great-circle distance. Sinnott, R. W. (1984), Virtues of the Haversine."""
    lat_a, lat_b = math.radians(a.latitude_e6 / 1e6), math.radians(b.latitude_e6 / 1e6)
    d_lat = lat_b - lat_a
    d_lon = math.radians((b.longitude_e6 - a.longitude_e6) / 1e6)
    h = math.sin(d_lat / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(d_lon / 2) ** 2
    return 2 * EARTH_RADIUS_METRES * math.asin(min(1.0, math.sqrt(h)))


@dataclass(frozen=True, slots=True)
class StraightLine:
    """Haversine x detour / speed. Needs nothing but coordinates.

    `bands` is the speed profile: (metres, km/h) pieces a trip is driven through in turn, so that
    a long trip leaves the slow streets behind; the last speed holds for the rest. Speeds that
    rise from band to band keep the triangle inequality.
    """

    detour_percent: int = 135
    bands: tuple[Band, ...] = ((2_000, 24), (8_000, 40))
    open_road_kmh: int = 70

    def matrix(self, places: Sequence[Place]) -> TravelMatrix:
        pool: dict[int, int] = {}
        size = len(places)
        metres = [[0] * size for _ in places]
        seconds = [[0] * size for _ in places]
        for i, a in enumerate(places):
            for j in range(i):
                distance = round(haversine_metres(a, places[j]) * self.detour_percent / 100)
                # Equal numbers share one object: a thousand stops then cost 8 bytes a cell.
                distance = pool.setdefault(distance, distance)
                duration = self.duration(distance)
                duration = pool.setdefault(duration, duration)
                metres[i][j] = metres[j][i] = distance
                seconds[i][j] = seconds[j][i] = duration
        return TravelMatrix(seconds, metres)

    def duration(self, metres: int) -> int:
        """Seconds, rounded up."""
        seconds, left = 0.0, metres
        for length, kmh in self.bands:
            part = min(left, length)
            seconds += part * 3.6 / kmh
            left -= part
            if not left:
                break
        return math.ceil(seconds + left * 3.6 / self.open_road_kmh)


@dataclass(frozen=True, slots=True)
class Osrm:
    """The `table` service of OSRM (Open Source Routing Machine), v1.

    `block` sources x `block` destinations a request: a server takes 100 coordinates by default.
    """

    base_url: str
    fetch: Fetch
    profile: str = "driving"
    block: int = 50

    def matrix(self, places: Sequence[Place]) -> TravelMatrix:
        return _in_blocks(len(places), self.block, lambda s, d: self._table(places, s, d))

    def url(self, places: Sequence[Place], sources: range, targets: range) -> str:
        chosen = [places[i] for i in sources] + [places[i] for i in targets]
        points = ";".join(f"{_degrees(p.longitude_e6)},{_degrees(p.latitude_e6)}" for p in chosen)
        first = ";".join(str(i) for i in range(len(sources)))
        second = ";".join(str(i) for i in range(len(sources), len(chosen)))
        return (
            f"{self.base_url.rstrip('/')}/table/v1/{self.profile}/{points}"
            f"?annotations=duration,distance&sources={first}&destinations={second}"
        )

    def _table(self, places: Sequence[Place], sources: range, targets: range) -> "_Block":
        answer = self.fetch(self.url(places, sources, targets))
        if answer.get("code") != "Ok":
            raise TravelError(f"OSRM answered {answer.get('code')}: {answer.get('message', '')}")
        try:
            return _whole(answer["durations"], 1), _whole(answer["distances"], 1)
        except (KeyError, TypeError) as error:
            raise TravelError("OSRM answered without durations and distances") from error


@dataclass(frozen=True, slots=True)
class Valhalla:
    """The `sources_to_targets` service of Valhalla."""

    base_url: str
    fetch: Fetch
    costing: str = "auto"
    block: int = 50

    def matrix(self, places: Sequence[Place]) -> TravelMatrix:
        return _in_blocks(len(places), self.block, lambda s, d: self._table(places, s, d))

    def url(self, places: Sequence[Place], sources: range, targets: range) -> str:
        request = {
            "sources": [_location(places[i]) for i in sources],
            "targets": [_location(places[i]) for i in targets],
            "costing": self.costing,
            "units": "kilometers",
        }
        text = json.dumps(request, separators=(",", ":"))
        return f"{self.base_url.rstrip('/')}/sources_to_targets?json={quote(text)}"

    def _table(self, places: Sequence[Place], sources: range, targets: range) -> "_Block":
        answer = self.fetch(self.url(places, sources, targets))
        try:
            rows = answer["sources_to_targets"]
            return (
                _whole([[cell["time"] for cell in row] for row in rows], 1),
                _whole([[cell["distance"] for cell in row] for row in rows], 1000),
            )
        except (KeyError, TypeError) as error:
            raise TravelError("Valhalla answered without sources_to_targets") from error


_Block = tuple[list[list[int]], list[list[int]]]


def _in_blocks(size: int, block: int, table: Callable[[range, range], _Block]) -> TravelMatrix:
    seconds: list[list[int]] = [[] for _ in range(size)]
    metres: list[list[int]] = [[] for _ in range(size)]
    for sources in _ranges(size, block):
        for targets in _ranges(size, block):
            durations, distances = table(sources, targets)
            for grid in (durations, distances):
                if len(grid) != len(sources) or any(len(row) != len(targets) for row in grid):
                    raise TravelError("the travel server answered with a table of another size")
            for row, source in enumerate(sources):
                seconds[source].extend(durations[row])
                metres[source].extend(distances[row])
    return TravelMatrix(seconds, metres)


def _ranges(size: int, block: int) -> Iterator[range]:
    for start in range(0, size, block):
        yield range(start, min(start + block, size))


def _whole(rows: Sequence[Sequence[float | None]], factor: int) -> list[list[int]]:
    return [[UNREACHABLE if v is None else round(v * factor) for v in row] for row in rows]


def _degrees(e6: int) -> str:
    sign = "-" if e6 < 0 else ""
    return f"{sign}{abs(e6) // 1_000_000}.{abs(e6) % 1_000_000:06d}"


def _location(place: Place) -> dict[str, float]:
    return {"lat": place.latitude_e6 / 1e6, "lon": place.longitude_e6 / 1e6}
