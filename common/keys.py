"""Keys kept in files outside the database: whoever owns the database alone cannot sign.

===================  =====================================================================
request-state.key    32 bytes: seals what a multi-round request hands to the client
auth-seal.key        32 bytes: seals the authorization server's signing keys, one-time code
                     secrets and sign-ins under way
anchor.key           Ed25519 private key, PEM: signs the anchors of the audit chain
anchor.pub           its public half, PEM: all that verifying needs
===================  =====================================================================

A missing key is made on first use. Several processes may do that at once: one wins, all read the
winner's file. A folder mounted read-only works as long as the files are there.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

REQUEST_STATE: Final = "request-state.key"
AUTH_SEAL: Final = "auth-seal.key"
ANCHOR: Final = "anchor.key"
ANCHOR_PUBLIC: Final = "anchor.pub"
STATE_BYTES: Final = 32


class KeyUnusable(Exception):
    """A key file is missing, unreadable or not the kind of key it should be."""


def request_state_key(key_dir: Path) -> bytes:
    """32 secret bytes. Raises KeyUnusable."""
    return _secret(key_dir, REQUEST_STATE)


def auth_seal_key(key_dir: Path) -> bytes:
    """32 secret bytes. Raises KeyUnusable."""
    return _secret(key_dir, AUTH_SEAL)


def anchor_key(key_dir: Path) -> Ed25519PrivateKey:
    """The key anchors are signed with; its public half is put beside it. Raises KeyUnusable."""
    pem = _kept(key_dir / ANCHOR, _new_private)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{ANCHOR} is not a private key in PEM form") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{ANCHOR} must be an Ed25519 key")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if _kept(key_dir / ANCHOR_PUBLIC, lambda: public, mode=0o644) != public:
        raise KeyUnusable(f"{ANCHOR_PUBLIC} does not belong to {ANCHOR}")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """A public key from a PEM file, such as ``anchor.pub``. Raises KeyUnusable."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyUnusable(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{path.name} is not a public key in PEM form") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(f"{path.name} must be an Ed25519 key")
    return key


def _secret(key_dir: Path, name: str) -> bytes:
    key = _kept(key_dir / name, lambda: secrets.token_bytes(STATE_BYTES))
    if len(key) != STATE_BYTES:
        raise KeyUnusable(f"{name} must hold {STATE_BYTES} bytes")
    return key


def _kept(path: Path, make: Callable[[], bytes], *, mode: int = 0o600) -> bytes:
    """The bytes of ``path``, made if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise KeyUnusable(f"{path.name} cannot be read: {error.strerror}") from None
    try:
        _create(path, make(), mode)
        return path.read_bytes()
    except OSError as error:
        raise KeyUnusable(f"{path.name} cannot be made: {error.strerror}") from None


def _create(path: Path, content: bytes, mode: int) -> None:
    """Put a whole file in place unless one is there: a link appears at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first: its key is the key
    finally:
        draft.unlink()


def _new_private() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
