"""What goes wrong at a terminal is said for people, and makes nothing."""

from pathlib import Path

import pytest

from tests.clients.test_cli import run
from tests.support.shop import begin


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["import", "northwind", "{folder}"], "{folder} has no categories.csv\n"),
        (["import", "shopify-orders", "{folder}"], "{folder}: Is a directory\n"),
        (["import", "tau2", "{folder}/broken.json"], "{folder}/broken.json: Expecting "),
        (["export", "tau2", "{folder}/no/such"], "{folder}/no/such: No such file or directory\n"),
        (["probe", "--url", "http://127.0.0.1:1"], "name one way to sign in"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_a_file_is_not_is_said_without_python(
    tmp_path: Path, command: list[str], said: str
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "broken.json").write_text("{{")
    begin(tmp_path)
    ended = run(tmp_path, *(word.format(folder=folder) for word in command))
    assert ended.returncode == 2, ended
    assert ended.stderr.startswith(said.format(folder=folder)), ended.stderr


@pytest.mark.parametrize(
    "command",
    [["approvals"], ["approve", "apr_1"], ["audit", "verify"], ["user", "list"],
     ["export", "tau2", "-"], ["deny", "person", "ana@example.com"], ["auth", "rotate-keys"]],
    ids=" ".join,
)  # fmt: skip
def test_a_mistyped_home_is_no_shop(tmp_path: Path, command: list[str]) -> None:
    ended = run(tmp_path / "typo", *command)
    assert ended.returncode == 2, ended
    assert f"There is no shop here: {tmp_path / 'typo' / 'shop.db'}" in ended.stderr
    assert not (tmp_path / "typo").exists()


def test_a_broken_anchor_file_is_said_and_the_work_is_done(tmp_path: Path) -> None:
    (tmp_path / "anchors.jsonl").write_text("torn\n")
    done = run(tmp_path, "seed", "--days", "1")
    assert done.returncode == 0, done
    assert "Not anchored: line 0" in done.stderr


@pytest.mark.parametrize("command", [["auth", "rotate-keys"], ["deny", "token", "x"],
                                     ["seed", "--days", "1"]], ids=" ".join)  # fmt: skip
def test_nothing_is_changed_where_the_settings_say_so(tmp_path: Path, command: list[str]) -> None:
    begin(tmp_path)
    ended = run(tmp_path, *command, env={"SHOP_READ_ONLY": "1"})
    assert ended.returncode == 1, ended
    assert ended.stderr.startswith("policy_denied: Nothing is changed: SHOP_READ_ONLY is set.")
    assert len(ended.stderr.splitlines()) == 2
