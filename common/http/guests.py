"""Guests of the storefront over HTTP: callers without credentials, one to a session.

A client of the older era keeps a session, whose id is a secret of its own: the guest is derived
from it, and stays the same. A request of the newer era stands alone, and so does its guest: what
lasts is the cart, by its handle. Guests cost nothing to make, so limits are of the network they
come from: an IPv4 address, or the /64 that one subscriber has.
"""

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

from common.auth import Caller, Headers
from common.call import Actor
from common.limits import network_of
from common.settings import HttpSettings
from common.shoppers import GUEST_ISSUER, GUEST_SCOPES

CLIENT: Final = "guest"
OPEN: Final = frozenset({"storefront"})
"""Servers that guests may call."""


def guests(http: HttpSettings) -> dict[str, Callable[[Headers, str], Caller]]:
    """By server: who calls it without credentials."""
    return {domain: _guest_of(http.audience(domain)) for domain in OPEN}


def _guest_of(audience: str) -> Callable[[Headers, str], Caller]:
    def guest(headers: Headers, address: str) -> Caller:
        session = next((value for name, value in headers if name == b"mcp-session-id"), None)
        if session is None:
            subject = secrets.token_urlsafe(24)
        else:
            subject = hashlib.sha256(b"guest of " + session).hexdigest()
        actor = Actor(
            GUEST_ISSUER, subject, CLIENT, GUEST_SCOPES, network=network_of(address)
        )  # fmt: skip
        return Caller(actor, "guest", audience)

    return guest
