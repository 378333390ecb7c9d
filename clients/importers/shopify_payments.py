"""What a Shopify order says of its money: paid, refunded, by which method."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from clients.importers.loader import Opened, minor
from clients.importers.report import Refused
from clients.importers.sheets import Row, id_of, moment
from common.rules import funds
from common.tables.base import Record
from common.tables.payments import Payment, Refund

COLUMNS: Final = {
    "financial status", "paid at", "payment method", "payment reference", "refunded amount",
    "outstanding balance",
}  # fmt: skip
_TAKEN: Final = ("paid", "partially_paid", "partially_refunded", "refunded")
_NOT_TAKEN: Final = ("", "pending", "authorized", "voided", "expired", "unpaid")
Made = dict[type[Record], list[dict[str, Any]]]


@dataclass(frozen=True)
class Paid:
    """The money of one order."""

    order_id: str
    customer: str
    currency: str
    placed: datetime
    now: datetime

    def rows(
        self, row: Row, order: dict[str, Any]
    ) -> tuple[Made, list[dict[str, Any]], list[Opened]]:
        """Payment and refund, the method they name, and their ledger entries; the order's payment
        status is set."""
        status = row.get("financial status", "").casefold().replace(" ", "_")
        if status not in (*_TAKEN, *_NOT_TAKEN):
            raise Refused(f"its financial status {status!r} is not known")
        total: int = order["total_minor"]
        unpaid = self._amount(row, "outstanding balance")
        refunded = self._amount(row, "refunded amount")
        paid = total - (unpaid if status == "partially_paid" else 0) if status in _TAKEN else 0
        if not 0 <= refunded <= paid and (refunded or paid):
            raise Refused("it was refunded more than was paid")
        order["payment_status"] = _word(paid, refunded, total)
        order["payment_method_id"] = None
        if paid <= 0:
            return {}, [], []
        method = self._method(row)
        order["payment_method_id"] = method["id"]
        made = self._made(row, method["id"], paid, refunded)
        return made, [method], self._opened(paid, refunded)

    def _made(self, row: Row, method: str, paid: int, refunded: int) -> Made:
        at = moment(row.get("paid at", "")) or self.placed
        rest = paid - refunded
        payment = {
            "id": f"{self.order_id}.paid1", "order_id": self.order_id,
            "customer_id": self.customer, "method_id": method, "position": 0,
            "amount_minor": paid, "currency": self.currency, "provider": "import",
            "purpose": "order",
            "status": "captured" if not refunded else "partially_refunded" if rest else "refunded",
            "created_at": at, "authorized_at": at, "captured_at": at,
        }  # fmt: skip
        refund = {
            "id": f"{self.order_id}.back2", "payment_id": payment["id"],
            "order_id": self.order_id, "method_id": method, "destination": "opening",
            "position": 1, "amount_minor": refunded, "currency": self.currency,
            "reason": "return", "status": "succeeded", "created_at": self.now,
            "settled_at": self.now,
        }  # fmt: skip
        return {Payment: [payment], Refund: [refund] if refunded else []}

    def _opened(self, paid: int, refunded: int) -> list[Opened]:
        account = funds.payment(f"{self.order_id}.paid1")
        opened = [Opened(account, paid, f"{self.order_id}.paid1")]
        if refunded:
            opened.append(Opened(account, refunded, f"{self.order_id}.back2", inward=False))
        return opened

    def _method(self, row: Row) -> dict[str, Any]:
        """The file names a way to pay, not a card: one method of that name for each customer."""
        name = row.get("payment method") or "unknown"
        return {
            "id": id_of(self.customer, name.casefold()), "customer_id": self.customer,
            "kind": "wallet", "brand": name[:32], "created_at": self.placed,
        }  # fmt: skip

    def _amount(self, row: Row, field: str) -> int:
        return minor(row.get(field) or "0", self.currency, field)


def _word(paid: int, refunded: int, total: int) -> str:
    if paid <= 0:
        return "not_paid"
    if paid <= refunded:
        return "refunded"
    if paid - refunded >= total:
        return "captured"
    return "partially_refunded" if refunded else "partially_captured"
