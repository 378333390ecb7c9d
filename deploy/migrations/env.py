"""Run by alembic: on the connection of ``schema``, or for a developer on SHOP_DATABASE_URL."""

import asyncio
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from common.settings import Settings
from common.tables.base import Utc
from common.tables.whole import Base


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        transactional_ddl=True,
        transaction_per_migration=connection.dialect.name == "postgresql",
        on_version_apply=note,
        render_item=render_item,
        # Search indexes are written by hand: the metadata has no words for them.
        include_name=lambda name, kind, parents: not (name or "").startswith("search_"),
    )
    with context.begin_transaction():
        context.run_migrations()


def note(*, ctx: Any, step: Any, **_: Any) -> None:
    """With each migration, who may still run on the database: see common.storage.schema.check."""
    revision = step.up_revision_id
    if not step.is_upgrade or not sa.inspect(ctx.connection).has_table("schema_note"):
        return
    said = ctx.connection.scalar(sa.text("SELECT oldest FROM schema_note"))
    compatible = getattr(step.up_revision.module, "compatible", False)
    ctx.connection.execute(sa.text("DELETE FROM schema_note"))
    ctx.connection.execute(
        sa.text("INSERT INTO schema_note (id, revision, oldest) VALUES (1, :revision, :oldest)"),
        {"revision": revision, "oldest": said if compatible and said else revision},
    )


def render_item(kind: str, item: Any, _: object) -> str | Literal[False]:
    """A new revision names the columns' types, not our classes, which may change."""
    if kind == "type" and isinstance(item, Utc):
        return "sa.DateTime(timezone=True)"
    return False


async def run_postgres(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
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
