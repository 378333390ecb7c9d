"""``make judges``: judges that are not in the test suite; exit 0 when none of them objects."""

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.judges.outside import approval, fixture, harness, hints, others
from tests.judges.outside.stage import Verdict, stage

CONTENT = ("passed", "no object")


async def judged(judges: Path) -> list[Verdict]:
    with tempfile.TemporaryDirectory(prefix="shop-judges-") as folder:
        async with stage(judges, Path(folder)) as served:
            found = await harness.attacked(served)
            found += await approval.bound(served)
            found += await fixture.judged(served)
            found += await others.doors(served)
            found += await others.fuzzed(served)
            return found + await hints.told(served)


def main(judges: str) -> int:
    found = asyncio.run(judged(Path(judges).absolute()))
    for each in found:
        print(f"{each.judge:<17} {each.check:<16} {each.outcome:<12} {each.said[:160]}")
    count = Counter(each.outcome for each in found)
    print(", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items())))
    return int(any(each.outcome not in CONTENT for each in found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
