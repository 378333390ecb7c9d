"""Every table, imported so that the metadata is whole. A server imports those it works with."""

from common.tables import (
    auth_server,
    auth_tokens,
    claims,
    console,
    fleet,
    inventory,
    logistics,
    orders,
    payments,
    returns,
    spine,
    stock_documents,
    storefront,
)
from common.tables.base import Base

__all__ = [
    "Base",
    "auth_server",
    "auth_tokens",
    "claims",
    "console",
    "fleet",
    "inventory",
    "logistics",
    "orders",
    "payments",
    "returns",
    "spine",
    "stock_documents",
    "storefront",
]
