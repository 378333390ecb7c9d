"""People who may sign in: passwords, one-time codes, what they may hold at most.

A password is kept as scrypt (RFC 7914) with 32 MiB and a salt of its own: unlike a random secret
it can be guessed, so guessing must be slow. The secret of one-time codes has to be read again to
check a code; it is sealed with a key kept in a file.
"""

import base64
import secrets
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import pyotp
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from common.approvals import approvers
from common.auth import revocation
from common.auth.profiles import EMAIL
from common.auth.server.sealing import seal, unseal
from common.errors import Conflict, InvalidParameters, NotFound, RuleViolation
from common.ids import new_id
from common.scopes import Scope
from common.settings import Settings
from common.storage.locks import one_at_a_time
from common.tables.auth_server import AuthGrant, AuthSession, AuthUser

COST: Final = 15
SHORTEST: Final = 12
LONGEST: Final = 1_000
MOST_USERS: Final = 10_000
TOTP_SECONDS: Final = 30
USUAL_SCOPES: Final = tuple(str(s) for s in Scope if s is not Scope.APPROVALS_DECIDE)
_BLOCK, _PARALLEL = 8, 3


def hashed(password: str, cost: int = COST) -> str:
    """``scrypt$cost$salt$hash``. Slow on purpose: call it outside transactions."""
    salt = secrets.token_bytes(16)
    return f"scrypt${cost}${_text(salt)}${_text(_derived(password, salt, cost))}"


def matches(kept: str, password: str) -> bool:
    """Whether the password is the one kept. As slow as ``hashed``."""
    _, cost, salt, wanted = kept.split("$")
    found = _derived(password[:LONGEST], _bytes(salt), int(cost))
    return secrets.compare_digest(found, _bytes(wanted))


NOBODY: Final = f"scrypt${COST}${'A' * 22}==${'A' * 43}="
"""Compared against for names nobody has: the answer takes as long, and is always no."""


def add(
    session: Session,
    subject: str,
    name: str,
    password: str,
    scopes: Iterable[str],
    now: datetime,
    *,
    email: str = "",
) -> AuthUser:
    """A new user; ``password`` is hashed already, ``email`` theirs for certain. Raises
    InvalidParameters, Conflict."""
    subject, name = spelled(subject), name.strip()
    _check_text("subject", subject, 300)
    _check_text("name", name, 200)
    one_at_a_time(session, "auth-users")
    if find(session, subject) is not None:
        raise Conflict(f"There is a user {subject} already.")
    if len(everyone(session, MOST_USERS)) >= MOST_USERS:
        raise RuleViolation(f"There are {MOST_USERS} users already.")
    user = AuthUser(
        id=new_id("user"), subject=subject, name=name, email=checked_email(email),
        password=password, totp=None, totp_step=0,
        scopes=checked_scopes(scopes), created_at=now, changed_at=now, disabled_at=None,
    )  # fmt: skip
    session.add(user)
    session.flush()
    return user


def find(session: Session, subject: str) -> AuthUser | None:
    """By subject, as it may be typed."""
    return session.scalar(select(AuthUser).where(AuthUser.subject == spelled(subject)))


def held(session: Session, subject: str) -> list[str] | None:
    """What somebody may hold now; None for one who may do nothing any more."""
    user = find(session, subject)
    return None if user is None or user.disabled_at is not None else user.scopes


def get(session: Session, subject: str) -> AuthUser:
    """Raises NotFound."""
    user = find(session, subject)
    if user is None:
        raise NotFound(f"There is no user {subject[:80]}.", next="See: shop user list")
    return user


def everyone(session: Session, limit: int = 1_000) -> list[AuthUser]:
    """Users in order of subject, at most ``limit``."""
    return list(session.scalars(select(AuthUser).order_by(AuthUser.subject).limit(limit)))


def set_password(
    session: Session, settings: Settings, user: AuthUser, password: str, now: datetime
) -> None:
    """``password`` is hashed already. Every session and every grant of the user ends."""
    user.password, user.changed_at = password, now
    end_everything(session, settings, user, now)


def set_email(user: AuthUser, email: str, now: datetime) -> None:
    """Their address, or none. Tokens carry it as verified, so be certain. Raises
    InvalidParameters."""
    user.email, user.changed_at = checked_email(email), now


def set_scopes(user: AuthUser, scopes: Iterable[str], now: datetime) -> None:
    """Takes effect with the next token: those alive keep what they hold for a few minutes. The
    console looks again each time."""
    user.scopes, user.changed_at = checked_scopes(scopes), now


def disable(session: Session, settings: Settings, user: AuthUser, now: datetime) -> None:
    """No sign-in, no new token, no key from now on, and no approval of theirs counts."""
    user.disabled_at = user.disabled_at or now
    approvers.withhold(session, user.subject, True)
    end_everything(session, settings, user, now)


def enable(session: Session, user: AuthUser) -> None:
    """The reverse of ``disable``; sessions do not come back."""
    user.disabled_at = None
    approvers.withhold(session, user.subject, False)


def end_everything(session: Session, settings: Settings, user: AuthUser, now: datetime) -> None:
    """Sign the user out everywhere, revoke what they allowed, deny every token still alive."""
    issuer = settings.http.public_url
    revocation.deny_subject(
        session, now, issuer, user.subject, reason="user changed", by=settings.operator,
        before=now,
    )  # fmt: skip
    session.execute(delete(AuthSession).where(AuthSession.user_id == user.id))
    open_grants = (AuthGrant.user_id == user.id, AuthGrant.revoked_at.is_(None))
    session.execute(update(AuthGrant).where(*open_grants).values(revoked_at=now))


def new_totp() -> str:
    """A secret for one-time codes, in base 32."""
    return str(pyotp.random_base32(32))


def totp_uri(secret: str, subject: str, issuer: str) -> str:
    """What an authenticator app reads."""
    return str(pyotp.TOTP(secret).provisioning_uri(name=subject, issuer_name=issuer))


def set_totp(settings: Settings, user: AuthUser, secret: str | None, now: datetime) -> None:
    """Ask for one-time codes of this secret from now on, or no longer."""
    user.totp = seal(settings, secret.encode()) if secret else None
    user.totp_step, user.changed_at = 0, now


def totp_matches(settings: Settings, user: AuthUser, code: str, now: datetime) -> bool:
    """Whether the code is right now, or was within half a minute, and was not used before."""
    if user.totp is None:
        return False
    step = _step(unseal(settings, user.totp).decode(), code, now)
    if step <= user.totp_step:
        return False
    user.totp_step = step
    return True


def code_is_right(secret: str, code: str, now: datetime) -> bool:
    """Whether the code is right for a secret that nobody uses yet."""
    return _step(secret, code, now) > 0


def checked_scopes(scopes: Iterable[str]) -> list[str]:
    """Known ones, in the order of the enum. Raises InvalidParameters."""
    asked = set(scopes)
    known = [str(scope) for scope in Scope]
    unknown = sorted(asked - set(known))
    if unknown:
        wrong = unknown[0][:80]
        needed = f"{wrong!r} is no scope of this shop; there are {', '.join(known)}"
        raise InvalidParameters.field("scopes", wrong, needed)
    return [scope for scope in known if scope in asked]


def checked_email(email: str) -> str | None:
    """Raises InvalidParameters for what no token could carry."""
    email = email.strip()
    if email and not EMAIL.fullmatch(email):
        raise InvalidParameters.field("email", email, "an e-mail address in plain ASCII")
    return email or None


def check_password(password: str, subject: str) -> None:
    """Raises InvalidParameters for one that would be guessed."""
    if not SHORTEST <= len(password) <= LONGEST:
        needed = f"{SHORTEST} to {LONGEST} characters"
        raise InvalidParameters.field("password", None, needed)
    if len(set(password)) < 5 or password.casefold() in subject.casefold():
        raise InvalidParameters.field("password", None, "not so easy to guess")


def spelled(subject: str) -> str:
    """A subject as it is kept: Ana@Example.com and ana@example.com are one person."""
    return unicodedata.normalize("NFKC", subject).strip().casefold()


def _step(secret: str, code: str, now: datetime) -> int:
    """The step the code belongs to, 0 for none."""
    typed = "".join(code.split())
    if len(typed) != 6 or not typed.isascii() or not typed.isdigit():
        return 0
    present, totp = int(now.timestamp()) // TOTP_SECONDS, pyotp.TOTP(secret)
    steps = (present - 1, present, present + 1)
    right = [n for n in steps if secrets.compare_digest(str(totp.generate_otp(n)), typed)]
    return max(right, default=0)


def _derived(password: str, salt: bytes, cost: int) -> bytes:
    kdf = Scrypt(salt=salt, length=32, n=2**cost, r=_BLOCK, p=_PARALLEL)
    return kdf.derive(unicodedata.normalize("NFKC", password).encode("utf-8", "replace"))


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()


def _bytes(value: str) -> bytes:
    return base64.urlsafe_b64decode(value)


def _check_text(field: str, value: str, longest: int) -> None:
    if not 0 < len(value) <= longest or not value.isprintable() or "|" in value:
        raise InvalidParameters.field(field, value, f"1 to {longest} visible characters, no |")
