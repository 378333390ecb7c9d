"""The form of a tau2 retail shop (``db.json``), read by the importer, written by the exporter.

``{"products": {id: …}, "users": {id: …}, "orders": {id: …}}``; amounts are decimal dollars, one
item of an order is one unit, and the ids of every record are text.
"""

from typing import Final

CURRENCY: Final = "USD"

# Ours on the left, theirs on the right.
ADDRESS: Final = {
    "line1": "address1", "line2": "address2", "city": "city", "country": "country",
    "region": "state", "postal_code": "zip",
}  # fmt: skip
METHODS: Final = {"card": "credit_card", "wallet": "paypal", "gift_card": "gift_card"}
CANCEL_REASONS: Final = {
    "no_longer_needed": "no longer needed", "ordered_by_mistake": "ordered by mistake",
}  # fmt: skip

PENDING: Final = "pending"
AMENDED: Final = "pending (item modified)"
PROCESSED: Final = "processed"
DELIVERED: Final = "delivered"
CANCELLED: Final = "cancelled"
RETURN: Final = "return requested"
EXCHANGE: Final = "exchange requested"
STATUSES: Final = (PENDING, AMENDED, PROCESSED, DELIVERED, CANCELLED, RETURN, EXCHANGE)

ORDER_FIELDS: Final = frozenset(
    {"order_id", "user_id", "address", "items", "status", "fulfillments", "payment_history"}
)
# Absent or null unless something was asked for.
LATER_FIELDS: Final = frozenset(
    {
        "cancel_reason", "exchange_items", "exchange_new_items", "exchange_payment_method_id",
        "exchange_price_difference", "return_items", "return_payment_method_id",
    }
)  # fmt: skip
USER_FIELDS: Final = frozenset({"user_id", "name", "address", "email", "payment_methods", "orders"})
PRODUCT_FIELDS: Final = frozenset({"name", "product_id", "variants"})
VARIANT_FIELDS: Final = frozenset({"item_id", "options", "available", "price"})
# The return policy of imported orders.
POLICY: Final = "imported"
# On a return whose request named no item: all of the order.
WHOLE_ORDER: Final = "whole order"
