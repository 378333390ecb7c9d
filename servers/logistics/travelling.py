"""Travel times of a plan: from a server if one is set, else from distance and speed.

A plan is made in any case: when the server fails the times are estimated, and the plan says why.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from common.settings import RoutingSettings
from servers.logistics.engine import TravelMatrix
from servers.logistics.engine.travel import (
    Osrm,
    Place,
    StraightLine,
    TravelError,
    TravelSource,
    Valhalla,
)

ESTIMATED: Final = "estimated from distance and speed"
MOST_PLACES: Final = 1_001
ANSWER_S: Final = 10
# All requests of one matrix together.
WHOLE_S: Final = 60
MOST_BYTES: Final = 4_000_000


@dataclass(frozen=True)
class Times:
    """What was asked of the travel times, for orders of stops that are tried one by one."""

    places: tuple[Place, ...]
    matrix: TravelMatrix
    note: str

    def knows(self, places: Sequence[Place]) -> bool:
        return set(places) <= set(self.places)

    def of(self, places: Sequence[Place]) -> TravelMatrix:
        """Of some of the places, in their order."""
        rows = [self.places.index(place) for place in places]
        return TravelMatrix(
            *([[cells[row][column] for column in rows] for row in rows]
              for cells in (self.matrix.seconds, self.matrix.metres))
        )  # fmt: skip


def times(places: Sequence[Place], routing: RoutingSettings | None) -> tuple[TravelMatrix, str]:
    """The matrix, and where it is from. Blocking: for a compute step."""
    if routing is None or not routing.travel_times:
        return StraightLine().matrix(places), ESTIMATED
    try:
        return _asked(places, routing), f"from {routing.travel_times}"
    except (TravelError, httpx2.HTTPError, ValueError, TypeError) as error:
        why = str(error) or type(error).__name__
        said = f"{ESTIMATED}, because {routing.travel_times} failed: {why}"
        return StraightLine().matrix(places), said[:300]


def _asked(places: Sequence[Place], routing: RoutingSettings) -> TravelMatrix:
    if len(places) > MOST_PLACES:
        raise TravelError(f"more than {MOST_PLACES} places")
    until = time.monotonic() + WHOLE_S
    with httpx2.Client(timeout=ANSWER_S, follow_redirects=False) as client:

        def fetch(url: str) -> Mapping[str, Any]:
            if time.monotonic() > until:
                raise TravelError(f"not done within {WHOLE_S} s")
            return _json(client, url)

        source: TravelSource = (
            Osrm(routing.travel_url, fetch)
            if routing.travel_times == "osrm"
            else Valhalla(routing.travel_url, fetch)
        )
        return source.matrix(places)


def _json(client: httpx2.Client, url: str) -> Mapping[str, Any]:
    """The object that is answered; refusals too are objects that say why."""
    with client.stream("GET", url) as response:
        body = b""
        for part in response.iter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise TravelError(f"an answer of more than {MOST_BYTES} bytes")
    try:
        found = json.loads(body)
    except ValueError:
        raise TravelError(f"status {response.status_code}, and no JSON") from None
    if not isinstance(found, dict):
        raise TravelError("an answer that is no object")
    if response.status_code != 200 and "code" not in found:
        raise TravelError(f"status {response.status_code}: {str(found.get('error', ''))[:100]}")
    return found
