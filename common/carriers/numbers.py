"""Tracking numbers: whose they look like, and whether their check digit is right."""

from dataclasses import dataclass

from tracking_numbers import get_tracking_number


@dataclass(frozen=True)
class Known:
    """``carrier`` is the library's name of the network; ``url`` where its parcels are followed."""

    carrier: str
    url: str | None


def recognised(number: str | None) -> Known | None:
    """None for a number of no known form, or with a wrong check digit: it may still be a number
    of a carrier that the library does not know, so it is used, and said not to be validated."""
    if not number or len(number) > 64:
        return None
    found = get_tracking_number(number)
    if found is None or found.validation_errors:
        return None
    return Known(found.courier.name, found.tracking_url)


def validated(number: str | None) -> bool:
    """Whether form and check digit are known and right."""
    return recognised(number) is not None


def s10(serial: int, prefix: str = "RX", country: str = "DE") -> str:
    """A number of the Universal Postal Union's S10 with its check digit."""
    digits = f"{serial % 10**8:08d}"
    rest = 11 - sum(w * int(d) for w, d in zip((8, 6, 4, 2, 3, 5, 9, 7), digits, strict=True)) % 11
    return f"{prefix}{digits}{ {10: 0, 11: 5}.get(rest, rest) }{country}"
