"""Who may decide, and the keys they decide with.

A passphrase derives an Ed25519 key (scrypt, RFC 7914); only the salt and the public key are
stored, so neither the database nor the servers can decide in anybody's name.

What this stops, and what it does not, when an agent has a shell on the same machine:

* ``shop approve`` does not help it: deciding takes a passphrase it was never told.
* Before the first approver is enrolled it could enroll itself. Enroll before an agent gets the
  shell; the enrolment is on record, and later ones need the key of an approver.
* With the salt and the public key it can try passphrases at its leisure, about ten a second and
  core. Twelve characters a person made up may fall; five random words will not.
* As the user who owns the database file it can write around all of this, and as the user who
  types the passphrase it can replace the program that asks. Nothing in the file prevents that;
  the anchored audit log shows effects without records. To prevent it, run the servers as another
  user or on another machine, and decide in the console.
* An approver who enrolls a second name of their own is two approvers. The record shows who
  vouched for whom.
"""

import secrets
import unicodedata
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.approvals import person, refusal
from common.canonical import canonical
from common.errors import Conflict, InvalidParameters, NotAuthenticated, NotFound, RuleViolation
from common.ids import new_id
from common.scopes import Scope
from common.storage.locks import one_at_a_time
from common.tables.spine import Approver

COST: Final = 2**15
SHORTEST_PASSPHRASE: Final = 12
LONGEST_PASSPHRASE: Final = 1_000
FEWEST_CHARACTERS: Final = 5
MOST_APPROVERS: Final = 1_000
_BLOCK, _PARALLEL = 8, 1


def enroll(
    session: Session,
    subject: str,
    name: str,
    passphrase: str,
    enrolled_by: str,
    now: datetime,
    *,
    voucher: Ed25519PrivateKey | None = None,
    n: int = COST,
) -> Approver:
    """A new approver. The very first needs nobody; every other one the key of an approver.

    ``enrolled_by`` is the subject who vouches, ``voucher`` their unlocked key, ``n`` the cost of
    scrypt (32 MiB at the default). Raises InvalidParameters, Conflict, ApprovalInvalid.
    """
    subject, name = subject.strip(), name.strip()
    _check_text("subject", subject, 300)
    _check_text("name", name, 200)
    _check_passphrase(passphrase, subject)
    one_at_a_time(session, "approvers")
    known = _everyone(session)
    if any(person(other.subject) == person(subject) for other in known):
        raise Conflict(f"{subject} is enrolled already, or was.")
    if len(known) >= MOST_APPROVERS:
        raise RuleViolation(f"There are {MOST_APPROVERS} approvers already.")
    if known:
        _vouched(session, enrolled_by, voucher)
    salt = secrets.token_hex(16)
    approver = Approver(
        id=new_id("approver"),
        subject=subject,
        name=name,
        salt=f"{n}:{salt}",
        public_key=_public(_derived(passphrase, salt, n)),
        scopes=[str(Scope.APPROVALS_DECIDE)],
        enrolled_by=enrolled_by if known else "",
        enrolled_at=now,
        revoked_at=None,
    )
    session.add(approver)
    session.flush()
    return approver


def unlock(approver: Approver, passphrase: str) -> Ed25519PrivateKey:
    """The private key. Raises NotAuthenticated. Slow on purpose: call it outside transactions."""
    cost, _, salt = approver.salt.partition(":")
    key = _derived(passphrase[:LONGEST_PASSPHRASE], salt, int(cost))
    if not holds_key(approver, key):
        raise NotAuthenticated("The passphrase does not match.", next="Type the passphrase again.")
    return key


def revoke(
    session: Session, subject: str, by: str, now: datetime, *, voucher: Ed25519PrivateKey
) -> Approver:
    """Take the right away at once: open requests no longer count what this person approved.

    ``by`` may be the person themselves. The last approver stays: enroll a successor first.
    """
    one_at_a_time(session, "approvers")
    _vouched(session, by, voucher)
    approver = find(session, subject)
    if approver.revoked_at is not None:
        raise Conflict(f"{subject} was revoked already.")
    if len(active(session)) == 1:
        raise RuleViolation(
            "The last approver cannot be revoked.", next="Enroll another approver first."
        )
    approver.revoked_at = now
    session.flush()
    return approver


def withhold(session: Session, subject: str, withheld: bool) -> None:
    """Who was sent away decides nothing, nor does what they approved count; until they are back.
    They stay enrolled. Nothing for who is no approver."""
    for approver in _everyone(session):
        if person(approver.subject) == person(subject):
            approver.scopes = [] if withheld else [str(Scope.APPROVALS_DECIDE)]
    session.flush()


def find(session: Session, subject: str) -> Approver:
    """By subject, revoked or not. Raises NotFound."""
    found = session.scalar(select(Approver).where(Approver.subject == subject))
    if found is None:
        raise NotFound(
            f"{subject[:80]} is not enrolled as an approver.",
            next="Say with --as who you are, as enrolled. See: shop approver list",
        )
    return found


def active(session: Session) -> list[Approver]:
    """Everybody who may decide now, in order of enrolment."""
    query = select(Approver).where(Approver.revoked_at.is_(None)).order_by(Approver.id)
    return list(session.scalars(query.limit(MOST_APPROVERS)))


def may_decide(approver: Approver | None) -> bool:
    """Enrolled, not revoked, and still holding the scope."""
    return (
        approver is not None
        and approver.revoked_at is None
        and str(Scope.APPROVALS_DECIDE) in approver.scopes
    )


def holds_key(approver: Approver, key: Ed25519PrivateKey) -> bool:
    """Whether the key is this approver's."""
    return secrets.compare_digest(_public(key), approver.public_key)


def sign(key: Ed25519PrivateKey, statement: dict[str, Any]) -> str:
    """Signature of the statement's canonical form, in hexadecimal."""
    return key.sign(canonical(statement)).hex()


def signed_by(approver: Approver, statement: dict[str, Any], signature: str | None) -> bool:
    """Whether this approver's key signed exactly this statement."""
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(approver.public_key))
        public.verify(bytes.fromhex(signature or ""), canonical(statement))
    except (InvalidSignature, ValueError):
        return False
    return True


def _vouched(session: Session, by: str, voucher: Ed25519PrivateKey | None) -> None:
    # The key itself, not a signature: what would be signed does not exist before the new key.
    found = session.scalar(select(Approver).where(Approver.subject == by)) if by else None
    if found is None or voucher is None or not may_decide(found) or not holds_key(found, voucher):
        raise refusal("not_approver")


def _everyone(session: Session) -> list[Approver]:
    return list(session.scalars(select(Approver).order_by(Approver.id).limit(MOST_APPROVERS)))


def _derived(passphrase: str, salt: str, n: int) -> Ed25519PrivateKey:
    kdf = Scrypt(salt=bytes.fromhex(salt), length=32, n=n, r=_BLOCK, p=_PARALLEL)
    seed = kdf.derive(unicodedata.normalize("NFKC", passphrase).encode())
    return Ed25519PrivateKey.from_private_bytes(seed)


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def _check_text(field: str, value: str, longest: int) -> None:
    if not 0 < len(value) <= longest or not value.isprintable():
        raise InvalidParameters.field(field, value, f"1 to {longest} visible characters")


def _check_passphrase(passphrase: str, subject: str) -> None:
    if not SHORTEST_PASSPHRASE <= len(passphrase) <= LONGEST_PASSPHRASE:
        needed = f"{SHORTEST_PASSPHRASE} to {LONGEST_PASSPHRASE} characters"
        raise InvalidParameters.field("passphrase", None, needed)
    if len(set(passphrase)) < FEWEST_CHARACTERS or passphrase.casefold() in subject.casefold():
        raise InvalidParameters.field("passphrase", None, "not so easy to guess")
