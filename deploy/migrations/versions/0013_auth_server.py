"""The small authorization server, its users and clients, and API keys."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, words

revision = "0013_auth_server"
down_revision = "0017_catalogue_search"

PERSON, NAME, URL = sa.String(300), sa.String(200), sa.String(2_000)


def upgrade() -> None:
    user()
    client()
    session()
    grant()
    code()
    token()
    assertion()
    attempt()
    key()
    invitation()
    api_key()


def user() -> None:
    op.create_table(
        "auth_user",
        sa.Column("id", ID, primary_key=True),
        sa.Column("subject", PERSON, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("password", PERSON, nullable=False),
        sa.Column("totp", sa.LargeBinary(400)),
        sa.Column("totp_step", sa.BigInteger, nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("disabled_at", TIME),
        sa.UniqueConstraint("subject"),
    )


def client() -> None:
    op.create_table(
        "auth_client",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("secret_sha256", ID),
        sa.Column("jwks", JSON),
        sa.Column("redirect_uris", JSON, nullable=False),
        sa.Column("grant_types", JSON, nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("introspects", sa.Boolean, nullable=False),
        sa.Column("registered_by", PERSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME),
        words("method", "none client_secret private_key_jwt"),
    )


def session() -> None:
    op.create_table(
        "auth_session",
        sa.Column("id", ID, primary_key=True),
        sa.Column("user_id", ID, sa.ForeignKey("auth_user.id"), nullable=False),
        sa.Column("methods", JSON, nullable=False),
        sa.Column("auth_time", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
    )
    op.create_index("ix_auth_session_user_id", "auth_session", ["user_id"])
    op.create_index("ix_auth_session_expires_at", "auth_session", ["expires_at"])


def grant() -> None:
    op.create_table(
        "auth_grant",
        sa.Column("id", ID, primary_key=True),
        sa.Column("client_id", URL, nullable=False),
        sa.Column("user_id", ID, sa.ForeignKey("auth_user.id"), nullable=False),
        sa.Column("resource", URL, nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("methods", JSON, nullable=False),
        sa.Column("auth_time", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME),
    )
    for column in ("client_id", "user_id", "expires_at"):
        op.create_index(f"ix_auth_grant_{column}", "auth_grant", [column])


def code() -> None:
    op.create_table(
        "auth_code",
        sa.Column("id", ID, primary_key=True),
        sa.Column("grant_id", ID, sa.ForeignKey("auth_grant.id"), nullable=False),
        sa.Column("redirect_uri", URL, nullable=False),
        sa.Column("challenge", sa.String(128), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME),
    )
    for column in ("grant_id", "expires_at"):
        op.create_index(f"ix_auth_code_{column}", "auth_code", [column])


def token() -> None:
    op.create_table(
        "auth_token",
        sa.Column("id", ID, primary_key=True),
        sa.Column("grant_id", ID, sa.ForeignKey("auth_grant.id"), nullable=False),
        sa.Column("refresh_sha256", ID),
        sa.Column("jti", ID, nullable=False),
        sa.Column("access_expires_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME),
        sa.UniqueConstraint("refresh_sha256"),
    )
    for column in ("grant_id", "expires_at"):
        op.create_index(f"ix_auth_token_{column}", "auth_token", [column])


def assertion() -> None:
    op.create_table(
        "auth_assertion",
        sa.Column("id", ID, primary_key=True),
        sa.Column("expires_at", TIME, nullable=False),
    )
    op.create_index("ix_auth_assertion_expires_at", "auth_assertion", ["expires_at"])


def attempt() -> None:
    op.create_table(
        "auth_attempt",
        sa.Column("id", ID, primary_key=True),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.Column("since", TIME, nullable=False),
    )
    op.create_index("ix_auth_attempt_since", "auth_attempt", ["since"])


def key() -> None:
    op.create_table(
        "auth_key",
        sa.Column("id", ID, primary_key=True),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("public", JSON, nullable=False),
        sa.Column("sealed", sa.LargeBinary(8_000), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("retired_at", TIME),
        sa.Column("published_until", TIME),
        sa.CheckConstraint("(retired_at is null) = (published_until is null)", name="retirement"),
    )


def invitation() -> None:
    op.create_table(
        "auth_invitation",
        sa.Column("id", ID, primary_key=True),
        sa.Column("uses_left", sa.BigInteger, nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("made_by", PERSON, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.CheckConstraint("uses_left >= 0", name="uses_left"),
    )


def api_key() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", ID, primary_key=True),
        sa.Column("issuer", URL, nullable=False),
        sa.Column("subject", PERSON, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("sha256", ID, nullable=False),
        sa.Column("hint", sa.String(8), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.UniqueConstraint("sha256"),
    )
    op.create_index("ix_api_key_subject", "api_key", ["subject", "id"])
