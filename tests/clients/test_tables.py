"""Tables at a terminal and in a pipe: what is copied from them stands on one line."""

import pytest
from rich.console import Console

from clients.commands import common
from clients.commands.common import table

ID = "apr_01kbv7q2m3n4p5r6s7t8v9w0x1"
LONG = "Refund 100.00 EUR of payment pay_01 to a customer whose name is long and goes on " * 3
COLUMNS = ["id", "what", "level", "asked by", "so far", "until"]
ROW = [ID, LONG, "L2", "local|ana@example.com", "0 of 1 approvals", "2026-01-01T00:00:00Z"]


def test_everything_is_on_one_line_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table("Waiting", COLUMNS, [ROW])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if ID in line]
    assert LONG.strip() in line
    assert "local|ana@example.com" in line


@pytest.mark.parametrize("width", [80, 40, 20])
def test_ids_do_not_wrap_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    def terminal(width: int = width) -> Console:
        return Console(force_terminal=True, color_system=None, width=width)

    monkeypatch.setattr(common, "Console", terminal)
    table("Waiting", COLUMNS, [ROW])
    out = capsys.readouterr().out
    assert ID in out
    assert max(len(line) for line in out.splitlines()) <= max(width, 72)


def test_where_there_is_nothing_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    table("API keys", COLUMNS, [])
    assert capsys.readouterr().out == "API keys: none.\n"
