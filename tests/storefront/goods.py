"""A small grocer's, for every test of the storefront."""

from common.call import Call
from common.rules import stock
from common.tables.inventory import Product, Variant, Warehouse

GOODS = {
    "EGG-12": ("Eggs, dozen, free range", "Dairy", 399, 20),
    "MILK-1": ("Whole milk 1 l", "Dairy", 149, 20),
    "MILK-2": ("Skimmed milk 1 l", "Dairy", 139, 20),
    "AVO-1": ("Avocado", "Fruit", 120, 20),
    "TOM-1": ("Tomatoes on the vine 500 g", "Fruit", 249, 2),
    "OUT-1": ("Saffron 1 g", "Spices", 899, 0),
}
TOLD = {"AVO-1": "Ripe and ready for guacamole."}


def goods(call: Call) -> None:
    call.add(Warehouse(id="WH-1", name="Main", region="north", address={}))
    for sku, (name, category, price, units) in GOODS.items():
        call.add(
            Product(id=f"P-{sku}", name=name, category=category, description=TOLD.get(sku, ""))
        )
        call.add(
            Variant(
                id=sku, product_id=f"P-{sku}", name=name, price_minor=price, currency="EUR",
                gtin="4006381333931" if sku == "AVO-1" else None, weight_g=500,
            )
        )  # fmt: skip
        if units:
            stock.receive(call, sku, "WH-1", units, "seed")
