"""Application hosts, the proxy in front of them, and whose tokens they believe."""

import asyncio
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, Final

from benchmarks.requests import Target
from common.settings import inherited
from tests.deploy.test_manifests import certificate
from tests.faults.callers import exchange
from tests.faults.fleet import READY_S, ROOT, Signer
from tests.hosts.network import ADDRESSES, Network, found

NAME: Final = "shop.example.com"
PUBLIC: Final = f"https://{NAME}"
PORT, TLS_PORT = 8300, 443


class Everywhere(Signer):
    """An issuer on the loopback of every host, where its keys may be fetched without TLS."""

    def __init__(self, network: Network, *names: str) -> None:
        super().__init__()
        self._others = []
        for name in names:
            address = ("127.0.0.1", self._server.server_address[1])
            handler = self._server.RequestHandlerClass
            other = ThreadingHTTPServer(address, handler, bind_and_activate=False)
            other.socket.close()
            other.socket = network.listening(name, address)
            Thread(target=other.serve_forever, daemon=True).start()
            self._others.append(other)


class AppHost:
    """``python -m servers --http`` on a host of its own, for the proxy alone."""

    def __init__(self, network: Network, name: str, folder: Path, **env: str) -> None:
        self.network = network
        self.name = name
        self.address = ADDRESSES[name]
        self.log = folder / f"servers-{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.env = {
            "SHOP_PUBLIC_URL": PUBLIC, "SHOP_HTTP_HOST": self.address,
            "SHOP_HTTP_PORT": str(PORT), "SHOP_TLS": "terminated", "SHOP_AUTH_SERVER": "0",
            "SHOP_ALLOWED_HOSTS": NAME, "SHOP_ALLOWED_ORIGINS": PUBLIC,
            "SHOP_TRUSTED_PROXIES": ADDRESSES["proxy"], "SHOP_RATE_LIMITS": "off", **env,
        }  # fmt: skip

    def start(self) -> None:
        command = [sys.executable, "-m", "servers", "--http"]
        with self.log.open("ab") as words:
            self.process = self.network.start(
                self.name, command, cwd=ROOT, stdout=words, stderr=words,
                env=inherited(**self.env, PYTHONPATH=str(ROOT)),
            )  # fmt: skip

    async def ready(self) -> bool:
        """What it says of itself, asked from the network."""
        asked = f"GET /readyz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode()
        with suppress(OSError, EOFError, ValueError):
            async with asyncio.timeout(5):
                status, _ = await exchange(Target(PORT, host=self.address), asked)
            return status == 200
        return False

    async def until_ready(self) -> None:
        """Raises RuntimeError, with its last words."""
        deadline = time.monotonic() + READY_S
        while not await self.ready():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                words = self.log.read_text()[-1_500:]
                raise RuntimeError(f"{self.name} does not get ready\n{words}")
            await asyncio.sleep(0.1)

    async def again(self) -> None:
        """A new process, which remembers nothing."""
        assert self.process is not None
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        self.start()
        await self.until_ready()


class Proxy:
    """nginx with the configuration of ``deploy/proxy``: only names and places are filled in."""

    def __init__(self, network: Network, folder: Path, *apps: str) -> None:
        self.network = network
        self.folder = folder / "proxy"
        self.folder.mkdir(mode=0o711)
        certificate(self.folder)
        text = (ROOT / "deploy" / "proxy" / "shop.conf").read_text()
        one = "server servers:8300 "
        start = text.index(one)
        rest = text[start + len(one) : text.index("\n", start)]
        every = "\n".join(f"server {ADDRESSES[name]}:{PORT} {rest}" for name in apps)
        for old, new in (
            (one + rest, every), ("server identity:", "server 127.0.0.1:"), ("${SHOP_HOST}", NAME),
            ("/etc/nginx/tls", str(self.folder)), ("/run/", f"{self.folder}/"),
        ):  # fmt: skip
            text = text.replace(old, new)
        (self.folder / "shop.conf").write_text(text)
        self.trusts = ssl.create_default_context(cafile=self.folder / "tls.crt")
        self.trusts.check_hostname = False  # the certificate has no name but a common one

    def start(self) -> None:
        # As docs/deployment.md says: connections to a host that vanished are given up in seconds.
        few = ["sh", "-c", "echo 5 > /proc/sys/net/ipv4/tcp_retries2"]
        self.network.run("proxy", few)
        command = [found("nginx"), "-c", str(self.folder / "shop.conf"), "-g", "daemon off;"]
        with (self.folder / "words.log").open("ab") as words:
            self.network.start("proxy", command, stdout=words, stderr=words)

    def target(self, issuer: Signer) -> Any:
        """Where callers go, with a token for each of them and each server."""
        tokens: dict[tuple[str, str], str] = {}

        def target(domain: str, subject: str, _: Random) -> Target:
            audience = f"{PUBLIC}/{domain}/mcp"
            if (audience, subject) not in tokens:
                tokens[audience, subject] = issuer.token(audience, subject)
            return Target(
                TLS_PORT, f"/{domain}/mcp", tokens[audience, subject], {"Host": NAME},
                host=ADDRESSES["proxy"],
            )  # fmt: skip

        return target
