"""How a file is taken into a shop."""

from pathlib import Path
from typing import Any

from clients.importers import FORMATS
from clients.importers.loader import load
from clients.importers.report import Report
from common.shop import Shop
from tests.support.shop import actor


async def take_in(shop: Shop, form: str, path: Path, **more: Any) -> Report:
    return await load(shop, FORMATS[form], path, by=actor(), **more)


def reasons(report: Report) -> dict[str, str]:
    return {refusal.id: refusal.reason for refusal in report.refused}
