"""Where real data lies, and how a file is taken into a shop."""

from pathlib import Path
from typing import Any

from clients.importers import FORMATS
from clients.importers.loader import load
from clients.importers.report import Report
from common.shop import Shop
from tests.support import unavailable
from tests.support.shop import actor

DATA = Path(__file__).parents[3] / "shared" / "data"


def data(name: str) -> Path:
    """The path of real data, or a skip that names where it was looked for."""
    path = DATA / name
    if not path.exists():
        unavailable(f"there is no {path}")
    return path


async def take_in(shop: Shop, form: str, path: Path, **more: Any) -> Report:
    return await load(shop, FORMATS[form], path, by=actor(), **more)


def reasons(report: Report) -> dict[str, str]:
    return {refusal.id: refusal.reason for refusal in report.refused}
