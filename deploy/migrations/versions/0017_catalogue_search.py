"""Search over names by trigrams, and a stamp that moves whenever the catalogue does."""

import sqlalchemy as sa
from alembic import op

revision = "0017_catalogue_search"
down_revision = "0010_storefront"

SHARDS = 16
VARIANT = "name, product_id, gtin, price_minor, currency, sellable, options"
PRODUCT = "name, description, category, brand, active"


def upgrade() -> None:
    op.create_table(
        "catalogue_stamp",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("changes", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        sqlite()
    else:
        postgresql()


def sqlite() -> None:
    op.execute("INSERT INTO catalogue_stamp (id, changes) VALUES (0, 0)")
    op.execute(
        "CREATE VIRTUAL TABLE search_variant USING fts5(sku UNINDEXED, name, tokenize='trigram')"
    )
    op.execute("INSERT INTO search_variant (sku, name) SELECT id, name FROM variant")
    op.execute(
        "CREATE TRIGGER search_variant_new AFTER INSERT ON variant BEGIN"
        " INSERT INTO search_variant (sku, name) VALUES (new.id, new.name); END"
    )
    op.execute(
        "CREATE TRIGGER search_variant_gone AFTER DELETE ON variant BEGIN"
        " DELETE FROM search_variant WHERE sku = old.id; END"
    )
    op.execute(
        "CREATE TRIGGER search_variant_renamed AFTER UPDATE OF id, name ON variant"
        " WHEN old.id IS NOT new.id OR old.name IS NOT new.name BEGIN"
        " DELETE FROM search_variant WHERE sku = old.id;"
        " INSERT INTO search_variant (sku, name) VALUES (new.id, new.name); END"
    )
    for table, columns in (("variant", VARIANT), ("product", PRODUCT)):
        for event in ("INSERT", "DELETE", f"UPDATE OF {columns}"):
            op.execute(
                f"CREATE TRIGGER catalogue_{table}_{event.split()[0].lower()} AFTER {event}"
                f" ON {table} BEGIN UPDATE catalogue_stamp SET changes = changes + 1; END"
            )


def postgresql() -> None:
    """A stamp of several rows, so that two writers of the catalogue seldom wait for each other."""
    op.execute(
        "INSERT INTO catalogue_stamp (id, changes)"
        f" SELECT n, 0 FROM generate_series(0, {SHARDS - 1}) n"
    )
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE INDEX search_variant_name ON variant USING gist (name gist_trgm_ops)")
    op.execute(
        "CREATE FUNCTION catalogue_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE catalogue_stamp SET changes = changes + 1"
        f" WHERE id = pg_backend_pid() % {SHARDS}; RETURN NULL; END $$"
    )
    for table, columns in (("variant", VARIANT), ("product", PRODUCT)):
        op.execute(
            f"CREATE TRIGGER catalogue_{table} AFTER INSERT OR DELETE OR UPDATE OF {columns}"
            f" ON {table} FOR EACH STATEMENT EXECUTE FUNCTION catalogue_changed()"
        )
