"""Shops from elsewhere: each module reads one format, ``loader`` takes it in."""

from typing import Final

from clients.importers import (
    northwind,
    shopify_inventory,
    shopify_orders,
    shopify_products,
    tau2,
)
from clients.importers.loader import Format

FORMATS: Final[dict[str, Format]] = {
    module.FORMAT.name: module.FORMAT
    for module in (tau2, northwind, shopify_orders, shopify_products, shopify_inventory)
}
