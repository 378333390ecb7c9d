"""The one place that says which provider moves the money."""

from collections.abc import Mapping
from typing import Final

from common.clock import Clock
from common.gateways.port import GatewayMisconfigured, PaymentGateway
from common.gateways.simulator import Simulator
from common.gateways.stripe_client import NEXT_KEY, is_live
from common.settings import GatewaySettings, Settings

SIMULATED: Final = "provider.db"


def check(gateway: GatewaySettings) -> None:
    """Raises GatewayMisconfigured for what would be refused later: before a port is opened."""
    if gateway.name == "simulator":
        return
    if gateway.name != "stripe":
        raise GatewayMisconfigured(
            f"SHOP_GATEWAY={gateway.name[:40]} is no gateway.", next="Set simulator or stripe."
        )
    if not gateway.stripe_key:
        raise GatewayMisconfigured("SHOP_STRIPE_KEY is not set.", next=NEXT_KEY)
    is_live(gateway.stripe_key, gateway.allow_live)


def chosen(settings: Settings, clock: Clock) -> Mapping[str, PaymentGateway]:
    """The gateways by the name payments store. The simulator keeps its books in the shop's folder,
    for every process of this machine. Raises GatewayMisconfigured."""
    gateway = settings.gateway
    check(gateway)
    if gateway.name == "simulator":
        return {"simulator": Simulator(settings.home / SIMULATED, clock=clock)}
    from common.gateways.stripe_gateway import StripeGateway  # loads the extra's library

    stripe = StripeGateway(
        gateway.stripe_key, webhook_secret=gateway.webhook_secret, allow_live=gateway.allow_live,
        api_base=gateway.stripe_url,
    )  # fmt: skip
    return {"stripe": stripe}
