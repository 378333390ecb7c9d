"""Requests as bytes, for the load generator: both protocol eras, with or without a token."""

import http.client
import json
from dataclasses import dataclass, field
from typing import Any, Final

NEW: Final = "2026-07-28"
OLD: Final = "2025-11-25"
CLIENT: Final = {"name": "benchmark", "version": "1"}


@dataclass(frozen=True)
class Target:
    """Where one server listens, and what a caller shows it."""

    port: int
    path: str = "/mcp"
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"

    def post(self, message: dict[str, Any], **more: str) -> bytes:
        """One POST on a connection that stays open."""
        body = json.dumps(message, separators=(",", ":")).encode()
        headers = {
            "Host": f"{self.host}:{self.port}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Content-Length": str(len(body)),
            **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
            **self.headers,
            **more,
        }
        lines = [f"POST {self.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def call(self, tool: str, arguments: dict[str, Any], id: int = 1, **params: Any) -> bytes:
        """``tools/call`` of the new era."""
        return self.request("tools/call", {"name": tool, "arguments": arguments, **params}, id)

    def request(self, method: str, params: dict[str, Any], id: int = 1) -> bytes:
        """A request of the new era, which stands alone."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": NEW,
            "io.modelcontextprotocol/clientInfo": CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        }
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params | {"_meta": meta}}
        named = {"Mcp-Name": params["name"]} if "name" in params else {}
        return self.post(message, **{"MCP-Protocol-Version": NEW, "Mcp-Method": method, **named})

    def old_call(self, session: str, tool: str, arguments: dict[str, Any], id: int = 1) -> bytes:
        """``tools/call`` of the older era, in a session if there is one."""
        message = {
            "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }  # fmt: skip
        kept = {"Mcp-Session-Id": session} if session else {}
        return self.post(message, **{"MCP-Protocol-Version": OLD, **kept})

    def open_session(self) -> str:
        """``initialize`` in the older era. The session's id, or an empty one."""
        asked = self.post({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"protocolVersion": OLD, "capabilities": {}, "clientInfo": CLIENT},
        })  # fmt: skip
        answer, _ = self.once(asked)
        session = answer.getheader("mcp-session-id") or ""
        kept = {"Mcp-Session-Id": session} if session else {}
        said = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        self.once(self.post(said, **{"MCP-Protocol-Version": OLD, **kept}))
        return session

    def once(self, request: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Send one request on a connection of its own; its answer and the body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        connection.connect()
        assert connection.sock is not None
        connection.sock.sendall(request)
        answer = http.client.HTTPResponse(connection.sock)
        answer.begin()
        body = answer.read()
        connection.close()
        return answer, body
