"""What the payments server says of itself; its tools register on ``tools``."""

from typing import Annotated

from pydantic import Field

from common.toolset import Toolset

tools = Toolset(
    "payments",
    title="Payments",
    instructions=(
        "Money that customers pay and get back. search_payments or get_payment first: they show "
        "what is captured, held, disputed and refundable. Amounts are integers in minor units "
        "(1999 with EUR is 19.99; 1999 with JPY is 1999). Most changes answer approval_required: "
        "show the preview to your person, and repeat the same call with approval_id once they "
        "have agreed. Never split an amount to stay under a limit: limits add up."
    ),
)

Hours = Annotated[int, Field(ge=1, le=24 * 90)]
