"""Which driver takes which van, so that stops that need a skill find a crew that has it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from common.call import Call
from common.tables.fleet import Driver, Vehicle


@dataclass(frozen=True)
class Known:
    """Skills that drivers of a depot list, and equipment that its vans list."""

    drivers: frozenset[str]
    vans: frozenset[str]

    @classmethod
    def at(cls, call: Call, depot_id: str) -> "Known":
        """Of the whole depot: a skill stays a driver's while its only driver is away."""
        drivers = select(Driver.skills).where(Driver.depot_id == depot_id).limit(1_000)
        vans = select(Vehicle.skills).where(Vehicle.depot_id == depot_id).limit(1_000)
        return cls(_all(call.session.scalars(drivers)), _all(call.session.scalars(vans)))

    def of(self, van: Vehicle, driver: Driver) -> frozenset[str]:
        """What the two can do: the driver has to have what drivers list, the van what vans list."""
        either = frozenset([*van.skills, *driver.skills])
        return frozenset(
            skill
            for skill in either
            if (skill in driver.skills or skill not in self.drivers)
            and (skill in van.skills or skill not in self.vans)
        )


def pairs(
    vans: Sequence[Vehicle],
    drivers: Sequence[Driver],
    needs: Iterable[frozenset[str]],
    known: Known,
) -> list[tuple[Vehicle, Driver]]:
    """First a crew for each set of skills that a stop needs, the rarest first; then the roomiest
    van with the driver whose skills are wanted least. Vans come with the roomiest first."""
    wanted = sorted({need for need in needs if need}, key=lambda n: (-len(n), sorted(n)))
    free_vans, free_drivers = list(vans), list(drivers)
    made: list[tuple[Vehicle, Driver]] = []

    def take(van: Vehicle, driver: Driver) -> None:
        made.append((van, driver))
        free_vans.remove(van)
        free_drivers.remove(driver)

    for need in wanted:
        if any(need <= known.of(*pair) for pair in made):
            continue
        able = (
            (van, driver)
            for van in _one_of_a_kind(free_vans)
            for driver in _one_of_a_kind(free_drivers)
            if need <= known.of(van, driver)
        )
        found = next(able, None)
        if found is not None:
            take(*found)
    useful = frozenset().union(*wanted)
    free_drivers.sort(key=lambda driver: -len(useful & set(driver.skills)))
    for van, driver in zip(list(free_vans), list(free_drivers), strict=False):
        take(van, driver)
    return made


def _one_of_a_kind(rows: Sequence[Vehicle] | Sequence[Driver]) -> list:  # type: ignore[type-arg]
    """The first of each set of skills: the others would do no better."""
    seen: dict[frozenset[str], Vehicle | Driver] = {}
    for row in rows:
        seen.setdefault(frozenset(row.skills), row)
    return list(seen.values())


def _all(lists: Iterable[list[str]]) -> frozenset[str]:
    return frozenset(skill for skills in lists for skill in skills)
