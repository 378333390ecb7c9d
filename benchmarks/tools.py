"""What tool lists and results cost a model in tokens.

python -m benchmarks.tools

Counted without a tokenizer: four characters a token, and two for each line's end with the indent
behind it (one for the indent, one for the punctuation it tears apart; a real tokenizer gave 2,056
and 1,429 for 20 orders, indented and not). A result's text stands beside the text that the SDK
makes of the same result when it is left to itself.
"""

import asyncio
import re
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_json

from benchmarks import stage
from common.approvals.tools import offered_by
from common.canonical import compact
from common.incoming import Done, Request
from common.server import listing
from common.settings import Settings
from common.shop import local_identity, opened
from common.wire import text_of
from servers.run import DOMAINS

RUN: Final = re.compile(r"\s{2,}")
ASKED: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("orders", "search_orders", {"limit": 20}),
    ("orders", "list_upcoming_orders", {}),
    ("logistics", "list_shipments", {"limit": 20}),
    ("payments", "search_payments", {}),
)


def tokens(text: str) -> int:
    """An estimate of what a tokenizer would count."""
    parts = RUN.split(text)
    return sum(map(len, parts)) // 4 + 2 * (len(parts) - 1)


async def results() -> list[tuple[str, int, int]]:
    """What was asked, tokens of our text, tokens of the SDK's."""
    found = []
    with tempfile.TemporaryDirectory(prefix="shop-tools-") as home:
        await stage.stocked(Path(home))
        async with opened(Settings.load({"SHOP_HOME": home}), duties=False) as shop:
            for domain, name, arguments in ASKED:
                spec = import_module(f"servers.{domain}.tools").tools.tools[name]
                request = Request(spec, arguments, local_identity(shop.settings))
                done = await shop.guard.call(request)
                assert isinstance(done, Done)
                done.structured.pop("_meta", None)
                theirs = to_json(done.structured, indent=2).decode()
                found.append((name, tokens(text_of(done.structured)), tokens(theirs)))
    return found


def main() -> int:
    """Exit 0."""
    print("| server | tools | what a model is shown | largest tool | the whole list |")
    print("|" + " --- |" * 5)
    for domain in DOMAINS:
        specs = offered_by(import_module(f"servers.{domain}.tools").tools).tools.values()
        shown = [
            len(spec.name) + len(spec.description) + len(compact(spec.input_schema))
            for spec in specs
        ]
        whole = len(
            compact([
                listing(spec).model_dump(mode="json", by_alias=True, exclude_none=True)
                for spec in specs
            ])
        )  # fmt: skip
        all_of_them, largest = sum(shown) // 4, max(shown) // 4
        print(f"| {domain} | {len(specs)} | {all_of_them:,} | {largest:,} | {whole // 4:,} |")
    print("\n| result | tokens | by the SDK itself | ratio |\n| --- | --- | --- | --- |")
    for name, ours, theirs in asyncio.run(results()):
        print(f"| {name} | {ours:,} | {theirs:,} | {ours / theirs:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
