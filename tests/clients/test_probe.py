"""``shop probe``: green on a server that is right, red on one that is not, and says which check."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from mcp.types import Tool, ToolAnnotations

from clients import probe
from clients.probe import checks
from clients.probe.checks import CHECKS, Check, Failed, Target
from common.settings import inherited

ROOT = Path(__file__).resolve().parents[2]


def test_a_server_that_is_right_is_green(tmp_path: Path) -> None:
    report = tmp_path / "probe.xml"
    result = subprocess.run(
        [
            sys.executable, "-m", "clients.cli", "probe", "--server", "storefront", "--json",
            "--junit", str(report),
        ],
        cwd=ROOT, env=inherited(SHOP_HOME=str(tmp_path / "unused"), PYTHONPATH=str(ROOT)),
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    said = json.loads(result.stdout)
    assert said["failed"] == 0
    assert [(c["mode"], c["name"]) for c in said["checks"]] == [
        (mode, name) for mode in ("legacy", "auto") for name in ("connects", *CHECKS)
    ]
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == (str(len(said["checks"])), "0")
    assert not (tmp_path / "unused").exists(), "it probes a shop of its own"


@pytest.fixture
def unseeded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(home: Path) -> None:
        """A server that does not start needs no goods."""

    monkeypatch.setattr(probe, "_seed", nothing)


@pytest.mark.usefixtures("unseeded")
def test_a_server_that_does_not_start_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "DOMAINS", ("nothing",))
    report = tmp_path / "probe.xml"
    assert probe.run_and_report([], junit=report) == 1
    assert "0 checks hold, 2 fail." in capsys.readouterr().out
    suite = ElementTree.parse(report).getroot()
    assert suite.get("failures") == "2"
    assert [case.get("classname") for case in suite.iter("testcase")] == [
        "nothing.legacy", "nothing.auto"
    ]  # fmt: skip
    assert len(list(suite.iter("failure"))) == 2


def test_no_such_server_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.run_and_report(["banking"]) == 2
    assert "no such server: banking" in capsys.readouterr().err


class Offers:
    """A client of a server that is wrong in one way."""

    def __init__(self, **wrong: Any) -> None:
        right: dict[str, Any] = {
            "description": "Says something about something.", "meta": {"shop/scope": "x"},
            "input_schema": {"type": "object", "additionalProperties": False},
            "output_schema": {"type": "object"},
            "annotations": ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=True,
                open_world_hint=False,
            ),
        }  # fmt: skip
        names = wrong.pop("names", ["one", "two", "approval_status", "approval_cancel"])
        given = {("_meta" if k == "meta" else k): v for k, v in (right | wrong).items()}
        self.tools = [Tool(name=name, **given) for name in names]

    async def list_tools(self) -> "Offers":
        return self


TARGET = Target("toy", "auto", "2026-07-28")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"description": "Short."}, "no description"),
        ({"annotations": None}, "no annotations"),
        ({"annotations": ToolAnnotations(read_only_hint=True)}, "a hint is missing"),
        ({"input_schema": {"type": "object"}}, "open schema"),
        ({"output_schema": None}, "no output schema"),
        ({"meta": None}, "no scope"),
        ({"names": ["one", "two", "three", "four"]}, "no approval tools"),
        ({"names": ["approval_status", "approval_cancel", "approve", "x"]}, "decides approvals"),
        ({"names": ["x"]}, "1 tools"),
        (
            {"input_schema": {
                "type": "object", "additionalProperties": False,
                "properties": {"amount": {"type": "number"}},
            }},
            "a float",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_what_is_wrong_is_named(wrong: dict[str, Any], told: str) -> None:
    assert await checks.tools(TARGET, Offers()) == "4 tools"  # type: ignore[arg-type]
    with pytest.raises(Failed, match=told):
        await checks.tools(TARGET, Offers(**wrong))  # type: ignore[arg-type]


async def test_a_check_that_crashes_has_failed() -> None:
    async def crash(target: Target, client: Any) -> str:
        raise ExceptionGroup("outer", [ValueError("inside")])

    found = await probe._checked(TARGET, "crash", crash(TARGET, Offers()))
    assert found == Check("toy", "auto", "crash", False, "ValueError: inside")


def test_who_may_sign_in_nowhere_has_checked_little(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = probe.Check("orders", "http", "sign_in", True, "no scope of it", False)
    signed_in = replace(asked, server="inventory", detail="", checked=True)

    for answers, code in (([asked], 2), ([asked, signed_in], 0)):

        async def found(*_: object, made: list[probe.Check] = answers) -> list[probe.Check]:
            return made

        monkeypatch.setattr(probe, "probe_remote", found)
        assert probe.run_and_report([], url="http://127.0.0.1:8300") == code
    assert "could not be made" in capsys.readouterr().out
