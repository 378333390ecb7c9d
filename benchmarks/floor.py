"""The floor: the bare SDK with one trivial tool, on the same uvicorn as ours.

python -m benchmarks.floor PORT [WORKERS]
"""

import socket
import sys

import uvicorn
from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess


class Sum(BaseModel):
    sum: int


def app() -> Starlette:
    """Streamable HTTP, JSON responses, nothing kept between requests."""
    mcp = MCPServer("floor", version="1", log_level="WARNING")

    @mcp.tool()
    async def add(a: int, b: int) -> Sum:
        """Add two integers."""
        return Sum(sum=a + b)

    return mcp.streamable_http_app(json_response=True, stateless_http=True)


def main() -> None:
    """Serve on loopback until told to stop."""
    port, workers = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.set_inheritable(True)
    config = uvicorn.Config(
        "benchmarks.floor:app", factory=True, port=port, workers=workers, loop="uvloop",
        http="httptools", ws="none", access_log=False, log_level="warning",
    )  # fmt: skip
    if workers > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
