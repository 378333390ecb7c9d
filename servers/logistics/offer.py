"""The toolset of the logistics server, and the argument types its tools share."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from common.toolset import Toolset
from common.wire import Logged, written

tools = Toolset(
    "logistics",
    title="Logistics",
    instructions=(
        "From the shop's door to the customer's. create_shipment for an order released to "
        "fulfilment (by a carrier: quote_rates first; without a carrier the shop's own vans bring "
        "it). Own vans: plan_routes, get_route, dispatch_route, then record_delivery or "
        "record_failed_attempt at each stop. Carriers: close_manifest, record_tracking_event, "
        "record_delivery. list_shipments shows what is late, stuck or without a van. A call may "
        "answer approval_required: show the preview to your person, and repeat the same call with "
        "approval_id once they have agreed."
    ),
)
tools.widget(
    "route-map", Path(__file__).parent, "One route: its way as a picture, its stops in order.",
    doing="Drawing the route", done="The route",
)  # fmt: skip


MOMENT: Final = "a time with its zone, such as 2026-12-05T14:30:00Z"


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(MOMENT) from None
    return text


Moment = Annotated[
    str,
    written(
        r"^20\d{2}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})$",
        MOMENT,
        description="RFC 3339",
    ),
    AfterValidator(_moment),
    Logged(),
]
LatE6 = Annotated[int, Field(ge=-90_000_000, le=90_000_000)]
LonE6 = Annotated[int, Field(ge=-180_000_000, le=180_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**31)]
Iterations = Annotated[int, Field(ge=1, le=20_000)]


def moment(text: str | None) -> datetime | None:
    """A validated Moment as an aware datetime."""
    return None if text is None else datetime.fromisoformat(text)
