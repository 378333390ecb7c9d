"""The documents say what the code does, where the code can say it itself."""

import re
from pathlib import Path

import pytest

from clients.docs import PARTS, pages, rendered
from common import grants

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
