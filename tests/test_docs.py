"""The documents say what the code does, where the code can say it itself."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from clients.cli import app
from clients.docs import PARTS, pages, rendered
from common.storage import grants

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_generated_parts_are_up_to_date(path: Path) -> None:
    assert rendered(path) == path.read_text(), "run: make docs"


def test_grants_are_up_to_date() -> None:
    assert (ROOT / "deploy" / "grants.sql").read_text() == grants.sql(), "run: make docs"


def test_every_part_is_somewhere() -> None:
    everything = "".join(path.read_text() for path in pages())
    for name in PARTS:
        assert f"<!-- {name} -->" in everything


@pytest.mark.parametrize("path", [*pages(), ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_commands_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_shop_commands_and_their_options_exist(path: Path) -> None:
    for said, words in commands_in(path.read_text()):
        found: Any = get_command(app)
        while hasattr(found, "commands") and words and re.fullmatch(r"[a-z][a-z-]+", words[0]):
            assert words[0] in found.commands, said
            found = found.commands[words.pop(0)]
        known = {"--help"}.union(*(param.opts + param.secondary_opts for param in found.params))
        assert {word for word in words if word.startswith("--")} <= known, said


def commands_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """What a page writes as a command, in a line of its own or in backticks."""
    for said in re.findall(r"^(?:\.venv/bin/)?shop (.*)$|`shop ([^`]+)`", text, re.MULTILINE):
        command = "".join(said).partition("#")[0]
        yield command, re.sub(r"[,;:]", " ", command).split()
