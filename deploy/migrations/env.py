"""Run by alembic: on the connection of common.schema, or for a developer on SHOP_DATABASE_URL."""

import asyncio
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from common.settings import Settings
from common.tables import Base
from common.tables.base import Utc


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        transactional_ddl=True,
        render_item=render_item,
        # Search indexes are written by hand: the metadata has no words for them.
        include_name=lambda name, kind, parents: not (name or "").startswith("search_"),
    )
    with context.begin_transaction():
        context.run_migrations()


def render_item(kind: str, item: Any, _: object) -> str | Literal[False]:
    """A new revision names the columns' types, not our classes, which may change."""
    if kind == "type" and isinstance(item, Utc):
        return "sa.DateTime(timezone=True)"
    return False


async def run_postgres(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


def main() -> None:
    given: Connection | None = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    url = Settings.load().database_url
    if url.startswith("sqlite"):
        with create_engine(url).begin() as connection:
            run(connection)
    else:
        asyncio.run(run_postgres(url))


main()
