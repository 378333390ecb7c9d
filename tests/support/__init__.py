"""Real parts for tests: a PostgreSQL server, Node, npm packages, data of others."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

T = TypeVar("T")


def apart(work: Callable[..., T], *given: Any) -> T:
    """Run to the end in a thread: the caller may be inside a running event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *given).result()


def unavailable(reason: str) -> NoReturn:
    """Skip this test and say what stays unproven; where CI is set, fail instead."""
    if os.environ.get("CI", "").lower() in {"", "0", "false"}:
        pytest.skip(f"NOT TESTED: {reason}")
    pytest.fail(f"CI must have it: {reason}", pytrace=False)


def data(*parts: str) -> Path:
    """The path of real data, which lies beside this checkout; else the test is skipped as above."""
    path = Path(__file__).resolve().parents[3].joinpath("shared", "data", *parts)
    if not path.exists():
        unavailable(f"there is no {path}")
    return path
