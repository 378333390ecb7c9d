"""Where a call's time goes: CPU a call in one process, without sockets, beside the bare SDK.

    python -m benchmarks.layers [--cases read write list search order] [--postgres URL] [--profile]

Time on a core does not count what other programs do meanwhile, so the ratios hold on a busy
machine. Each round measures the floor and ours in turns; the table shows medians. ``--profile``
adds which layer the time goes to, found by a profiler in every thread.
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
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop

from benchmarks import floor, profiling, stage
from benchmarks.calls import CASES, Case
from benchmarks.load import MakeRequest
from benchmarks.requests import Target

PORT: Final = 80
CALLERS: Final = 16


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
                if case and case.accept not in answer:
                    raise SystemExit(f"{case.name}: {answer[:600].decode()}")

        gc.collect()
        before = time.process_time()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
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
            yield app, Target(PORT, path, issuer.token(public_url + path))
    finally:
        issuer.close()


async def measured(options: argparse.Namespace) -> None:
    """Print one line a case and database."""
    print("| call | database | CPU µs a call | floor µs | ratio |\n| --- | --- | --- | --- | --- |")
    urls = {"sqlite": ""} | ({"postgresql": options.postgres} if options.postgres else {})
    profiles: list[tuple[str, str, profiling.Shares]] = []
    for database, url in urls.items():
        async with AsyncExitStack() as open_:
            home = Path(
                open_.enter_context(
                    tempfile.TemporaryDirectory(prefix="shop-layers-", dir=_memory())
                )
            )
            skus = await stage.stocked(home, url)
            beneath = await open_.enter_async_context(running(floor.app()))
            ours, target = await open_.enter_async_context(shop(home, url))
            below = Target(PORT).call("add", {"a": 2, "b": 3})
            for case in CASES:
                if case.name not in options.cases:
                    continue
                make = case.make(target, skus)
                row = await _row(beneath, lambda n, _: below, ours, make, case, options)
                print(
                    f"| {case.name} | {database} | {row[0]} | {row[1]} | {row[2]:.2f} |", flush=True
                )
                if options.profile:
                    with profiling.every_thread() as found:
                        await ours.burst(make, 10**6, options.calls, case)
                    profiles.append((case.name, database, found.shares()))
                    if options.profile == "functions":
                        found.functions()
    for name, database, shares in profiles:
        print(f"\n### {name}, {database}\n")
        for layer, share in shares.items():
            print(f"| {layer} | {share:.0%} |")


def _memory() -> str | None:
    """A folder in memory, if there is one: waiting for a disk lets others take the caches."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


async def _row(
    beneath: InProcess, below: MakeRequest, ours: InProcess, make: MakeRequest, case: Case,
    options: argparse.Namespace,
) -> tuple[int, int, float]:  # fmt: skip
    found = []
    for turn in range(options.rounds + 1):
        floor_s = await beneath.burst(below, 0, options.calls, None)
        ours_s = await ours.burst(make, turn * options.calls, options.calls, case)
        found.append((ours_s, floor_s))
    kept = found[1:]
    ratio = median(floor_s / ours_s for ours_s, floor_s in kept)
    return (round(median(o for o, _ in kept) * 1e6), round(median(f for _, f in kept) * 1e6), ratio)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=["read", "write", "list"])
    parser.add_argument("--postgres")
    parser.add_argument("--profile", choices=("layers", "functions"))
    uvloop.run(measured(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
