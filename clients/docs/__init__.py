"""Write the reference parts of the documents from the servers themselves.

``python -m clients.docs`` rewrites them; ``--check`` only says whether they are up to date.
"""

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from clients.docs import fleet, goods
from common.approvals.tools import offered_by
from common.errors import closed_codes
from common.policy import Policy
from common.scopes import Scope
from common.toolset import Toolset
from servers.run import DOMAINS

ROOT = Path(__file__).resolve().parent.parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when the documents are up to date, 1 when ``--check`` finds that they are not."""
    parser = argparse.ArgumentParser(prog="python -m clients.docs", description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    stale = [path for path in pages() if rendered(path) != path.read_text()]
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is out of date' if check else 'written'}")
        if not check:
            path.write_text(rendered(path))
    return 1 if check and stale else 0


def pages() -> list[Path]:
    """The documents that hold generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rendered(path: Path) -> str:
    """The page as it should be: what stands between its markers is made anew."""
    text = path.read_text()
    for name, part in PARTS.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if start in text:
            before, _, rest = text.partition(start)
            _, _, after = rest.partition(end)
            text = f"{before}{start}{part()}{end}{after}"
    return text


def tools_table() -> str:
    """Every tool by server: scope, effect, who must agree."""
    policy = Policy.load(None)
    parts = []
    for domain in DOMAINS:
        offered = _toolset(domain)
        parts.append(f"\n**{offered.title}**\n")
        parts.append("| tool | scope | effect | approval |\n| --- | --- | --- | --- |")
        for spec in offered.tools.values():
            if spec.policy and spec.policy not in policy.rules():
                raise SystemExit(f"common/policy.toml has no table [{spec.policy}]")
            agreed = policy.explain(spec.policy) if spec.policy else "–"
            parts.append(f"| `{spec.name}` | `{spec.scope}` | {spec.effect.value} | {agreed} |")
        for resource in offered.resources.values():
            parts.append(f"| resource `{resource.uri}` | `{resource.scope}` | reads | – |")
        for prompt in offered.prompts.values():
            parts.append(f"| prompt `{prompt.name}` | – | – | – |")
    return "\n".join(parts) + "\n\n"


def error_table() -> str:
    """Every error code with its place in the tree."""
    rows = [
        f"| `{code}` | {(kind.default_next or '').strip()} |"
        for code, kind in closed_codes().items()
    ]
    return "\n".join(
        ["| code | what to do next, unless the refusal says more |", "| --- | --- |", *rows, ""]
    )


def scope_table() -> str:
    """Every scope."""
    return ", ".join(f"`{scope}`" for scope in Scope) + "\n"


def settings_table() -> str:
    """Every setting, from the module that reads them."""
    import common.settings as settings

    lines = (settings.__doc__ or "").split("\n")
    rows = [line.split(None, 1) for line in lines if line.startswith("SHOP_")]
    body = [f"| `{name}` | {text.replace('``', '`')} |" for name, text in rows]
    return "\n".join(["| setting | meaning |", "| --- | --- |", *body, ""])


PARTS: dict[str, Callable[[], str]] = {
    "tools": tools_table,
    "errors": error_table,
    "scopes": scope_table,
    "settings": settings_table,
    **goods.EXAMPLES,
    **fleet.EXAMPLES,
}


def _toolset(domain: str) -> Toolset:
    return offered_by(import_module(f"servers.{domain}.tools").tools)
