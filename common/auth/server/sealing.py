"""What leaves the process sealed: keys and secrets in the database, a sign-in under way in a form.

Fernet: encrypted, authenticated, dated. The key is in a file, so the database alone opens nothing.
"""

import base64
import json
from datetime import datetime
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken

from common.keys import auth_seal_key
from common.settings import Settings

FORM_SECONDS: Final = 900
LONGEST: Final = 16_000


def seal(settings: Settings, content: bytes) -> bytes:
    """For the database. Raises KeyUnusable."""
    return _fernet(settings).encrypt(content)


def unseal(settings: Settings, sealed: bytes) -> bytes:
    """Raises ValueError for what was sealed with another key."""
    try:
        return _fernet(settings).decrypt(sealed)
    except InvalidToken:
        raise ValueError("sealed with another auth-seal.key") from None


def seal_form(settings: Settings, content: dict[str, Any], now: datetime) -> str:
    """For a form or a link of ours, for FORM_SECONDS."""
    whole = json.dumps(content, separators=(",", ":")).encode()
    return _fernet(settings).encrypt_at_time(whole, int(now.timestamp())).decode()


def open_form(settings: Settings, sealed: str, now: datetime) -> dict[str, Any] | None:
    """None for what is not ours or too old."""
    if not sealed or len(sealed) > LONGEST:
        return None
    try:
        content = _fernet(settings).decrypt_at_time(
            sealed.encode("ascii", "replace"), FORM_SECONDS, int(now.timestamp())
        )
    except InvalidToken:
        return None
    opened: dict[str, Any] = json.loads(content)
    return opened


def _fernet(settings: Settings) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(auth_seal_key(settings.key_dir)))
