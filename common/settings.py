"""Everything the environment may set, read in one place.

==========================  ==========================================================
SHOP_HOME                   folder of the embedded database, keys and anchors
SHOP_DATABASE_URL           ``sqlite:///file`` or ``postgresql+asyncpg://…``
SHOP_POLICY_FILE            policy in place of the default one
SHOP_OPERATOR               who sits at the desktop host (a subject, such as an e-mail)
SHOP_SCOPES                 scopes of a local caller, by spaces; default: all but decide
SHOP_READ_ONLY              ``1``: no tool changes anything and the database opens read-only
SHOP_LOG_LEVEL              ``warning`` unless said
SHOP_ANCHOR_FILE            where anchors are appended; default ``$SHOP_HOME/anchors.jsonl``
SHOP_KEY_DIR                keys kept outside the database; default ``$SHOP_HOME/keys``
==========================  ==========================================================
"""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.scopes import Scope

NAMES = (
    "SHOP_HOME", "SHOP_DATABASE_URL", "SHOP_POLICY_FILE", "SHOP_OPERATOR", "SHOP_SCOPES",
    "SHOP_READ_ONLY", "SHOP_LOG_LEVEL", "SHOP_ANCHOR_FILE", "SHOP_KEY_DIR",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Read once at start and passed on."""

    home: Path
    database_url: str
    policy_file: Path | None
    operator: str
    scopes: frozenset[str]
    read_only: bool
    log_level: str
    anchor_file: Path
    key_dir: Path

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """From the environment, or from a mapping in its place."""
        env = os.environ if environment is None else environment
        home = Path(env.get("SHOP_HOME") or _default_home(env)).expanduser()
        policy = env.get("SHOP_POLICY_FILE")
        local = [str(scope) for scope in Scope if scope is not Scope.APPROVALS_DECIDE]
        return cls(
            home=home,
            database_url=env.get("SHOP_DATABASE_URL") or f"sqlite:///{home / 'shop.db'}",
            policy_file=Path(policy).expanduser() if policy else None,
            operator=env.get("SHOP_OPERATOR") or _login(),
            scopes=frozenset(env["SHOP_SCOPES"].split() if "SHOP_SCOPES" in env else local),
            read_only=env.get("SHOP_READ_ONLY", "") in {"1", "true", "yes"},
            log_level=(env.get("SHOP_LOG_LEVEL") or "warning").upper(),
            anchor_file=Path(env.get("SHOP_ANCHOR_FILE") or home / "anchors.jsonl"),
            key_dir=Path(env.get("SHOP_KEY_DIR") or home / "keys"),
        )


def inherited(**changes: str) -> dict[str, str]:
    """The environment for a subprocess: what a program needs to run, and our own settings."""
    keep = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV", *NAMES}
    return {key: value for key, value in os.environ.items() if key in keep} | changes


def _default_home(env: Mapping[str, str]) -> str:
    base = env.get("XDG_DATA_HOME") or "~/.local/share"
    return f"{base}/shop"


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
