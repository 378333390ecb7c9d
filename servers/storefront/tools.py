"""The storefront: what a shopper's agent may see and do."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from common.call import Call
from common.clock import stamp
from common.errors import NotFound
from common.money import Money
from common.rules import paid
from common.scopes import Scope
from common.shoppers import how_to_sign_in, shopper
from common.toolset import Effect, Toolset
from common.wire import Address, Identifier, Line, Minor, Sku, visible_line, written
from servers.storefront import (
    accounts,
    carts,
    catalogue,
    checkouts,
    membership,
    recommending,
    results_orders,
)
from servers.storefront.promotions import MOST_CODES
from servers.storefront.results import (
    CartView,
    CategoriesFound,
    CategoryFound,
    ProductFound,
    ProductsFound,
    Recommendations,
)
from servers.storefront.results_buying import (
    AccountView,
    MembershipView,
    Method,
    OwnOrder,
    PurchaseView,
    QuoteView,
)
from servers.storefront.search import Within

tools = Toolset(
    "storefront",
    title="Storefront",
    instructions=(
        "For shoppers: search, keep a cart, buy. Keep the cart_id that add_to_cart answers and "
        "pass it on every later call. Never guess between products: when candidates come back, ask "
        "the shopper. To buy: prepare_checkout, show the whole quote, and only when the shopper "
        "agrees checkout with its quote_id and total. Never ask for a password or a card number."
    ),
)

HERE = Path(__file__).parent
for _name, _what, _doing, _done in (
    ("products", "Products found, each with a button to put it into the cart.",
     "Looking through the shelves", "Products"),
    ("cart", "The cart: quantities to change, products to add, the subtotal.",
     "Looking after the cart", "The cart"),
    ("checkout", "The whole offer to agree to: address, shipping, payment, total; then the order.",
     "Adding it all up", "Checkout"),
    ("order-status", "How a purchase stands: order, payment, parcel.",
     "Looking for the order", "The order"),
    ("membership", "The shopper's membership and the tiers to join.",
     "Looking up the membership", "Membership"),
    ("sign-in", "Whether the shopper is signed in, with the latest orders.",
     "Looking up the account", "The account"),
):  # fmt: skip
    tools.widget(_name, HERE, _what, doing=_doing, done=_done)

ProductName = Annotated[
    str,
    Field(min_length=1, max_length=200, description="A name, SKU or GTIN."),
    AfterValidator(visible_line),
]
CartId = Annotated[
    str,
    written(
        r"^crt_[A-Za-z0-9_-]+$", "a cart_id as add_to_cart answers it", min_length=8, max_length=64
    ),
]
Few = Annotated[int, Field(ge=1, le=50)]
CartUnits = Annotated[int, Field(ge=1, le=carts.MOST_UNITS)]
QuoteId = Annotated[str, written(r"^q[0-9a-f]{16}$", "a quote_id as prepare_checkout answers it")]
Total = Annotated[int, Field(ge=0, le=10**12, description="Minor units: 1999 is 19.99 EUR.")]
Codes = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=40)]], Field(max_length=MOST_CODES)
]
Points = Annotated[int, Field(ge=0, le=10**9)]


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS, widget="products")
def search_products(
    call: Call,
    query: ProductName,
    category: Line | None = None,
    limit: Few = 20,
    max_price_minor: Minor | None = None,
    min_price_minor: Minor | None = None,
    in_stock: bool = False,
) -> ProductsFound:
    """Search the catalogue by name, SKU or GTIN; typos and word order are forgiven.

    Use it before add_to_cart when the shopper's words may fit several products.
    """
    within = Within(category, min_price_minor, max_price_minor)
    hits = catalogue.search(call, query, within, in_stock=in_stock, limit=limit)
    message = None
    if not hits:
        near = catalogue.nearest(call, query, within)
        message = f"Nothing fits. Nearest names: {', '.join(near)}." if near else "Nothing is sold."
    return ProductsFound(
        count=len(hits), products=[ProductFound.of(hit) for hit in hits], message=message
    )


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS)
def get_categories(call: Call) -> CategoriesFound:
    """List the categories of the catalogue with the number of products in each."""
    found = catalogue.categories(call)
    return CategoriesFound(
        count=len(found),
        categories=[CategoryFound(category=name, products=count) for name, count in found],
    )


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS, widget="products")
def get_recommendations(
    call: Call,
    skus: Annotated[list[Sku], Field(max_length=10)] = [],  # noqa: B006 - never changed
    limit: Annotated[int, Field(ge=1, le=20)] = 5,
) -> Recommendations:
    """What is bought together with these products, counted in the shop's orders; else what is
    popular. Each says why. Pass the reason on as it is."""
    return Recommendations.of(recommending.recommend(call, skus, limit))


@tools.tool(scope=Scope.STOREFRONT_WRITE, effect=Effect.CHANGES, widget="cart")
def add_to_cart(
    call: Call, product_name: ProductName, quantity: CartUnits, cart_id: CartId | None = None
) -> CartView:
    """Put a product into the cart. Without cart_id the shopper's own cart, or a new one.

    It never guesses: if the name fits several products it answers product_not_found with
    candidates; ask the shopper which one is meant.
    """
    return CartView.of(carts.add(call, product_name, quantity, cart_id))


@tools.tool(scope=Scope.STOREFRONT_WRITE, effect=Effect.CHANGES, widget="cart")
def remove_from_cart(
    call: Call, product_name: ProductName, cart_id: CartId, quantity: CartUnits | None = None
) -> CartView:
    """Take a product out of the cart: some units, or all of them without quantity."""
    return CartView.of(carts.remove(call, product_name, cart_id, quantity))


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS, widget="cart")
def get_cart(call: Call, cart_id: CartId) -> CartView:
    """Show what is in the cart at today's prices. It changes nothing."""
    return CartView.of(carts.contents(call, cart_id))


@tools.tool(scope=Scope.STOREFRONT_WRITE, effect=Effect.CHANGES, widget="checkout")
def prepare_checkout(
    call: Call,
    cart_id: CartId,
    ship_to: Address | None = None,
    recipient: Line | None = None,
    shipping_service: Line | None = None,
    promotion_codes: Codes | None = None,
    redeem_points: Points | None = None,
) -> QuoteView:
    """Say what the cart would cost, delivered: discounts, shipping, taxes, total, what is missing.

    Nothing is bought or reserved. What was said before stays unless said anew. Guests may use it;
    to buy, the shopper signs in.
    """
    details = checkouts.Details(
        ship_to.model_dump() if ship_to else None, recipient, shipping_service, promotion_codes,
        redeem_points,
    )  # fmt: skip
    return QuoteView.of(checkouts.prepare(call, cart_id, details))


@tools.tool(scope=Scope.STOREFRONT_BUY, effect=Effect.CHANGES, widget="checkout")
def checkout(
    call: Call,
    cart_id: CartId,
    quote_id: QuoteId,
    agreed_total_minor: Total,
    payment_method_id: Identifier | None = None,
) -> PurchaseView:
    """Buy exactly what the quote says, after the shopper agreed to its total.

    It reserves the goods, asks for the payment and places the order; if anything fails or takes
    too long, all of it is undone. Any difference from the quote is refused. Call it again to see
    how far it is: it never buys twice.
    """
    bought = checkouts.buy(call, cart_id, quote_id, agreed_total_minor, payment_method_id)
    return PurchaseView.of(bought)


@tools.tool(scope=Scope.STOREFRONT_ACCOUNT, effect=Effect.READS, widget="order-status")
def get_order_status(call: Call, order_id: Identifier) -> PurchaseView:
    """Tell how a purchase of the shopper stands, by its order_id or the checkout_id of checkout."""
    return results_orders.purchase(checkouts.status(call, order_id))


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS, widget="sign-in")
def get_account_status(call: Call) -> AccountView:
    """Tell whether the shopper is signed in, with cart, membership, stored methods and latest
    orders; for a guest, how to sign in."""
    found = accounts.account(call)
    customer, tier = found.who.customer, found.standing.tier
    return AccountView(
        signed_in=not found.who.guest,
        customer_id=customer.id if customer else None,
        name=f"{customer.first_name} {customer.last_name}".strip() if customer else None,
        cart_id=found.cart_id,
        membership=tier.id if tier and found.standing.current else None,
        payment_methods=[
            Method(payment_method_id=method.id, words=paid.method_words(method))
            for method in found.methods
        ],
        orders=[
            OwnOrder(
                order_id=order.id, status=order.status, payment_status=order.payment_status,
                total=str(Money(order.total_minor, order.currency)),
                placed_at=stamp(order.placed_at) if order.placed_at else None,
            )
            for order in found.orders
        ],
        how_to_sign_in=how_to_sign_in(call) if found.who.guest else None,
    )  # fmt: skip


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS, widget="membership")
def check_membership(call: Call) -> MembershipView:
    """Show the shopper's membership, points and renewal, and the tiers that can be joined."""
    who = shopper(call)
    note = how_to_sign_in(call) if who.guest else None
    return MembershipView.of(membership.standing(call, who.customer), note)


@tools.tool(scope=Scope.STOREFRONT_BUY, effect=Effect.CREATES, widget="membership")
def join_membership(
    call: Call,
    tier: Identifier,
    agreed_fee_minor: Total,
    payment_method_id: Identifier | None = None,
    auto_renew: bool = False,
) -> MembershipView:
    """Join a tier, change it, or renew it for a year, after the shopper agreed to its fee.

    check_membership tells the fee. Only free tiers renew by themselves.
    """
    joined = membership.join(call, tier, agreed_fee_minor, payment_method_id, auto_renew)
    return MembershipView.of(joined)


@tools.resource("shopping://products", scope=Scope.STOREFRONT_READ)
def products(call: Call) -> ProductsFound:
    """The first hundred products of the catalogue, by name."""
    hits = catalogue.listed(call, 100)
    return ProductsFound(
        count=len(hits), products=[ProductFound.of(hit, scored=False) for hit in hits]
    )


@tools.resource("shopping://categories", scope=Scope.STOREFRONT_READ)
def category_list(call: Call) -> CategoriesFound:
    """Every category of the catalogue."""
    return get_categories(call)


@tools.resource("shopping://cart/{user_id}", scope=Scope.STOREFRONT_READ)
def own_cart(call: Call, user_id: Identifier) -> CartView:
    """The signed-in shopper's own open cart (``me``); nobody else's can be read."""
    found = carts.own(call, user_id)
    if found is None:
        raise NotFound("There is no open cart of yours.", next="A guest reads it with get_cart.")
    return CartView.of(found)


@tools.prompt()
def shop_for(wish: Line) -> str:
    """Help a shopper find and collect what they wish for."""
    return (
        f"The shopper wishes for: {wish}\n"
        "1. Search with search_products; show at most five fitting products with their prices.\n"
        "2. Ask which and how many. Never choose for the shopper.\n"
        "3. add_to_cart with the exact name; keep the cart_id.\n"
        "4. Show the cart with its subtotal, and ask whether anything is missing."
    )


@tools.prompt()
def finish_shopping(cart_id: Line) -> str:
    """Take a filled cart to an order the shopper agreed to."""
    return (
        f"The cart is {cart_id}.\n"
        "1. get_cart: name every item, and every price that changed.\n"
        "2. prepare_checkout; ask for what is missing (address, recipient, shipping).\n"
        "3. Show the whole quote: items, discounts, codes that did not apply and why, shipping, "
        "taxes, total.\n"
        "4. Only when the shopper says yes to that total: checkout with its quote_id and total.\n"
        "5. Tell the order_id, or why nothing was bought."
    )


@tools.completes("category")
def category_names(call: Call, prefix: str) -> list[str]:
    low = prefix.casefold()
    return [name for name, _ in catalogue.categories(call) if name.casefold().startswith(low)]


@tools.completes("user_id")
def user_ids(call: Call, prefix: str) -> list[str]:
    return ["me"] if "me".startswith(prefix) else []


@tools.completes("wish")
def wishes(call: Call, prefix: str) -> list[str]:
    return [hit.card.name for hit in catalogue.search(call, prefix, limit=10)] if prefix else []
