"""What is asked of each tool, so that it does real work in the demo shop.

Tools that say they may change or destroy something are not here: nothing they do could refute it.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from clients.seeding import seed_demo
from common.settings import Settings
from common.shop import opened
from common.shoppers import local_shopper
from servers.payments.tools import tools as payments
from servers.storefront.tools import tools as storefront
from tests.support.shop import connected, done

CUSTOMER: Final = "cus-0050"
_TEA: Final = {"sku": "TEA-0101"}
_HERE: Final = {"warehouse": "WH-NORTH"}
_CLAIM: Final = {"claim_id": "select id from claim"}
_CART: Final = {"cart_id": "select id from cart"}

ASKED: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "inventory": {
        "get_stock": _TEA,
        "get_stock_ledger": _TEA | _HERE,
        "list_low_stock": {},
        "forecast_demand": _TEA,
        "check_availability": _TEA | {"quantity": 2},
        "analyse_stock": {"report": "valuation"},
        "find_item": {"query": "stoneware mug"},
        "list_stock_documents": {"kind": "reservation"},
        "list_purchase_orders": {},
        "create_reorder": _TEA | _HERE | {"quantity": 12, "even_if_open": True},
        "reserve_stock": _TEA | _HERE | {"quantity": 1, "source_id": "window"},
        "start_cycle_count": _HERE,
    },
    "orders": {
        "get_order": {"order_id": "SO-1155"},
        "search_orders": {},
        "list_upcoming_orders": {},
        "find_customer": {"email": "yara.yilmaz.139@example.com"},
        "get_demand_feed": {},
        "list_variants": {"product_id": "prd-spo-06"},
        "place_order": {
            "customer_id": CUSTOMER, "payment_method_id": "card-0050",
            "lines": [_TEA | {"quantity": 1}],
        },
        "add_order_note": {"order_id": "SO-1155", "text": "Rang twice."},
    },
    "logistics": {
        "list_drivers": {},
        "list_vehicles": {},
        "quote_rates": {"order_id": "SO-1155"},
        "list_shipments": {},
        "track_shipment": {"shipment_id": "shp-SO-1155"},
    },
    "returns": {
        "check_return_eligibility": {"order_id": "SO-1129"},
        "get_return": {"return_id": "select id from rma"},
        "list_returns": {},
        "request_return": {"order_id": "SO-1129"},
    },
    "claims": {
        "list_claim_deadlines": {},
        "detect_late_shipments": {},
        "get_claim": _CLAIM,
        "list_claims": {},
        "open_claim": {
            "type": "damage", "order_id": "SO-1129", "shipment_id": "shp-SO-1129",
            "description": "It is wet.",
        },
        "draft_late_claims": {},
        "add_claim_evidence": _CLAIM | {
            "kind": "statement", "sha256": "0" * 64, "media_type": "text/plain", "size_bytes": 9,
        },
    },
    "payments": {
        "get_payment": {"payment_id": "pay-SO-1155"},
        "search_payments": {},
        "get_ledger": {"currency": "EUR"},
        "find_payment_methods": {"customer_id": CUSTOMER},
        "list_payouts": {},
        "get_dispute": {"dispute_id": "select id from dispute"},
        "list_disputes": {},
        "list_holds": {},
        "list_unsettled": {},
        "place_hold": {"payment_id": "pay-SO-1155", "reason": "fraud_review"},
        "record_dispute": {"payment_id": "pay-SO-1155", "reason": "fraudulent"},
        "reconcile_payout": {
            "provider": "simulator", "reference": "po-1", "currency": "EUR", "amount_minor": 8600,
            "arrived_on": "2026-11-02", "lines": [{
                "kind": "charge", "reference": "pay-SO-1155", "amount_minor": 8619, "fee_minor": 19,
            }],
        },
    },
    "storefront": {
        "search_products": {"query": "towel"},
        "get_categories": {},
        "get_recommendations": {},
        "get_account_status": {},
        "check_membership": {},
        "get_cart": _CART,
        "get_order_status": {"order_id": "select id from checkout"},
    },
}  # fmt: skip


async def prepared(folder: Path, now: datetime) -> None:
    """The demo shop, with a cart on its way to the till and a dispute."""
    settings = Settings.load({"SHOP_HOME": str(folder), "SHOP_CUSTOMER": CUSTOMER})
    async with opened(settings, clock=lambda: now, duties=False) as shop:
        await seed_demo(shop, days=14)
        async with connected(shop, storefront, who=local_shopper(settings)) as shopper:
            cart = await done(shopper, "add_to_cart", product_name="Towel, mint", quantity=1)
            await done(shopper, "prepare_checkout", cart_id=cart["cart_id"])
        async with connected(shop, payments) as agent:
            await done(agent, "record_dispute", payment_id="pay-SO-1129", reason="fraudulent")
