"""What may be written in the ledgers: every account class and transfer code, as data.

An account code starts with its class: in a ``units/{sku}`` ledger ``WH-1/available`` is of class
``available`` (after the warehouse, before an optional lot) and ``supplier`` of class ``supplier``;
in a ``money/{CUR}`` ledger ``payment:pay_1`` is of class ``payment``.
"""

from dataclasses import dataclass
from typing import Final, Literal

Side = Literal["debit", "credit", "none"]

UNITS: Final = "units"
MONEY: Final = "money"
POINTS: Final = "points"
EVERY_DOMAIN: Final = "*"

# Which balance of an account may not go below zero: see common.tables.spine.Account.
SIDES: Final[dict[str, dict[str, Side]]] = {
    UNITS: {
        "available": "debit", "quarantine": "debit", "damaged": "debit", "in_transit": "debit",
        "inspection": "debit", "refurbish": "debit",
        "supplier": "none", "customer": "none", "scrap": "none", "lost": "none",
        "adjustments": "none", "opening": "none",
    },
    MONEY: {
        "payment": "credit", "store_credit": "credit", "gift_card": "credit",
        "disputed": "credit", "receivable": "debit",
        "clearing": "none", "bank": "none", "held": "none", "goodwill": "none", "fees": "none",
        "dispute_losses": "none", "claims": "none", "write_off": "none", "opening": "none",
    },
    POINTS: {"member": "credit", "issued": "none", "redeemed": "none", "lapsed": "none"},
}  # fmt: skip

STATUSES: Final = frozenset(name for name, side in SIDES[UNITS].items() if side == "debit")


@dataclass(frozen=True)
class Entry:
    """One transfer code: from credit classes to debit classes, and the domains that may post it.

    ``posts_as`` and ``voids_as`` are set on codes of pending transfers: the codes of the transfer
    that resolves them. ``resolves`` marks those codes.
    """

    debit: frozenset[str]
    credit: frozenset[str]
    domains: frozenset[str]
    pending: bool = False
    posts_as: str | None = None
    voids_as: str | None = None
    resolves: bool = False


def _entry(
    debit: str,
    credit: str,
    domains: str,
    *,
    posts_as: str | None = None,
    voids_as: str | None = None,
    resolves: bool = False,
) -> Entry:
    return Entry(
        frozenset(debit.split()), frozenset(credit.split()), frozenset(domains.split()),
        posts_as is not None or voids_as is not None, posts_as, voids_as, resolves,
    )  # fmt: skip


_INSIDE = "available quarantine damaged inspection refurbish"
_SELLERS = "inventory orders storefront returns claims"
_STORED = "store_credit gift_card"
_SOURCES = f"clearing {_STORED}"
_PAYERS = "payments orders storefront returns"
_REFUNDERS = "payments orders returns claims"

ENTRIES: Final[dict[str, Entry]] = {
    # units
    "receive": _entry("available quarantine damaged inspection", "supplier", "inventory"),
    "reserve": _entry(
        "customer", "available", _SELLERS, posts_as="ship", voids_as="unreserve"
    ),
    "ship": _entry("customer", "available", "inventory orders logistics", resolves=True),
    "unreserve": _entry("customer", "available", f"{_SELLERS} logistics", resolves=True),
    "adjust_gain": _entry(_INSIDE, "adjustments", "inventory"),
    "adjust_loss": _entry("adjustments", _INSIDE, "inventory"),
    "count_gain": _entry(_INSIDE, "adjustments", "inventory"),
    "count_loss": _entry("adjustments", _INSIDE, "inventory"),
    "transfer_out": _entry("in_transit", "available", "inventory"),
    "transfer_in": _entry(_INSIDE, "in_transit", "inventory"),
    "quarantine": _entry("quarantine", "available damaged inspection", "inventory returns"),
    "unquarantine": _entry("available", "quarantine damaged", "inventory returns"),
    "damage": _entry("damaged", "available quarantine inspection in_transit", "inventory returns"),
    "scrap": _entry("scrap", _INSIDE, "inventory returns"),
    "return_in": _entry("inspection", "customer", "returns inventory logistics"),
    "restock": _entry("available", "inspection refurbish", "returns inventory"),
    "refurbish": _entry("refurbish", "inspection damaged quarantine", "returns inventory"),
    "dispose": _entry("scrap", "inspection refurbish damaged", "returns inventory"),
    "lose": _entry("lost", f"{_INSIDE} in_transit", "inventory returns logistics claims"),
    "supplier_return": _entry("supplier", _INSIDE, "inventory returns"),
    # money
    "authorize": _entry(_SOURCES, "payment", _PAYERS, posts_as="capture", voids_as="void"),
    "capture": _entry(_SOURCES, "payment", "payments orders logistics returns", resolves=True),
    "void": _entry(_SOURCES, "payment", _PAYERS, resolves=True),
    "charge": _entry(_SOURCES, "payment", _PAYERS),
    "refund": _entry("payment", _SOURCES, _REFUNDERS),
    "refund_unlinked": _entry("payment goodwill", _SOURCES, _REFUNDERS),
    "refund_failed": _entry(_SOURCES, "payment", "payments"),
    "capture_failed": _entry("payment", _SOURCES, "payments"),
    "credit_issue": _entry("goodwill", _STORED, "payments returns claims orders"),
    "credit_spend": _entry(_STORED, "payment", _PAYERS),
    "credit_refund": _entry("payment", _STORED, _REFUNDERS),
    "hold": _entry("payment", "held", "payments orders returns claims", voids_as="release"),
    "release": _entry("payment", "held", "payments orders returns claims", resolves=True),
    "price_difference": _entry(f"payment {_SOURCES}", f"payment {_SOURCES}", _PAYERS),
    "claim_receivable": _entry("receivable", "claims", "claims"),
    "claim_recovery": _entry("clearing bank", "receivable", "claims payments"),
    "claim_write_off": _entry("write_off", "receivable", "claims"),
    "dispute_open": _entry("payment", "disputed", "payments"),
    "dispute_lost": _entry("disputed dispute_losses", "clearing", "payments"),
    "dispute_won": _entry("disputed clearing", "payment", "payments"),
    "fee": _entry("fees", "clearing", "payments"),
    "payout": _entry("bank", "clearing", "payments"),
    # points of members
    "points_earn": _entry("issued", "member", "storefront"),
    "points_hold": _entry(
        "member", "redeemed", "storefront", posts_as="points_redeem", voids_as="points_return"
    ),
    "points_redeem": _entry("member", "redeemed", "storefront", resolves=True),
    "points_return": _entry("member", "redeemed", "storefront", resolves=True),
    "points_lapse": _entry("member", "lapsed", "storefront"),
    "points_take_back": _entry("member", "issued", "storefront"),
    "points_give_back": _entry("redeemed", "member", "orders"),
    # both: what an import brings along; and what every domain may find lapsed
    "opening": _entry(
        " ".join({**SIDES[UNITS], **SIDES[MONEY]}), " ".join({**SIDES[UNITS], **SIDES[MONEY]}),
        "import inventory payments orders storefront",
    ),
    "expire": _entry("", "", EVERY_DOMAIN, resolves=True),
}  # fmt: skip


def allowed(domain: str, code: str) -> bool:
    """Whether the domain may post transfers of this code. Unknown codes are nobody's."""
    entry = ENTRIES.get(code)
    if entry is None:
        return False
    return domain == EVERY_DOMAIN or EVERY_DOMAIN in entry.domains or domain in entry.domains


def class_of(ledger: str, code: str) -> str:
    """``units/…, WH-1/available/lot_1`` → ``available``; ``money/EUR, payment:x`` → ``payment``."""
    if ledger.startswith(f"{UNITS}/"):
        parts = code.split("/", 2)
        return parts[1] if len(parts) > 1 else code
    return code.partition(":")[0]


def side_of(ledger: str, code: str) -> Side:
    """Raises AssertionError for an account no book knows: a bug, not a caller's mistake."""
    side = SIDES.get(ledger.partition("/")[0], {}).get(class_of(ledger, code))
    if side is None:
        raise AssertionError(f"no book knows the account {code} of {ledger}")
    return side


def check_entry(
    domain: str, code: str, ledger: str, debit: str, credit: str, *, pending: bool
) -> None:
    """Raises AssertionError unless the domain may post this code between these accounts."""
    check_domain(domain, code)
    entry = ENTRIES[code]
    if entry.resolves:
        raise AssertionError(f"{code} only resolves pending transfers")
    if entry.pending != pending:
        raise AssertionError(f"{code} is {'' if entry.pending else 'not '}a pending transfer")
    if class_of(ledger, debit) not in entry.debit or class_of(ledger, credit) not in entry.credit:
        raise AssertionError(f"{code} does not go from {credit} to {debit}")


def check_domain(domain: str, code: str) -> None:
    """Raises AssertionError unless the domain may post this code."""
    if not allowed(domain, code):
        raise AssertionError(f"{domain} may not post {code}")


def resolution(code: str, kind: Literal["post", "void"]) -> str:
    """The code of the transfer that posts or voids a pending one. AssertionError if none does."""
    entry = ENTRIES[code]
    found = entry.posts_as if kind == "post" else entry.voids_as
    if found is None:
        raise AssertionError(f"{code} cannot be resolved by {kind}")
    return found
