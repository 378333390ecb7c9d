"""The storefront: what a shopper's agent may see and do."""

from typing import Annotated

from pydantic import AfterValidator, Field

from common.call import Call
from common.clock import stamp
from common.errors import NotFound
from common.money import Money
from common.scopes import Scope
from common.toolset import Effect, Toolset
from common.wire import Identifier, Line, Minor, Result, visible_line
from servers.storefront import carts, catalogue
from servers.storefront.search import Within

tools = Toolset(
    "storefront",
    title="Storefront",
    instructions=(
        "For shoppers: search the catalogue, keep a cart. Start with search_products. Keep the "
        "cart_id that add_to_cart answers and pass it on every later call. Never guess between "
        "products: when candidates come back, ask the shopper."
    ),
)

ProductName = Annotated[
    str,
    Field(min_length=1, max_length=200, description="A name, SKU or GTIN."),
    AfterValidator(visible_line),
]
CartId = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^crt_[A-Za-z0-9_-]+$")]
Few = Annotated[int, Field(ge=1, le=50)]
CartUnits = Annotated[int, Field(ge=1, le=carts.MOST_UNITS)]


class ProductFound(Result):
    sku: str
    name: str
    category: str
    price: str
    price_minor: int
    currency: str
    in_stock: bool
    score: int | None = None

    @classmethod
    def of(cls, hit: catalogue.Hit, *, scored: bool = True) -> "ProductFound":
        card = hit.card
        return cls(
            sku=card.sku,
            name=card.name,
            category=card.category,
            price=str(Money(card.price_minor, card.currency)),
            price_minor=card.price_minor,
            currency=card.currency,
            in_stock=hit.available > 0,
            score=hit.score if scored else None,
        )


class ProductsFound(Result):
    count: int
    products: list[ProductFound]
    message: str | None = None


class CategoryFound(Result):
    category: str
    products: int


class CategoriesFound(Result):
    count: int
    categories: list[CategoryFound]


class CartLine(Result):
    sku: str
    name: str
    quantity: int
    price_minor: int
    total_minor: int
    price_was_minor: int | None = None


class CartView(Result):
    """``cart_id`` opens the cart: keep it, and show it to nobody."""

    cart_id: str | None
    currency: str
    items: list[CartLine]
    units: int
    subtotal_minor: int
    subtotal: str
    expires_at: str
    note: str | None = None

    @classmethod
    def of(cls, found: carts.Contents) -> "CartView":
        lines = [
            CartLine(
                sku=line.item.sku, name=line.item.name, quantity=line.item.quantity,
                price_minor=line.price_minor, total_minor=line.price_minor * line.item.quantity,
                price_was_minor=line.price_was_minor,
            )
            for line in found.lines
        ]  # fmt: skip
        changed = any(line.price_was_minor is not None for line in lines)
        return cls(
            cart_id=found.handle,
            currency=found.cart.currency,
            items=lines,
            units=sum(line.quantity for line in lines),
            subtotal_minor=found.subtotal_minor,
            subtotal=str(Money(found.subtotal_minor, found.cart.currency)),
            expires_at=stamp(found.cart.expires_at),
            note="A price changed since it was added." if changed else None,
        )


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS)
def search_products(
    call: Call,
    query: ProductName,
    category: Line | None = None,
    limit: Few = 10,
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


@tools.tool(scope=Scope.STOREFRONT_WRITE, effect=Effect.CREATES)
def add_to_cart(
    call: Call, product_name: ProductName, quantity: CartUnits, cart_id: CartId | None = None
) -> CartView:
    """Put a product into the cart. Without cart_id a cart is opened.

    It never guesses: if the name fits several products it answers product_not_found with
    candidates; ask the shopper which one is meant.
    """
    return CartView.of(carts.add(call, product_name, quantity, cart_id))


@tools.tool(scope=Scope.STOREFRONT_WRITE, effect=Effect.CHANGES)
def remove_from_cart(
    call: Call, product_name: ProductName, cart_id: CartId, quantity: CartUnits | None = None
) -> CartView:
    """Take a product out of the cart: some units, or all of them without quantity."""
    return CartView.of(carts.remove(call, product_name, cart_id, quantity))


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS)
def get_cart(call: Call, cart_id: CartId) -> CartView:
    """Show what is in the cart at today's prices. It changes nothing."""
    return CartView.of(carts.contents(call, cart_id))


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
    """The shopper's own open cart; nobody else's can be read."""
    found = carts.own(call) if user_id in (call.actor.subject, call.actor.id, "me") else None
    if found is None:
        raise NotFound("There is no open cart of yours.")
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


@tools.completes("category")
def category_names(call: Call, prefix: str) -> list[str]:
    low = prefix.casefold()
    return [name for name, _ in catalogue.categories(call) if name.casefold().startswith(low)]


@tools.completes("user_id")
def user_ids(call: Call, prefix: str) -> list[str]:
    return [call.actor.subject] if call.actor.subject.startswith(prefix) else []
