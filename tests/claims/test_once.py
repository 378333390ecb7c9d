"""A customer is made whole once: by a claim, or by a return."""

import pytest

from common.call import Call
from common.tables.returns import ReturnPolicy
from servers.returns.tools import tools as returns
from tests.claims.seed import LAMP, Desk
from tests.support.shop import connected, done


def thirty_days(call: Call) -> None:
    call.add(ReturnPolicy(id="standard", name="Thirty days", window_days=30, currency="EUR"))


@pytest.mark.parametrize("resolution", ["refund", "replacement", "credit"])
async def test_what_a_claim_settled_cannot_be_returned_as_well(desk: Desk, resolution: str) -> None:
    await desk.seed(thirty_days, "returns")
    async with connected(desk.shop, returns) as client:

        async def left() -> int:
            answer = await done(client, "check_return_eligibility", order_id="ord_1")
            return next(line["left"] for line in answer["lines"] if line["sku"] == LAMP)

        before = await left()
        id = await desk.reviewed(lines=[{"line_id": LAMP, "quantity": 1}])
        await desk.done("settle_claim", claim_id=id, resolution=resolution)
        assert await left() == before - 1
