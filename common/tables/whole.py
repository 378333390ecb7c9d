"""Every table, imported so that the metadata is whole. A server imports those it works with."""

from collections.abc import Iterator

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


def tables() -> dict[str, type[Base]]:
    """Every mapped table, by its name in the database."""
    return {kind.__tablename__: kind for kind in _mapped(Base) if "__tablename__" in vars(kind)}


def _mapped(kind: type[Base]) -> Iterator[type[Base]]:
    for each in kind.__subclasses__():
        yield each
        yield from _mapped(each)


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
    "tables",
]
