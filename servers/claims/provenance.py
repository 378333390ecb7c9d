"""Who delivered an item, as far as the records say."""

from collections.abc import Sequence

from sqlalchemy import select

from common.call import Call
from common.errors import RuleViolation
from common.tables.inventory import KitComponent, Lot, PurchaseLine, PurchaseOrder, SupplierItem
from servers.claims.valuing import Portion


def check_supplier(call: Call, supplier: str, portions: Sequence[Portion]) -> None:
    """Raises RuleViolation where the records name suppliers of an item, and this is none."""
    for sku in dict.fromkeys(each.sku for each in portions):
        known = suppliers_of(call, sku)
        if known and supplier not in known:
            raise RuleViolation(
                f"{supplier} did not deliver {sku}.",
                details={"sku": sku, "suppliers": sorted(known)},
                next="Claim against one of the suppliers named, or for other lines.",
            )


def suppliers_of(call: Call, sku: str) -> set[str]:
    """Whose goods were received, or whose its lots are; where nobody's were, who is listed with it.
    Of a kit, those of its parts. Empty where nothing is recorded."""
    parts = select(KitComponent.component_sku).where(KitComponent.kit_sku == sku)
    skus = [sku, *call.session.scalars(parts)]
    received = (
        select(PurchaseOrder.supplier_id)
        .join(PurchaseLine, PurchaseLine.purchase_order_id == PurchaseOrder.id)
        .where(PurchaseLine.sku.in_(skus), PurchaseLine.received + PurchaseLine.damaged > 0)
    )
    lots = select(Lot.supplier_id).where(Lot.sku.in_(skus), Lot.supplier_id.is_not(None))
    listed = select(SupplierItem.supplier_id).where(SupplierItem.sku.in_(skus)).distinct()
    delivered = set(call.session.scalars(received.union(lots)))
    return delivered or set(call.session.scalars(listed))
