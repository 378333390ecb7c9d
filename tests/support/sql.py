"""Plain SQL in a database of either kind, beside the program: for what it would never write."""

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine


def inside(url: str, work: Callable[[Connection], Any]) -> Any:
    """Run ``work`` in one transaction of a plain connection. Not within an event loop."""
    if url.startswith("sqlite"):
        engine = create_engine(url)
        try:
            with engine.begin() as connection:
                return work(connection)
        finally:
            engine.dispose()

    async def run() -> Any:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(run())
