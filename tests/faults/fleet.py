"""Servers over HTTP as processes of their own: started, killed, started again."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil
from joserfc import jwt

from benchmarks.requests import Target
from benchmarks.stage import Issuer, free_port
from common.scopes import Scope
from common.settings import inherited
from tests.faults.callers import exchange

ROOT: Final = Path(__file__).resolve().parents[2]
READY_S: Final = 90.0
TOKEN_S: Final = 6 * 3_600
PARENTS: Final = 0.1  # how many of the kills are of a process that has workers
PUBLIC: Final = "http://127.0.0.1:8300"  # what every server says it is, whatever its port


class Signer(Issuer):
    """Tokens of long life, so that a clock that jumps still finds them valid."""

    def token(self, audience: str, subject: str = "") -> str:
        now = int(time.time())
        scopes = " ".join(str(scope) for scope in Scope if scope is not Scope.APPROVALS_DECIDE)
        claims = {
            "iss": self.url, "sub": subject, "client_id": "faults", "aud": audience,
            "iat": now - 3_600, "exp": now + TOKEN_S, "jti": f"{subject}-{audience}",
            "scope": scopes,
        }  # fmt: skip
        return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "bench"}, claims, self._key)


@dataclass
class Server:
    """One address, and whichever process answers there now."""

    number: int
    port: int
    env: dict[str, str]
    wrong: dict[str, Any] = field(default_factory=dict)
    folder: Path = ROOT
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    starts: int = 0

    def start(self, logs: Path) -> None:
        """As a person would, or by the entry that has something wrong."""
        self.starts += 1
        command = [sys.executable, "-m", "servers", "--http"]
        if self.wrong:
            command = [sys.executable, "-m", "tests.faults.served", json.dumps(self.wrong)]
        with (logs / f"server-{self.number}.log").open("ab") as words:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=words, stderr=words,
                env=inherited(**self.env, PYTHONPATH=str(self.folder)),
            )  # fmt: skip

    async def until_ready(self) -> None:
        """Raises TimeoutError."""
        asked = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:8300\r\nConnection: close\r\n\r\n"
        async with asyncio.timeout(READY_S):
            while True:
                with suppress(OSError, EOFError, ValueError):
                    status, _ = await exchange(Target(self.port), asked)
                    if status == 200:
                        break
                if self.process is None or self.process.poll() is not None:
                    return
                await asyncio.sleep(0.05)
        self.ready = True

    def victims(self) -> list[psutil.Process]:
        """The processes that answer: itself, or its workers."""
        assert self.process is not None
        with suppress(psutil.Error):
            parent = psutil.Process(self.process.pid)
            alive = [c for c in parent.children() if c.status() != psutil.STATUS_ZOMBIE]
            return alive or [parent]
        return []


class Fleet:
    """Every server, and who signs its callers' tokens."""

    def __init__(self, folder: Path, count: int, random: Random, **env: str) -> None:
        self.folder = folder
        self.random = random
        self.issuer = Signer()
        issuers = folder / "issuers.toml"
        issuers.write_text(
            f'[[issuers]]\nurl = "{self.issuer.url}"\njwks_uri = "{self.issuer.url}/jwks"\n'
        )
        self.servers = [
            Server(
                number, port := free_port(),
                {
                    "SHOP_PUBLIC_URL": PUBLIC, "SHOP_HTTP_PORT": str(port),
                    "SHOP_ISSUERS_FILE": str(issuers), "SHOP_AUTH_SERVER": "0",
                    "SHOP_RATE_LIMITS": "off", "SHOP_LOG_LEVEL": "error",
                    "SHOP_LOG_FORMAT": "json", **env,
                },
            )
            for number in range(count)
        ]  # fmt: skip
        self.tokens: dict[tuple[str, str], str] = {}
        self.died = 0
        self.killed: set[psutil.Process] = set()
        self.returning: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """All of them. Raises TimeoutError, RuntimeError."""
        for server in self.servers:
            server.start(self.folder)
        await asyncio.gather(*(server.until_ready() for server in self.servers))
        if lame := [server.number for server in self.servers if not server.ready]:
            raise RuntimeError(f"servers {lame} do not start: see {self.folder}")

    def target(self, domain: str, subject: str, random: Random) -> Target:
        """One of the servers that answer, for this caller."""
        audience = f"{PUBLIC}/{domain}/mcp"
        if (audience, subject) not in self.tokens:
            self.tokens[audience, subject] = self.issuer.token(audience, subject)
        able = [server for server in self.servers if server.ready] or self.servers
        return Target(
            random.choice(able).port, f"/{domain}/mcp", self.tokens[audience, subject],
            {"Host": "127.0.0.1:8300"},
        )  # fmt: skip

    async def kill(self) -> None:
        """A process that answers, at this moment, and now and then one that has workers. Whatever
        its supervisor does not replace is started again; nobody waits for that."""
        while not (able := [server for server in self.servers if server.ready]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        server = self.random.choice(able)
        victims = server.victims()
        alone = len(victims) == 1
        victim = self.random.choice(victims) if victims else None
        if server.process is None or victim is None:
            return
        if not alone and len(able) > 1 and self.random.random() < PARENTS:
            victim = psutil.Process(server.process.pid)
        self.killed.add(victim)
        if victim.pid == server.process.pid:
            self.killed.update(victims)
        with suppress(psutil.Error):
            victim.send_signal(signal.SIGKILL)
        if victim.pid == server.process.pid:
            server.ready = False
            self.returning.add(again := asyncio.create_task(self.again(server)))
            again.add_done_callback(self.returning.discard)

    async def again(self, server: Server) -> None:
        """A new process at the same address until one answers: the database may be away."""
        server.ready = False
        assert server.process is not None
        orphans = [each for each in server.victims() if each.pid != server.process.pid]
        server.process.kill()
        await asyncio.to_thread(server.process.wait)
        await asyncio.to_thread(psutil.wait_procs, orphans, READY_S)  # they notice by themselves
        async with asyncio.timeout(READY_S):
            while not server.ready:
                server.start(self.folder)
                await server.until_ready()
                await asyncio.sleep(0.2)

    async def returned(self) -> None:
        """Whatever is on its way back has come."""
        await asyncio.gather(*self.returning)

    def served(self) -> bool:
        """Whether anybody answers anywhere."""
        return any(server.ready for server in self.servers)

    async def watch(self) -> None:
        """Whatever died by itself is started again, as an operator's supervisor does."""
        known: set[psutil.Process] = set()
        while True:
            await asyncio.sleep(0.1)
            for server in self.servers:
                if server.ready and server.process and server.process.poll() is not None:
                    await self.again(server)
            able = [server for server in self.servers if server.ready]
            self.died += sum(not each.is_running() for each in known - self.killed)
            known = {each for server in able for each in server.victims()}

    def close(self) -> None:
        for server in self.servers:
            if server.process is not None:
                for worker in server.victims():
                    with suppress(psutil.Error):
                        worker.kill()
                server.process.kill()
                server.process.wait()
        self.issuer.close()
