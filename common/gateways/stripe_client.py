"""Stripe's library, loaded when first needed, and a client that cannot be pointed astray."""

import logging
import re
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from common.gateways.port import GatewayMisconfigured

API_VERSION: Final = "2026-10-28.endive"
NETWORK_RETRIES: Final = 2
NEXT_KEY: Final = "Set a restricted test key (rk_test_…) of Stripe's dashboard."
_KEY = re.compile(r"(?:sk|rk)_(?:org_)?(test|live)_\w{4,}")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def is_live(key: str, allow_live: bool) -> bool:
    """Whether the key is live. Raises GatewayMisconfigured for what is no secret or restricted key,
    and for a live one unless allowed. The key is never repeated in an error."""
    parts = _KEY.fullmatch(key)
    if parts is None:
        raise GatewayMisconfigured("This is no secret or restricted key of Stripe.", next=NEXT_KEY)
    live = parts.group(1) == "live"
    if live and not allow_live:
        raise GatewayMisconfigured(
            "A live key moves real money and is refused.",
            next=f"{NEXT_KEY} To use a live key, set SHOP_ALLOW_LIVE=1.",
        )
    return live


def client_of(key: str, live: bool, api_base: str | None, timeout_s: int) -> tuple[Any, Any]:
    """The library and a client. Raises GatewayMisconfigured without the library, and for an
    address that must not be given the key."""
    _check_base(api_base, live)
    stripe = _library()
    client = stripe.StripeClient(
        key,
        stripe_version=API_VERSION,
        base_addresses={"api": api_base.rstrip("/")} if api_base else None,
        max_network_retries=NETWORK_RETRIES,
        http_client=stripe.RequestsClient(timeout=timeout_s),
    )
    return stripe, client


def _check_base(api_base: str | None, live: bool) -> None:
    if api_base is None:
        return
    parts = urlsplit(api_base)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if live or not (local or parts.scheme == "https"):
        raise GatewayMisconfigured(
            "A key is sent to Stripe alone, or in test mode to https or this machine.",
            next="Leave the address out.",
        )


def _library() -> Any:
    try:
        stripe: Any = import_module("stripe")
    except ImportError as error:
        raise GatewayMisconfigured(
            "The library for Stripe is not installed.", next="Install the extra: shop[stripe]"
        ) from error
    # Its debug log holds whole answers, with names and addresses.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    stripe.enable_telemetry = False
    return stripe
