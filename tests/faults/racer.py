"""One of two that use the same approval: ``python -m tests.faults.racer folder id time``."""

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path

from common.errors import ShopError
from common.incoming import Done, Request
from common.shop import Shop
from tests.faults.bench import ANA, settings_of
from tests.support import toy


async def race(home: Path, id: str, now: datetime) -> None:
    shop = await Shop.open(settings_of(home), clock=lambda: now)
    request = Request(toy.tools.tools["take"], {"quantity": 100, "approval_id": id}, ANA)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    try:
        answer = await shop.guard.call(request)
        assert isinstance(answer, Done)
        print(json.dumps({"replayed": answer.replayed}))
    except ShopError as error:
        print(json.dumps(error.wire()))
    finally:
        await shop.close()


if __name__ == "__main__":
    asyncio.run(race(Path(sys.argv[1]), sys.argv[2], datetime.fromisoformat(sys.argv[3])))
