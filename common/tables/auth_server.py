"""Tables of the small authorization server and of API keys. Written by common alone.

Secrets are never stored: of codes, refresh tokens, session cookies, client secrets and API keys
the SHA-256 (each is 256 random bits, so there is nothing to guess), of passwords a salted scrypt.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from common.tables.base import Base, Id
from common.tables.columns import one_of

AUTH_METHODS = ("none", "client_secret", "private_key_jwt")
Url = String(2_000)


class AuthUser(Base):
    """A person who may sign in. ``scopes`` is the most any token of theirs can carry.
    ``email``: theirs, which somebody at the terminal made sure of."""

    __tablename__ = "auth_user"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    subject: Mapped[str] = mapped_column(String(300), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(254))
    password: Mapped[str] = mapped_column(String(300))
    totp: Mapped[bytes | None] = mapped_column(LargeBinary(400))
    totp_step: Mapped[int] = mapped_column(default=0)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class AuthClient(Base):
    """A program that may ask for tokens. ``scopes`` empty: as far as its user may go."""

    __tablename__ = "auth_client"
    owner = "*"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    method: Mapped[str] = mapped_column(String(32))
    secret_sha256: Mapped[str | None] = mapped_column(String(64))
    jwks: Mapped[dict[str, Any] | None]
    redirect_uris: Mapped[list[str]]
    grant_types: Mapped[list[str]]
    scopes: Mapped[list[str]]
    introspects: Mapped[bool] = mapped_column(default=False)
    registered_by: Mapped[str] = mapped_column(String(300))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (one_of("method", AUTH_METHODS),)


class AuthSession(Base):
    """A signed-in browser: ``id`` is the SHA-256 of its cookie."""

    __tablename__ = "auth_session"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("auth_user.id"), index=True)
    methods: Mapped[list[str]]
    auth_time: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AuthGrant(Base):
    """What a person allowed a client once: the family of every token that came of it."""

    __tablename__ = "auth_grant"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    client_id: Mapped[str] = mapped_column(Url, index=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("auth_user.id"), index=True)
    resource: Mapped[str] = mapped_column(Url)
    scopes: Mapped[list[str]]
    methods: Mapped[list[str]]
    auth_time: Mapped[datetime]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class AuthCode(Base):
    """An authorization code: bound to client, redirect, challenge and grant, used once."""

    __tablename__ = "auth_code"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    grant_id: Mapped[str] = mapped_column(Id, ForeignKey("auth_grant.id"), index=True)
    redirect_uri: Mapped[str] = mapped_column(Url)
    challenge: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class AuthToken(Base):
    """One issue of tokens to a grant. ``refresh_sha256`` is null where there is only an access
    token; ``jti`` names the access token, to be denied when the family is."""

    __tablename__ = "auth_token"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    grant_id: Mapped[str] = mapped_column(Id, ForeignKey("auth_grant.id"), index=True)
    refresh_sha256: Mapped[str | None] = mapped_column(String(64), unique=True)
    jti: Mapped[str] = mapped_column(String(64))
    access_expires_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class AuthAssertion(Base):
    """A client assertion that was used: its id never counts again."""

    __tablename__ = "auth_assertion"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AuthAttempt(Base):
    """Failed sign-ins by what they came from or aimed at."""

    __tablename__ = "auth_attempt"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    failures: Mapped[int]
    since: Mapped[datetime] = mapped_column(index=True)


class AuthKey(Base):
    """A signing key. ``sealed`` is the private half, encrypted with a key kept in a file."""

    __tablename__ = "auth_key"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(16))
    public: Mapped[dict[str, Any]]
    sealed: Mapped[bytes] = mapped_column(LargeBinary(8_000))
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    published_until: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("(retired_at is null) = (published_until is null)", name="retirement"),
    )


class AuthInvitation(Base):
    """An initial access token: lets programs register themselves, a few times, for a while."""

    __tablename__ = "auth_invitation"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    uses_left: Mapped[int]
    scopes: Mapped[list[str]]
    made_by: Mapped[str] = mapped_column(String(300))
    expires_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("uses_left >= 0", name="uses_left"),)


class ApiKey(Base):
    """A key of one person's. ``hint`` is its end, to be told apart by."""

    __tablename__ = "api_key"
    owner = "*"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    issuer: Mapped[str] = mapped_column(String(2_000))
    subject: Mapped[str] = mapped_column(String(300))
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str] = mapped_column(String(8))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_api_key_subject", "subject", "id"),)
