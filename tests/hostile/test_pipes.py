"""101, over stdio: what could be read two ways is refused, whichever reader would have won."""

import sys
from pathlib import Path

from common.settings import inherited
from tests.orders.seed import MUG, an_order, world
from tests.support.raw import raw_server
from tests.support.shop import a_shop, do

ROOT = Path(__file__).resolve().parents[2]
NOTE = (
    '{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"add_order_note",'
    '"arguments":{{"order_id":"{order}","idempotency_key":"one-key-{key}",{text}}}}}}}'
)
AMBIGUOUS = {
    "an argument twice": '"text":"a","text":"b"',
    "in other letters": '"text":"a","te\\u0078t":"b"',
    "a number that is none": '"text":NaN',
}


async def test_a_member_twice_is_refused_and_the_next_line_is_heard(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as shop:
        await do(shop, "*", world)
        order = await do(shop, "*", an_order((MUG, 1)))
    environment = inherited(SHOP_HOME=str(tmp_path), SHOP_OPERATOR="ana@example.com")
    command = [sys.executable, "-m", "servers", "orders"]
    async with raw_server(command, environment, ROOT) as server:
        assert (await server.told())["id"] == "hello"
        for number, (name, text) in enumerate(AMBIGUOUS.items(), 1):
            await server.say("", NOTE.format(id=number, order=order, key=number, text=text))
            told = await server.told()
            assert (told["id"], told["error"]["code"]) == (number, -32700), name
        good = NOTE.format(id=9, order=order, key=9, text='"text":"a"')
        twice = good.replace('"name":"add', '"name":"get_order","name":"add')
        for line, id in (
            (twice, 9), (good.replace('"id":9', '"id":9,"id":8'), None), (good[:-1], None),
            (f"[{good}]", None),
        ):  # fmt: skip
            await server.say(line)
            told = await server.told()
            assert (told["id"], told["error"]["code"]) == (id, -32700), line
        await server.say(good)
        noted = (await server.told())["result"]["structuredContent"]
        assert [note["text"] for note in noted["notes"]] == ["a"], "and only this one"
