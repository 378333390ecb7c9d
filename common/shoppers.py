"""Who shops: a guest, a customer who signed in, or over stdio the customer of the configuration.

A guest is an Actor of the issuer ``guest`` with a subject that cannot be guessed. Everybody else
is the customer whose ``subject`` is theirs. The first link is made by an e-mail that the issuer
says it verified, when exactly one customer has it and nobody signs in as that customer yet; in
every other case a new customer is made. Nobody becomes somebody by naming an id.
"""

from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, select

from common.call import LOCAL_ISSUER, Actor, Call
from common.errors import NotAuthenticated
from common.scopes import Scope, of_domain
from common.settings import Settings, StorefrontSettings
from common.tables.orders import Customer

GUEST_ISSUER: Final = "guest"
SHOPPER_SCOPES: Final = frozenset(map(str, of_domain("storefront")))
GUEST_SCOPES: Final = frozenset({str(Scope.STOREFRONT_READ), str(Scope.STOREFRONT_WRITE)})
SIGN_IN: Final = (
    "Ask the shopper to sign in: connect this server with their account in the host (OAuth); "
    "never ask for a password in the chat."
)

STDIO: Final = "stdio"
NAME_CUSTOMER: Final = (
    "Over stdio nobody signs in: whoever runs this server names the shopper in the host's "
    "configuration, as SHOP_CUSTOMER (an id, or an e-mail that one customer has), and starts it "
    "again."
)

_terms: WeakKeyDictionary[Engine, StorefrontSettings] = WeakKeyDictionary()


@dataclass(frozen=True)
class Shopper:
    """``id`` owns carts. ``customer`` is None for guests, and until somebody who signed in buys,
    joins, or is recognised by a verified e-mail."""

    id: str
    guest: bool
    customer: Customer | None


def shopper(call: Call) -> Shopper:
    """Raises NotAuthenticated for staff and for a configured customer that does not exist."""
    actor = call.actor
    if not actor.scopes <= SHOPPER_SCOPES:
        raise NotAuthenticated(
            "These credentials are for staff, and staff does not shop with them.",
            next=how_to_sign_in(call),
        )
    if actor.issuer == GUEST_ISSUER:
        return Shopper(actor.id, True, None)
    if actor.issuer == LOCAL_ISSUER:
        return Shopper(actor.id, False, _configured(call, actor.subject))
    return Shopper(actor.id, False, _linked(call) or _by_email(call))


def signed_in(call: Call) -> Shopper:
    """Raises NotAuthenticated for a guest, saying how to sign in."""
    who = shopper(call)
    if who.guest:
        raise NotAuthenticated("This needs a shopper who signed in.", next=how_to_sign_in(call))
    return who


def how_to_sign_in(call: Call) -> str:
    """What a guest, or staff, is told: how one comes in depends on how they are connected."""
    return NAME_CUSTOMER if call.actor.client == STDIO else SIGN_IN


def customer_of(call: Call, name: str = "") -> Customer:
    """The customer who signed in, linked now or made new. For changing calls. Raises
    NotAuthenticated."""
    who = signed_in(call)
    customer = who.customer
    if customer is not None:
        if customer.subject is None and call.actor.issuer != LOCAL_ISSUER:
            customer.subject = call.actor.id
            call.session.flush()
            call.effect("link", "customer", customer.id)
        return customer
    first, _, last = (name or "Customer").partition(" ")
    email = call.actor.email or None
    return call.add(
        Customer(
            id=call.new_id("customer"), email=email, email_key=email.casefold() if email else None,
            first_name=first, last_name=last, name_key=f"{first} {last}".casefold(),
            subject=call.actor.id, created_at=call.now,
        )
    )  # fmt: skip


def tell_terms(engine: Engine, terms: StorefrontSettings) -> None:
    """Said once, when a shop is opened."""
    _terms[engine] = terms


def terms_of(call: Call) -> StorefrontSettings:
    """How long carts and checkouts last in this shop."""
    return _terms.get(call.session.get_bind().engine) or StorefrontSettings()


def local_shopper(settings: Settings) -> Actor:
    """Who shops over stdio: the configured customer, or a guest of this process."""
    held = settings.scopes & SHOPPER_SCOPES
    if settings.storefront.customer:
        return Actor(LOCAL_ISSUER, settings.storefront.customer, STDIO, held)
    return Actor(GUEST_ISSUER, token_urlsafe(18), STDIO, held)


def _linked(call: Call) -> Customer | None:
    return call.session.scalar(select(Customer).where(Customer.subject == call.actor.id))


def _by_email(call: Call) -> Customer | None:
    if not call.actor.email:
        return None
    found = _with_email(call, call.actor.email)
    if found is None or found.subject is not None:
        return None
    # Folding makes "ss" of "ß": whose address merely folds alike is somebody else.
    same = (found.email or "").isascii() and call.actor.email.isascii()
    return found if same else None


def _with_email(call: Call, email: str) -> Customer | None:
    query = select(Customer).where(Customer.email_key == email.casefold())
    rows = list(call.session.scalars(query.order_by(Customer.id).limit(2)))
    return rows[0] if len(rows) == 1 else None


def _configured(call: Call, name: str) -> Customer:
    found = call.session.get(Customer, name) or _with_email(call, name)
    if found is None:
        raise NotAuthenticated(
            "SHOP_CUSTOMER names no customer of this shop.",
            next="Correct SHOP_CUSTOMER in the host's configuration: an id, or an e-mail that one"
            " customer has.",
        )
    return found
