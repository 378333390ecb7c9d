"""What a sealed state is refused for when clocks differ: 400, one reason for all on the wire, and
the true one in the log. The harness of the storms counts on both."""

from pathlib import Path
from typing import Any

import pytest
import time_machine

from benchmarks.requests import Target
from tests.faults.callers import AGREED, exchange
from tests.faults.words import STATE_REFUSED, TOO_NEW
from tests.support import toy
from tests.support.http import Face, a_face, on_port
from tests.support.shop import a_shop, do, settings_in

NOW = 1_764_000_000.0
ARGUMENTS = {"quantity": 10, "idempotency_key": "too-new-0001"}


async def asked(face: Face, token: str, at: float, **params: Any) -> tuple[int, dict[str, Any]]:
    """One round of a call that wants a yes, by a server whose clock says ``at``."""
    port = int(face.url.rpartition(":")[2])
    target = Target(port, "/inventory/mcp", token)
    with time_machine.travel(at, tick=True):
        return await exchange(target, target.call("take", ARGUMENTS, **params))


@pytest.mark.parametrize(
    ("ahead_s", "why"),
    [(58, ""), (62, TOO_NEW), (-598, ""), (-602, "requestState rejected on tools/call: expired")],
)
async def test_a_state_is_refused_from_a_minute_ahead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ahead_s: int, why: str
) -> None:
    http = on_port(settings_in(tmp_path)).http
    async with a_shop(tmp_path, http=http, policy_file=toy.policy_in(tmp_path)) as shop:
        await do(shop, "inventory", toy.stocked)
        async with a_face(shop, [toy.tools]) as face:
            token = face.token("inventory", "inventory:write")
            status, body = await asked(face, token, NOW + ahead_s)
            assert (status, body["result"]["resultType"]) == (200, "input_required"), body
            state = body["result"]["requestState"]
            status, body = await asked(face, token, NOW, inputResponses=AGREED, requestState=state)
    assert [each.getMessage() for each in caplog.records if "requestState" in each.msg] == (
        [why] if why else []
    )
    if why:
        assert status == 400
        assert body["error"]["data"] == {"reason": STATE_REFUSED}
    else:
        assert status == 200
        assert body["result"]["structuredContent"]["available"] == 990, body
