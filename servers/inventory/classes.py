"""Classes of items: how demand arrives (SBC), what it is worth (ABC), how it varies (XYZ); and the
records that replenishment reads and returns. Quantities are whole units and times whole days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, pstdev

from common.errors import InvalidParameters

ADI_LIMIT = 1.32
CV2_LIMIT = 0.49
SPIKE_RATIO_PERCENT = 150
MAX_DAYS = 365
MAX_UNITS = 1_000_000_000


class DemandClass(StrEnum):
    """Syntetos, Boylan and Croston (2005), JORS 56(5): 495-503; and items that never sold."""

    SMOOTH = "smooth"
    ERRATIC = "erratic"
    INTERMITTENT = "intermittent"
    LUMPY = "lumpy"
    NO_DEMAND = "no_demand"


def demand_class(history: Sequence[int | None]) -> DemandClass:
    """Class of a daily history in units. Days that are None were not observed and count nowhere."""
    interval = average_demand_interval(history)
    if interval is None:
        return DemandClass.NO_DEMAND
    variable = squared_variation(history) >= CV2_LIMIT
    if interval < ADI_LIMIT:
        return DemandClass.ERRATIC if variable else DemandClass.SMOOTH
    return DemandClass.LUMPY if variable else DemandClass.INTERMITTENT


def average_demand_interval(history: Sequence[int | None]) -> float | None:
    """ADI: observed days per day with demand. None when nothing was ever sold."""
    observed = [units for units in history if units is not None]
    selling = sum(1 for units in observed if units > 0)
    return len(observed) / selling if selling else None


def squared_variation(history: Sequence[int | None]) -> float:
    """CV² of the sizes of the days with demand; 0.0 when there is at most one such day."""
    sizes = [units for units in history if units]
    total = sum(sizes)
    # In whole numbers it is exact, and statistics' exact functions are slow.
    return len(sizes) * sum(n * n for n in sizes) / total**2 - 1 if len(sizes) > 1 else 0.0


def abc_classes(value_by_item: Mapping[str, int]) -> dict[str, str]:
    """A, B or C by annual value in minor units: the items that make the first 80 %, the next
    15 %, the last 5 %.

    An item belongs to the class in which its share begins, so the largest item is always A.
    Items of equal value are taken in order of their key. Items without value are C.
    """
    total = sum(value for value in value_by_item.values() if value > 0)
    classes: dict[str, str] = {}
    before = 0
    for item, value in sorted(value_by_item.items(), key=lambda pair: (-pair[1], pair[0])):
        if value <= 0 or before * 100 >= total * 95:
            classes[item] = "C"
        else:
            classes[item] = "A" if before * 100 < total * 80 else "B"
        before += max(value, 0)
    return classes


def xyz_class(history: Sequence[int | None]) -> str:
    """X, Y or Z by the coefficient of variation of daily demand: up to 0.5, up to 1.0, above.

    Zero days count: XYZ asks how predictable a period is, not how large a sale is.
    """
    observed = [units for units in history if units is not None]
    mean = fmean(observed) if observed else 0.0
    if mean <= 0:
        return "Z"
    variation = pstdev(observed) / mean
    return "X" if variation <= 0.5 else "Y" if variation <= 1.0 else "Z"


def is_spike(recent: Sequence[int | None], without: int = 0) -> bool:
    """Mean demand of 7 days above 1.5 times that of 28; ``without`` units are first taken off
    both. Fewer than 28 days make no spike."""
    if len(recent) < 28:
        return False
    week = [units for units in recent[-7:] if units is not None]
    month = [units for units in recent[-28:] if units is not None]
    lately = max(0, sum(week) - without) * 100 * len(month)
    return bool(week) and lately > SPIKE_RATIO_PERCENT * max(0, sum(month) - without) * len(week)


class Action(StrEnum):
    REORDER_NOW = "reorder_now"
    EXPEDITE = "expedite"
    TRANSFER = "transfer"
    IGNORE = "ignore"


class Reason(StrEnum):
    BELOW_REORDER_POINT = "below_reorder_point"
    RECEIPT_TOO_LATE = "receipt_too_late"
    SURPLUS_ELSEWHERE = "surplus_elsewhere"
    ENOUGH = "enough"
    NO_DEMAND = "no_demand"
    ENDING = "ending"
    ONE_ORDER_SPIKE = "one_order_spike"


@dataclass(frozen=True)
class Position:
    """Units of one item at one site. ``on_order`` is bought and not received, ``inbound_transfer``
    is on its way from another site, ``unavailable`` is quarantined, damaged or expired."""

    on_hand: int
    reserved: int = 0
    unavailable: int = 0
    on_order: int = 0
    inbound_transfer: int = 0
    backordered: int = 0

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved - self.unavailable

    @property
    def inventory_position(self) -> int:
        """on_hand + on_order + inbound_transfer - reserved - backordered - unavailable."""
        return self.available + self.on_order + self.inbound_transfer - self.backordered


@dataclass(frozen=True)
class Policy:
    """How one item is bought for one site.

    ``fill_rate`` is the share of units served from the shelf. Setting ``service_level``, the chance
    of no stock-out in a cycle, selects the z formula instead. ``maximum`` is the level to order up
    to; without it an order lasts ``order_cover_days``. ``reorder_point`` and ``safety_stock`` set
    by hand replace what demand says, ``minimum`` is the least a reorder point may be. Raises
    InvalidParameters out of bounds.
    """

    lead_time_days: int
    lead_time_sd_days: float = 0.0
    review_days: int = 1
    minimum_order: int = 1
    pack_multiple: int = 1
    order_cover_days: int = 7
    fill_rate: float = 0.97
    service_level: float | None = None
    maximum: int | None = None
    minimum: int | None = None
    reorder_point: int | None = None
    safety_stock: int | None = None
    ending: bool = False

    def __post_init__(self) -> None:
        limits = (
            ("lead_time_days", self.lead_time_days, 0, MAX_DAYS),
            ("review_days", self.review_days, 1, MAX_DAYS),
            ("order_cover_days", self.order_cover_days, 1, MAX_DAYS),
            ("minimum_order", self.minimum_order, 1, MAX_UNITS),
            ("pack_multiple", self.pack_multiple, 1, MAX_UNITS),
            ("maximum", self.maximum or 0, 0, MAX_UNITS),
            ("minimum", self.minimum or 0, 0, MAX_UNITS),
            ("reorder_point", self.reorder_point or 0, 0, MAX_UNITS),
            ("safety_stock", self.safety_stock or 0, 0, MAX_UNITS),
        )
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise InvalidParameters.field(name, value, f"{low} to {high}")
        for name, share in (("fill_rate", self.fill_rate), ("service_level", self.service_level)):
            if share is not None and not 0.5 <= share < 1:
                raise InvalidParameters.field(name, str(share), "at least 0.5 and below 1")
        if not 0 <= self.lead_time_sd_days <= MAX_DAYS:
            raise InvalidParameters.field(
                "lead_time_sd_days", str(self.lead_time_sd_days), f"0 to {MAX_DAYS}"
            )

    @property
    def point_by_hand(self) -> int | None:
        """The reorder point somebody set, if anybody did."""
        given = [point for point in (self.reorder_point, self.minimum) if point is not None]
        return max(given, default=None)

    @property
    def protection_days(self) -> int:
        return self.lead_time_days + self.review_days


@dataclass(frozen=True)
class Receipt:
    """Units of an open purchase order or transfer, due in ``in_days``."""

    reference: str
    units: int
    in_days: int


@dataclass(frozen=True)
class Surplus:
    """Units another site can give away, and the days until they are here."""

    site: str
    units: int
    transit_days: int


@dataclass(frozen=True)
class Levels:
    expected_demand: int
    safety_stock: int
    reorder_point: int
    target: int
