"""``python -m tests.faults [--http|--both] [--seconds 60] [--kills 20] [--seed 1]``: exit 0 when
all promises held. The folder of a run that broke something is kept and named.

Without ``--http`` seven processes call the guard itself. With it, callers reach real servers over
HTTP, and ``--faults`` says what else befalls them. ``--both``: over HTTP on SQLite, then on
PostgreSQL, half of the time and of the kills each.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.faults import nemesis, planted, remote
from tests.faults.harness import Harness, Outcome
from tests.support.postgres import Postgres, Unavailable, embedded_server
from tests.support.shop import walled


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--http", action="store_true", help="callers over HTTP")
    parser.add_argument("--both", action="store_true", help="SQLite, then PostgreSQL, over HTTP")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own")
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="of each server")
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument(
        "--faults", nargs="*", choices=remote.FAULTS, help="default: all that can be had here"
    )
    parser.add_argument("--plant", choices=list(planted.BUGS), help="a bug it has to find")
    chosen = parser.parse_args(arguments)
    if not chosen.both:
        return int(not sound(over_http if chosen.http else within, chosen))
    chosen.seconds, chosen.kills = chosen.seconds / 2, chosen.kills // 2
    held = {}
    for chosen.postgres in (False, True):
        held["PostgreSQL" if chosen.postgres else "SQLite"] = sound(over_http, chosen)
    print(f"seed {chosen.seed}:", *(f"{n} {'sound' if h else 'BROKEN'};" for n, h in held.items()))
    return int(not all(held.values()))


def sound(run: Callable[[Path, argparse.Namespace], Outcome], chosen: argparse.Namespace) -> bool:
    """Whether one run broke nothing and came to its end."""
    folder = Path(tempfile.mkdtemp(prefix="shop-faults-"))
    try:
        outcome = run(folder, chosen)
    except Exception as error:
        traceback.print_exc()
        outcome = Outcome([f"the run itself ended: {type(error).__name__}: {error}"])
    print(outcome.told(), flush=True)
    if outcome.wrong:
        print(f"left in {folder}", flush=True)
        return False
    shutil.rmtree(folder)
    return True


def within(folder: Path, chosen: argparse.Namespace) -> Outcome:
    """The guard, called by seven processes."""
    print(f"seven processes, {chosen.seconds:g} s, {chosen.kills} kills, seed {chosen.seed}")
    return Harness(folder, chosen.seed).run(chosen.seconds, chosen.kills)


def over_http(folder: Path, chosen: argparse.Namespace) -> Outcome:
    """The whole face, from outside."""
    asked = remote.FAULTS if chosen.faults is None else chosen.faults
    faults = frozenset(asked) - {"disk" if chosen.postgres else "restarts"}
    with ExitStack() as stack:
        home, url, postgres = folder, "", None
        if chosen.postgres:
            postgres = stack.enter_context(embedded_server())
            url = Postgres(postgres.url).create_database()
            walled(url)
        if "disk" in faults:
            try:
                room = nemesis.DISK_MB + int(chosen.seconds)
                home = stack.enter_context(nemesis.small_disk(room))
            except nemesis.NoDisk as error:
                print(f"NO FULL DISK IN THIS RUN: {error}", file=sys.stderr)
                faults -= {"disk"}
        plan = remote.Plan(
            chosen.seed, chosen.seconds, chosen.kills, chosen.servers, chosen.workers,
            chosen.callers, faults, chosen.plant or "",
        )  # fmt: skip
        print(f"{plan}, on {'PostgreSQL' if url else 'SQLite'}", flush=True)
        outcome = asyncio.run(remote.Remote(home, plan, url, postgres, folder).run())
        if home != folder and outcome.wrong:
            shutil.copytree(home, folder, dirs_exist_ok=True)
        return outcome


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Unavailable as error:
        raise SystemExit(f"{error}") from None
