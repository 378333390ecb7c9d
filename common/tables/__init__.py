"""Every table, imported so that the metadata is whole."""

from common.tables import (
    claims,
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
    "claims",
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
