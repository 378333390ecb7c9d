"""Every table, imported so that the metadata is whole."""

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
from common.tables.base import Base, Record, tables

__all__ = [
    "Base",
    "Record",
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
    "tables",
]
