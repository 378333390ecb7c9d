"""Seven servers as a desktop host would start them, one client each, and a narrator."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.types import ElicitResult
from rich.console import Console
from rich.markup import escape

from common.settings import inherited
from servers.run import DOMAINS

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = "ana@example.com"
SHOPPER = "cus-0002"


class DemoFailed(Exception):
    """The story did not go as it should."""


@dataclass
class Stage:
    """The open connections and where the story is told."""

    home: Path
    console: Console
    clients: dict[str, Client] = field(default_factory=dict)
    questions: int = 0

    def act(self, title: str) -> None:
        """A new chapter."""
        self.console.print(f"\n[bold cyan]{escape(title)}[/]")

    def say(self, text: str) -> None:
        """The narrator."""
        self.console.print(f"  {escape(text)}")

    def agent(self, text: str) -> None:
        """What the agent does."""
        self.console.print(f"  [green]agent[/]   {escape(text)}")

    def person(self, text: str) -> None:
        """What a person does."""
        self.console.print(f"  [magenta]person[/]  {escape(text)}")

    def server(self, text: str) -> None:
        """What a server answers."""
        self.console.print(f"  [yellow]server[/]  {escape(text)}")

    async def ask(self, server: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; whatever it answers, structured."""
        result = await self.clients[server].call_tool(tool, arguments)
        if not isinstance(result.structured_content, dict):
            raise DemoFailed(f"{server}.{tool} answered nothing structured")
        return result.structured_content

    async def do(self, server: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed now. Raises DemoFailed otherwise."""
        answer = await self.ask(server, tool, **arguments)
        if "code" in answer or answer.get("status") == "approval_required":
            raise DemoFailed(f"{server}.{tool}: {answer}")
        return answer

    async def propose(self, server: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must ask for a person's approval."""
        answer = await self.ask(server, tool, **arguments)
        if answer.get("status") != "approval_required":
            raise DemoFailed(f"{server}.{tool} should have asked: {answer}")
        self.server(f"approval required (level {answer['level']}): {answer['reason']}")
        return answer

    async def answered_payment(self, payment_id: str) -> dict[str, Any]:
        """The payment, when the provider has answered everything it was told about it."""
        for _ in range(100):
            found = await self.do("payments", "get_payment", payment_id=payment_id)
            if not found["unsettled"]:
                return found
            await asyncio.sleep(0.1)
        raise DemoFailed(f"the provider does not answer: {found['unsettled']}")

    async def refused(self, server: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must refuse."""
        answer = await self.ask(server, tool, **arguments)
        if "code" not in answer:
            raise DemoFailed(f"{server}.{tool} should have refused: {answer}")
        self.server(f"refused ({answer['code']}): {answer['message']}")
        return answer

    async def answer_question(self, context: Any, params: Any) -> ElicitResult:
        """The operator reads the question in the client and agrees."""
        self.questions += 1
        first = params.message.splitlines()[0]
        self.person(f"reads “{first}” in the client, and agrees")
        return ElicitResult(action="accept", content={"agree": True})


@asynccontextmanager
async def raised(home: Path, console: Console) -> AsyncIterator[Stage]:
    """Every server started over stdio on the shop in ``home``."""
    stage = Stage(home, console)
    async with AsyncExitStack() as stack:
        for domain in DOMAINS:
            parameters = StdioServerParameters(
                command=sys.executable,
                args=["-m", "servers", domain],
                env=inherited(
                    SHOP_HOME=str(home),
                    SHOP_OPERATOR=OPERATOR,
                    SHOP_CUSTOMER=SHOPPER,
                    PYTHONPATH=str(ROOT),
                    SHOP_GATEWAY="simulator",
                ),
                cwd=str(ROOT),
            )
            client = Client(parameters, elicitation_callback=stage.answer_question)
            stage.clients[domain] = await stack.enter_async_context(client)
        yield stage
