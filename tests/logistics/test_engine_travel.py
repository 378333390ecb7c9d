"""Travel matrices: known distances, and the requests and answers of the two servers."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from servers.logistics.engine.problem import UNREACHABLE
from servers.logistics.engine.travel import (
    Osrm,
    Place,
    StraightLine,
    TravelError,
    TravelSource,
    Valhalla,
    haversine_metres,
)

BERLIN, MUNICH = Place(52_520_000, 13_405_000), Place(48_137_000, 11_575_000)
SANTIAGO = Place(-33_449_000, -70_669_000)


def test_haversine_against_known_distances() -> None:
    # One degree of a great circle: 2 pi R / 360.
    assert haversine_metres(Place(0, 0), Place(1_000_000, 0)) == pytest.approx(111_195.1, abs=0.1)
    assert haversine_metres(Place(0, 0), Place(0, 180_000_000)) == pytest.approx(20_015_115, abs=1)
    assert haversine_metres(BERLIN, MUNICH) == pytest.approx(504_400, rel=0.002)


def test_straight_line_matrix() -> None:
    source: TravelSource = StraightLine(detour_percent=100, bands=((1_000, 36),), open_road_kmh=72)
    matrix = source.matrix([Place(0, 0), Place(0, 0), Place(1_000_000, 0)])
    assert matrix.metres == [[0, 0, 111_195], [0, 0, 111_195], [111_195, 111_195, 0]]
    # 1,000 m at 10 m/s and the rest at 20 m/s, rounded up.
    assert matrix.seconds[0] == [0, 0, 100 + 5_510]
    assert StraightLine(detour_percent=140).matrix([Place(0, 0), Place(1_000_000, 0)]).metres[0][
        1
    ] == round(111_195.08 * 1.4)


def test_longer_trips_take_longer_and_keep_the_triangle_inequality() -> None:
    source = StraightLine()
    times = [source.duration(metres) for metres in range(0, 30_000, 250)]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    for i in range(0, len(times), 7):
        for j in range(0, len(times) - i, 7):
            assert times[i + j] <= times[i] + times[j]


class Server:
    """Answers like OSRM: seconds and metres are the difference of the places' numbers."""

    def __init__(self, places: list[Place]) -> None:
        self.names = {f"{p.longitude_e6},{p.latitude_e6}": i for i, p in enumerate(places)}
        self.urls: list[str] = []

    def _number(self, text: str) -> int:
        longitude, latitude = text.split(",")
        key = f"{round(float(longitude) * 1e6)},{round(float(latitude) * 1e6)}"
        return self.names[key]

    def __call__(self, url: str) -> Mapping[str, Any]:
        self.urls.append(url)
        parts = urlsplit(url)
        points = [self._number(text) for text in unquote(parts.path).split("/")[-1].split(";")]
        query = parse_qs(parts.query)
        sources, targets = (
            [points[int(i)] for i in query[name][0].split(";")]
            for name in ("sources", "destinations")
        )
        return {
            "code": "Ok",
            "durations": [
                [None if t == 4 else abs(s - t) + 0.6 * (s != t) for t in targets] for s in sources
            ],
            "distances": [
                [None if t == 4 else abs(s - t) * 10.2 for t in targets] for s in sources
            ],
        }


def test_osrm_in_blocks() -> None:
    places = [Place(-500_000 + i, 7_000_000 - i) for i in range(5)]
    server = Server(places)
    matrix = Osrm("http://osrm:5000/", server, block=2).matrix(places)
    assert len(server.urls) == 9
    assert server.urls[0] == (
        "http://osrm:5000/table/v1/driving/"
        "7.000000,-0.500000;6.999999,-0.499999;7.000000,-0.500000;6.999999,-0.499999"
        "?annotations=duration,distance&sources=0;1&destinations=2;3"
    )
    assert matrix.seconds[1] == [2, 0, 2, 3, UNREACHABLE]
    assert matrix.metres[3] == [31, 20, 10, 0, UNREACHABLE]


@pytest.mark.parametrize(
    "answer",
    [
        {"code": "TooBig", "message": "too many"},
        {"code": "Ok"},
        {"code": "Ok", "durations": [[0]], "distances": [[0, 1], [1, 0]]},
        {"code": "Ok", "durations": None, "distances": None},
    ],
)
def test_osrm_answers_that_are_no_matrix(answer: dict[str, Any]) -> None:
    with pytest.raises(TravelError):
        Osrm("http://osrm", lambda url: answer).matrix([BERLIN, MUNICH])


def test_valhalla() -> None:
    asked: list[dict[str, Any]] = []

    def fetch(url: str) -> Mapping[str, Any]:
        assert url.startswith("http://valhalla/sources_to_targets?json=")
        asked.append(json.loads(unquote(urlsplit(url).query.removeprefix("json="))))
        cells = [{"time": 61, "distance": 1.2345}, {"time": None, "distance": None}]
        return {"sources_to_targets": [cells, cells]}

    matrix = Valhalla("http://valhalla", fetch).matrix([BERLIN, SANTIAGO])
    assert asked[0]["sources"][1] == {"lat": -33.449, "lon": -70.669}
    assert matrix.seconds == [[61, UNREACHABLE]] * 2
    assert matrix.metres == [[1_234, UNREACHABLE]] * 2
    with pytest.raises(TravelError):
        Valhalla("http://valhalla", lambda url: {}).matrix([BERLIN])
