"""Which resources a transaction touched: remembered in its session, told once it is committed."""

from typing import Any, Final

from sqlalchemy.orm import Session

MOST: Final = 2_000


def touched(session: Session, uri: str) -> None:
    """The resource of this URI may read differently once this transaction is committed."""
    uris: set[str] = session.info.setdefault("touched", set())
    if len(uris) < MOST:
        uris.add(uri)


def row_touched(session: Session, row: Any) -> None:
    """An order, or anything that belongs to one."""
    order_id = row.id if row.__tablename__ == "sales_order" else getattr(row, "order_id", None)
    if order_id:
        touched(session, f"orders://order/{order_id}")


def account_touched(session: Session, ledger: str, code: str) -> None:
    """Stock of a warehouse: ``units/…, WH-1/available``."""
    warehouse, slash, _ = code.partition("/")
    if slash and ledger.startswith("units/"):
        touched(session, f"inventory://warehouse/{warehouse}/stock")


def approval_touched(session: Session, id: str) -> None:
    """A request somebody asks for, decides or uses."""
    touched(session, f"approvals://request/{id}")
