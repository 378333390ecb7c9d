"""``python -m tests.faults [--seconds 60] [--kills 20] [--seed 1]``: exit 0 when all promises held.

The folder of a run that broke something is kept and named.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.harness import Harness


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="shop-faults-"))
    print(f"seven processes, {chosen.seconds:g} s, {chosen.kills} kills, seed {chosen.seed}")
    outcome = Harness(folder, chosen.seed).run(chosen.seconds, chosen.kills)
    print(outcome.told())
    if outcome.wrong:
        print(f"left in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
