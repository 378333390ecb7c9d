"""Widgets: pages that a host shows beside an answer (MCP Apps, and the form ChatGPT began with).

A widget is one script beside the tools that show it: it says what to draw of an answer. Around it
``page.html`` puts what all share, ``look.css`` (the console's too), ``shop.css`` and ``shop.js``,
when it is first read: what goes to a host is one page that needs no network.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

APP: Final = "text/html;profile=mcp-app"
SKYBRIDGE: Final = "text/html+skybridge"
_HERE: Final = Path(__file__).resolve().parent
PRESSED: Final[dict[str, Any]] = {"openai/widgetAccessible": True}
"""The ``_meta`` of a tool that a page calls, though none shows its answers."""
LOOK: Final = _HERE / "look.css"
_PART: Final = re.compile(r"\{\{ ([a-z.]+) \}\}\n")


@dataclass(frozen=True)
class Widget:
    """``doing`` and ``done`` are what a host may say while a tool that shows it works."""

    domain: str
    name: str
    file: Path
    description: str
    doing: str
    done: str

    @property
    def uri(self) -> str:
        return f"ui://{self.domain}/{self.name}"

    @property
    def skybridge(self) -> str:
        return f"{self.uri}.skybridge"

    @property
    def tool_meta(self) -> dict[str, Any]:
        """What stands in the ``_meta`` of a tool whose answers it shows."""
        return {
            "ui": {"resourceUri": self.uri},
            "openai/outputTemplate": self.skybridge,
            **PRESSED,
            "openai/toolInvocation/invoking": self.doing,
            "openai/toolInvocation/invoked": self.done,
        }

    @property
    def forms(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """By URI: the MIME type and the ``_meta`` of the page. It asks for no origin at all."""
        nowhere: dict[str, Any] = {"connect_domains": [], "resource_domains": []}
        return {
            self.uri: (
                APP,
                {"ui": {"csp": {"connectDomains": [], "resourceDomains": []},
                        "prefersBorder": True}},
            ),
            self.skybridge: (
                SKYBRIDGE,
                {
                    "openai/widgetDescription": self.description,
                    "openai/widgetCSP": nowhere,
                    "openai/widgetPrefersBorder": True,
                },
            ),
        }  # fmt: skip

    def page(self) -> str:
        return page(self.file)


@cache
def page(file: Path) -> str:
    """The self-contained page around a widget's script."""

    def part(found: re.Match[str]) -> str:
        named = file if found[1] == "widget" else _HERE / found[1]
        return named.read_text(encoding="utf-8")

    return _PART.sub(part, (_HERE / "page.html").read_text(encoding="utf-8"))
