"""A primary that is cut off, a replica that takes its place; then the same without waiting for the
replica, which has to be found out. The whole story: ``make hosts``."""

import subprocess
import sys

import pytest

from tests.faults.fleet import ROOT
from tests.hosts.network import Impossible, boxed
from tests.support import unavailable

PATIENCE_S = 170


@pytest.mark.slow
def test_a_promotion_loses_nothing_that_was_acknowledged() -> None:
    try:
        boxed([])
    except Impossible as error:
        unavailable(f"several hosts cannot be made here: {error}")
    command = [
        sys.executable, "-m", "tests.hosts", "--seconds", "1", "--seed", "2", "--callers", "6",
        "--legs", "promoted", "asynchronous",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "promoted: sound" in done.stdout, done.stdout
    assert "asynchronous: sound" in done.stdout, done.stdout
