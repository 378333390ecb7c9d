"""``python -m tests.hosts [--seconds 10] [--seed 1] [--legs cut promoted]``: two application hosts,
nginx, a PostgreSQL primary and its replica, each in a network namespace of its own. Exit 0 when all
promises held. Needs root, iproute2, util-linux and nginx. The folder of a run that broke something
is kept and named.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.hosts.network import Impossible, boxed
from tests.hosts.plan import LEGS, Plan


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="before and after each fault")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--legs", nargs="*", choices=LEGS, default=LEGS)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    plan = Plan(chosen.seed, chosen.seconds, chosen.callers, tuple(chosen.legs))
    if chosen.inside is None:
        print(plan, flush=True)
        return outside(chosen.seed, list(sys.argv[1:] if arguments is None else arguments))
    from tests.hosts.story import Story  # slow to import, and only the box needs it

    outcome = asyncio.run(Story(chosen.inside, plan).run())
    print(outcome.told())
    return 1 if outcome.wrong else 0


def outside(seed: int, arguments: list[str]) -> int:
    """The same command in a box, with a folder that others may pass through."""
    command = [sys.executable, "-m", "tests.hosts", "--seed", str(seed)]
    folder = Path(tempfile.mkdtemp(prefix="shop-hosts-", dir="/tmp"))
    folder.chmod(0o711)
    broken = True
    try:
        inside = boxed([*command, *arguments, "--inside", str(folder)])
        broken = subprocess.run(inside, check=False).returncode != 0
    except Impossible:
        broken = False
        raise
    finally:
        if broken:
            print(f"left in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    return int(broken)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Impossible as error:
        print(f"SEVERAL HOSTS CANNOT BE MADE HERE: {error}", file=sys.stderr)
        raise SystemExit(2) from None
