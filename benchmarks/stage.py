"""What is measured: servers as processes of their own, each on a free port of loopback."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import psutil
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.requests import Target
from clients.seeding import SEEDER, seed_demo
from common.audit import chain
from common.audit.records import FORM, who
from common.call import Call
from common.rules import stock
from common.scopes import Scope
from common.settings import Settings, inherited
from common.shop import opened
from common.storage.database import new_audit_id
from common.tables.inventory import Variant

ROOT: Final = Path(__file__).resolve().parent.parent
READY_S: Final = 90.0
TOKEN_S: Final = 6 * 3600
WAREHOUSES: Final = ("WH-NORTH", "WH-SOUTH")


class NotStarted(Exception):
    """A server did not answer in time; its last words."""


@dataclass
class Running:
    """A server process, its workers included."""

    port: int
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """Time on a core since the start, of the process and its workers."""
        parent = psutil.Process(self.process.pid)
        times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))

    def memory_mb(self) -> float:
        """Resident memory of the process and its workers."""
        parent = psutil.Process(self.process.pid)
        every = (parent, *parent.children(recursive=True))
        return float(sum(each.memory_info().rss for each in every)) / 2**20


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: list[str], port: int, env: dict[str, str] | None = None, *, cwd: Path = ROOT
) -> Iterator[Running]:
    """A server, from its first accepted connection to its end."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command, cwd=cwd, env=inherited(**(env or {})), stdin=subprocess.DEVNULL,
            stdout=words, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            if not _listens(port, process):
                words.seek(0)
                said = words.read()[-2000:].decode(errors="replace")
                raise NotStarted(f"{' '.join(command)}\n{said}")
            yield Running(port, process)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


@contextmanager
def floor(workers: int = 1) -> Iterator[Running]:
    """The bare SDK with one trivial tool."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.floor", str(port), str(workers)]
    with running(command, port) as server:
        yield server


class Issuer:
    """An authorization server as small as can be: a key that is published, tokens signed by it."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256", {"kid": "bench", "use": "sig", "alg": "ES256"})
        keys = json.dumps({"keys": [self._key.as_dict(private=False)]}).encode()

        class Published(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(keys)))
                self.end_headers()
                self.wfile.write(keys)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Published)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()

    def token(self, audience: str, subject: str = "bench@example.com") -> str:
        """An access token with every scope a caller can have."""
        now = int(time.time())
        scopes = " ".join(str(scope) for scope in Scope if scope is not Scope.APPROVALS_DECIDE)
        claims = {
            "iss": self.url, "sub": subject, "client_id": "bench", "aud": audience, "iat": now,
            "exp": now + TOKEN_S, "jti": f"{subject}-{now}", "scope": scopes,
        }  # fmt: skip
        return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "bench"}, claims, self._key)


@dataclass
class Stage:
    """The demo shop served over HTTP behind its gate."""

    running: Running
    issuer: Issuer
    public_url: str

    def target(self, domain: str, subject: str = "bench@example.com") -> Target:
        """One of its servers, with a token for it."""
        path = f"/{domain}/mcp"
        token = self.issuer.token(self.public_url + path, subject)
        return Target(self.running.port, path, token)


@contextmanager
def shop(
    home: Path, *, workers: int = 1, database_url: str = "", domain: str = "", **env: str
) -> Iterator[Stage]:
    """The shop in ``home``, every server of it or one, with the whole gate on the path."""
    port, issuer = free_port(), Issuer()
    public_url = f"http://127.0.0.1:{port}"
    issuers = home / f"issuers-{port}.toml"
    issuers.write_text(f'[[issuers]]\nurl = "{issuer.url}"\njwks_uri = "{issuer.url}/jwks"\n')
    settings = {
        "SHOP_HOME": str(home),
        "SHOP_PUBLIC_URL": public_url,
        "SHOP_ISSUERS_FILE": str(issuers),
        "SHOP_AUTH_SERVER": "0",
        "SHOP_HTTP_WORKERS": str(workers),
        "SHOP_LOG_LEVEL": "error",
        **({"SHOP_DATABASE_URL": database_url} if database_url else {}),
        **env,
    }
    command = [sys.executable, "-m", "servers", *([domain] if domain else []), "--http"]
    try:
        with running(command, port, settings) as server:
            yield Stage(server, issuer, public_url)
    finally:
        issuer.close()
        issuers.unlink()


async def stocked(home: Path, database_url: str = "", *, skus: int = 250) -> list[str]:
    """The demo shop, with a million units of some items in two warehouses. Returns the items: so
    many that two calls under way are about two of them."""
    env = {"SHOP_HOME": str(home)} | ({"SHOP_DATABASE_URL": database_url} if database_url else {})
    async with opened(Settings.load(env)) as shop:
        await seed_demo(shop, days=30)
        audit_id, now = new_audit_id(), shop.guard.clock()

        def receive(session: Session) -> list[str]:
            call = Call(SEEDER, session, now, audit_id, "inventory", "benchmark")
            query = select(Variant.id).where(Variant.lot_tracked.is_(False)).order_by(Variant.id)
            chosen = list(session.scalars(query.limit(skus)))
            for sku in chosen:
                for warehouse in WAREHOUSES:
                    stock.receive(call, sku, warehouse, 1_000_000, "benchmark")
            record = {
                "v": FORM, "server": "shop", "version": shop.guard.version, "tool": "benchmark",
                "outcome": "ok", "actor": who(SEEDER), "args": {}, "effects": [],
            }  # fmt: skip
            chain.append(session, audit_id=audit_id, now=now, record=record, payload=None)
            return chosen

        return await shop.database.run("*", receive, audit_id=audit_id)


def spoil(home: Path, sku: str) -> None:
    """Whoever reads the item breaks: its name is no text, which nothing in the code expects."""
    connection = sqlite3.connect(home / "shop.db")
    with connection:
        connection.execute("UPDATE variant SET name = x'ff' WHERE id = ?", (sku,))
    connection.close()


def cores() -> int:
    """How many this machine has."""
    return os.cpu_count() or 1
