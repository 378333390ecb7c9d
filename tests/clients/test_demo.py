"""The story that ``make demo`` tells, with a shorter past behind it."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.settings import inherited

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def test_the_day_goes_as_it_should(tmp_path: Path) -> None:
    played = subprocess.run(
        [sys.executable, "-m", "clients.demo", "--days", "14", "--home", str(tmp_path / "shop")],
        cwd=ROOT, env=inherited(PYTHONPATH=str(ROOT)), text=True, capture_output=True,
        timeout=300, check=False,
    )  # fmt: skip
    told = " ".join(played.stdout.split())
    assert played.returncode == 0, told[-2_000:]
    for said in (
        "follows the prompt low_stock_review", "good, 2 damaged; on hand", "label bought for",
        "still out_for_delivery", "in_transit (late, not counted)", "proof of delivery",
        "the receiver noted damage", "nothing altered",
    ):  # fmt: skip
        assert said in told, said
