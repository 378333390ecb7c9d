"""Where a call's time goes: CPU a call in one process, without sockets, beside the bare SDK.

    python -m benchmarks.layers [--cases read write list] [--postgres URL]

Time on a core leaves out what other programs do meanwhile, but not that they take the caches; the
number of function calls depends on nothing. Each round measures the floor and ours in turns; the
table shows medians. The layers are found by a profiler in every thread. The files are in memory:
what a disk adds to a write is not in these figures.
"""

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop

from benchmarks import floor, profiling, stage
from benchmarks.calls import CASES, Case
from benchmarks.load import MakeRequest
from benchmarks.requests import Target
from common.audit.access import EVERY_S

PORT: Final = 80
CALLERS: Final = 16
SETTLE_S: Final = 2 * EVERY_S


class InProcess:
    """An ASGI app called directly."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def once(self, request: bytes) -> bytes:
        """The body of the answer to one request, given as bytes of HTTP/1.1."""
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        method, path, _ = first.split(b" ")
        headers = [(n.lower(), v) for n, _, v in (line.partition(b": ") for line in lines)]
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1", "server": ("127.0.0.1", PORT), "client": ("127.0.0.1", 1),
            "scheme": "http", "root_path": "", "method": method.decode(), "path": path.decode(),
            "raw_path": path, "query_string": b"", "headers": headers, "state": {},
        }  # fmt: skip
        parts: list[bytes] = []
        waiting = asyncio.get_running_loop().create_future()
        given = False

        async def receive() -> Any:
            nonlocal given
            if given:
                await waiting
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self.app(scope, receive, send)
        return b"".join(parts)

    async def burst(self, make: MakeRequest, first: int, count: int, case: Case | None) -> float:
        """Seconds on a core a call, over ``count`` calls, some at a time."""
        requests = iter([make(n, b"") for n in range(first, first + count)])

        async def caller() -> None:
            for request in requests:
                answer = await self.once(request)
                while b"issuer_unavailable" in answer:  # its keys are asked for anew now and then
                    await asyncio.sleep(0.2)
                    answer = await self.once(request)
                if case and case.accept not in answer:
                    raise SystemExit(f"{case.name}: {answer[:600].decode()}")

        gc.collect()
        before = time.process_time()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        await asyncio.sleep(SETTLE_S)  # what was put off, access records, belongs to these calls
        return (time.process_time() - before) / count


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[InProcess]:
    """Its lifespan around it."""
    incoming: asyncio.Queue[Any] = asyncio.Queue()
    started, stopped = asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete":
            started.set()
        if message["type"] == "lifespan.shutdown.complete":
            stopped.set()
        if message["type"].endswith("failed"):
            raise SystemExit(message.get("message", "not started"))

    task = asyncio.create_task(app({"type": "lifespan", "state": {}}, incoming.get, send))
    await incoming.put({"type": "lifespan.startup"})
    done = asyncio.create_task(started.wait())
    await asyncio.wait({task, done}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield InProcess(app)
    finally:
        await incoming.put({"type": "lifespan.shutdown"})
        await asyncio.wait_for(stopped.wait(), 30)
        await task


@asynccontextmanager
async def shop(home: Path, database_url: str) -> AsyncIterator[tuple[InProcess, Target]]:
    """The inventory and orders servers with their whole gate, in this process."""
    from common.http.serving import application
    from common.settings import Settings
    from servers.run import toolsets

    issuer = stage.Issuer()
    issuers = home / "issuers-here.toml"
    issuers.write_text(f'[[issuers]]\nurl = "{issuer.url}"\njwks_uri = "{issuer.url}/jwks"\n')
    public_url = f"http://127.0.0.1:{PORT}"
    settings = Settings.load({
        "SHOP_HOME": str(home), "SHOP_PUBLIC_URL": public_url, "SHOP_ISSUERS_FILE": str(issuers),
        "SHOP_AUTH_SERVER": "0", "SHOP_LOG_LEVEL": "error", "SHOP_RATE_LIMITS": "off",
        **({"SHOP_DATABASE_URL": database_url} if database_url else {}),
    })  # fmt: skip
    try:
        async with running(application(settings, lambda: toolsets(("inventory",)))) as app:
            path = "/inventory/mcp"
            target = Target(PORT, path, issuer.token(public_url + path))
            for _ in range(20):  # until the issuer's keys are there
                if b'"result"' in await app.once(target.request("tools/list", {})):
                    break
                await asyncio.sleep(0.5)
            yield app, target
    finally:
        issuer.close()


async def measured(options: argparse.Namespace) -> None:
    """Print one line a case and database, then the layers."""
    print(HEAD)
    urls = {"sqlite": ""} | ({"postgresql": options.postgres} if options.postgres else {})
    if options.only:
        urls = {options.only: urls[options.only]}
    found: list[Row] = []
    for database, url in urls.items():
        async with AsyncExitStack() as open_:
            folder = tempfile.TemporaryDirectory(prefix="shop-layers-", dir=_memory())
            home = Path(open_.enter_context(folder))
            skus = await stage.stocked(home, url)
            beneath = await open_.enter_async_context(running(floor.app()))
            ours, target = await open_.enter_async_context(shop(home, url))
            for case in CASES:
                if case.name in options.cases:
                    make = case.make(target, skus)
                    row = await _row(beneath, ours, make, case, database, options)
                    found.append(row)
                    print(row.line(), flush=True)
    for row in found:
        print(f"\n### {row.case}, {row.database}: where the time goes\n")
        print("| layer | share |\n| --- | --- |")
        for layer, share in row.shares.items():
            print(f"| {layer} | {share:.0%} |")


HEAD: Final = (
    "| call | database | CPU µs | floor's | ratio | function calls | floor's | ratio |\n"
    "|" + " --- |" * 8
)


@dataclass(frozen=True)
class Row:
    """One line of the table, a call."""

    case: str
    database: str
    cpu_s: float
    floor_s: float
    ratio: float
    calls: float
    floor_calls: float
    shares: dict[str, float]

    def line(self) -> str:
        return (
            f"| {self.case} | {self.database} | {self.cpu_s * 1e6:.0f} | {self.floor_s * 1e6:.0f}"
            f" | {self.ratio:.2f} | {self.calls:.0f} | {self.floor_calls:.0f}"
            f" | {self.floor_calls / self.calls:.2f} |"
        )


def _memory() -> str | None:
    """A folder in memory, if there is one: waiting for a disk lets others take the caches."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


async def _row(
    beneath: InProcess, ours: InProcess, make: MakeRequest, case: Case, database: str,
    options: argparse.Namespace,
) -> Row:  # fmt: skip
    made = Target(PORT).call("add", {"a": 2, "b": 3})

    def below(n: int, _: bytes) -> bytes:
        return made

    count, found = options.calls, []
    for turn in range(options.rounds + 1):
        floor_s = await beneath.burst(below, 0, count, None)
        ours_s = await ours.burst(make, turn * count, count, case)
        found.append((ours_s, floor_s))
    with profiling.every_thread() as floor_seen:
        await beneath.burst(below, 0, count, None)
    with profiling.every_thread() as seen:
        await ours.burst(make, 10**6, count, case)
    kept = found[1:]
    return Row(
        case.name, database, median(o for o, _ in kept), median(f for _, f in kept),
        median(f / o for o, f in kept), seen.calls() / count, floor_seen.calls() / count,
        seen.shares(),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=["read", "write", "list"])
    parser.add_argument("--postgres", help="URL of an empty database, to measure there too")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    uvloop.run(measured(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
