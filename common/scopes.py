"""Every OAuth scope in the suite."""

from enum import StrEnum
from functools import lru_cache
from typing import Final


class Scope(StrEnum):
    """``<domain>:<verb>``. A domain's ``write`` implies its ``read``; nothing implies a
    restricted verb (refund, release, capture, credit, decide). Shoppers have the ``storefront``
    ones alone: with any other a caller is staff, and staff does not shop."""

    INVENTORY_READ = "inventory:read"
    INVENTORY_WRITE = "inventory:write"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    LOGISTICS_READ = "logistics:read"
    LOGISTICS_WRITE = "logistics:write"
    LOGISTICS_DISPATCH = "logistics:dispatch"
    RETURNS_READ = "returns:read"
    RETURNS_WRITE = "returns:write"
    RETURNS_SETTLE = "returns:settle"
    CLAIMS_READ = "claims:read"
    CLAIMS_WRITE = "claims:write"
    CLAIMS_SETTLE = "claims:settle"
    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    PAYMENTS_CAPTURE = "payments:capture"
    PAYMENTS_REFUND = "payments:refund"
    PAYMENTS_REFUND_UNLINKED = "payments:refund_unlinked"
    PAYMENTS_CREDIT = "payments:credit"
    PAYMENTS_RELEASE = "payments:release"
    STOREFRONT_READ = "storefront:read"
    STOREFRONT_WRITE = "storefront:write"
    STOREFRONT_BUY = "storefront:buy"
    STOREFRONT_ACCOUNT = "storefront:account"
    APPROVALS_DECIDE = "approvals:decide"


_EVERY: Final = frozenset(str(scope) for scope in Scope)


@lru_cache(maxsize=1_024)
def granted(held: frozenset[str]) -> frozenset[str]:
    """The scopes held and those they imply. Unknown scopes are dropped: they grant nothing."""
    known = _EVERY & held
    implied = {f"{scope.partition(':')[0]}:read" for scope in known}
    return frozenset(known | (implied & _EVERY))


def of_domain(domain: str) -> list[Scope]:
    """Every scope of one server, in declaration order."""
    return [scope for scope in Scope if scope.partition(":")[0] == domain]
