"""``shop``: what people do at a terminal. Every command has --help; exit codes mean something.

Exit codes: 0 done · 1 refused or found broken · 2 could not be done or checked.
"""

import atexit
import gc
import os
import sys

import typer
from sqlalchemy.exc import DBAPIError

from clients.commands import (
    api_keys,
    approvals,
    approvers,
    audit,
    config,
    data,
    database,
    denials,
    oauth_clients,
    payouts,
    probing,
    users,
)
from clients.commands.common import NoShop
from common.errors import ShopError
from common.keys import KeyUnusable
from common.setting_values import SettingError
from common.storage.schema import SchemaError

app = typer.Typer(
    name="shop",
    help="Run a shop's operations with an agent, and keep the keys.\n\n"
    "The shop is the one in SHOP_HOME, by default ~/.local/share/shop. Exit codes: 0 done; "
    "1 refused or found broken; 2 could not be done or checked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
PARTS = (
    approvals, approvers, users, oauth_clients, api_keys, denials, audit, config, data, payouts,
    database, probing,
)  # fmt: skip
for part in PARTS:
    part.add_to(app)


def main() -> None:
    """The console script."""
    atexit.register(gc.freeze)  # or the end looks through all that was imported
    try:
        app()
    except ShopError as error:
        print(f"{error.code}: {error.message}\n{error.next}", file=sys.stderr)
        raise SystemExit(1) from None
    except (SettingError, NoShop) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except (OSError, ValueError, KeyUnusable, SchemaError, DBAPIError) as error:
        print(_said(error), file=sys.stderr)
        raise SystemExit(2) from None


def _said(error: Exception) -> str:
    """For an operator: what is wrong with which file, and no word of Python."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, DBAPIError):
        return f"The database answers: {error.orig}"
    return str(error)


if __name__ == "__main__":
    main()
