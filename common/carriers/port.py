"""What the shop asks of a carrier, in the shop's words.

Plain blocking methods: a worker or a compute step calls them in a thread, never inside a
transaction. ``op_id`` is the carrier's idempotency key, as ``common.gateways.port`` has it: the
same id with the same parameters is answered as before, with others it raises OperationMismatch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from common.gateways.port import GatewayError, OperationMismatch, Outcome, State

MOST_NUMBERS: Final = 50
MOST_EVENTS: Final = 2_000
STATUSES: Final = frozenset({
    "tendered", "picked_up", "in_transit", "out_for_delivery", "delivered", "exception", "held",
    "lost", "returned_to_sender",
})  # fmt: skip


class CarrierUnavailable(GatewayError):
    """Too many calls, or no answer to a reading. Nothing was done: ask later."""


@dataclass(frozen=True)
class Parcel:
    """What a label is for. ``agreed_minor`` is the price of the contract with the carrier."""

    service: str
    weight_g: int
    volume_cm3: int
    ship_to: Mapping[str, Any]
    ship_from: Mapping[str, Any]
    agreed_minor: int
    currency: str

    def record(self) -> dict[str, Any]:
        """JSON for an outbox row; ``read`` is its inverse."""
        return {
            "service": self.service, "weight_g": self.weight_g, "volume_cm3": self.volume_cm3,
            "ship_to": dict(self.ship_to), "ship_from": dict(self.ship_from),
            "agreed_minor": self.agreed_minor, "currency": self.currency,
        }  # fmt: skip

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "Parcel":
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Rate:
    """A service that takes the parcel now, and its price."""

    service: str
    price_minor: int
    currency: str


@dataclass(frozen=True)
class Bought(Outcome):
    """A label. ``provider_ref`` is what voids it and goes on a manifest."""

    tracking_number: str = ""
    cost_minor: int = 0

    def record(self) -> dict[str, Any]:
        more = {"tracking_number": self.tracking_number, "cost_minor": self.cost_minor}
        return {**super().record(), **more}


@dataclass(frozen=True)
class Scan:
    """One event as the carrier tells it. ``event_id`` is the carrier's own: it may come twice, and
    before older ones. ``received_by`` comes with a delivery."""

    event_id: str
    tracking_number: str
    status: str
    occurred_at: datetime
    place: str = ""
    detail: str = ""
    exception_kind: str | None = None
    received_by: str = ""


class CarrierGateway(Protocol):
    """Methods raise CarrierUnavailable, OperationMismatch and GatewayMisconfigured."""

    @property
    def name(self) -> str:
        """What carriers store as their connection: ``simulator``."""

    def rates(self, parcels: Sequence[Parcel]) -> list[Rate | None]:
        """For each parcel and service what it costs now; None where it is not taken."""

    def buy(self, op_id: str, parcel: Parcel) -> Outcome:
        """A label (Bought)."""

    def void(self, op_id: str, label_ref: str) -> Outcome:
        """Give a label back that was not used. Failed with ``in_use`` once it was scanned."""

    def close(self, op_id: str, label_refs: Sequence[str]) -> Outcome:
        """The end of the day: these labels are handed over on one manifest."""

    def collect(self, op_id: str, opens_at: datetime, closes_at: datetime, parcels: int) -> Outcome:
        """Ask for a pick-up."""

    def ask(self, op_id: str) -> Outcome:
        """What became of an operation: a reading, never a second sending."""

    def scans(self, tracking_numbers: Sequence[str]) -> list[Scan]:
        """Events of at most MOST_NUMBERS parcels, in no order."""


__all__ = [
    "MOST_EVENTS", "MOST_NUMBERS", "STATUSES", "Bought", "CarrierGateway", "CarrierUnavailable",
    "GatewayError", "OperationMismatch", "Outcome", "Parcel", "Rate", "Scan", "State",
]  # fmt: skip
