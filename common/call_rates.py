"""How many calls of each class are let through, as the setting says it."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, cast, get_args

from common.setting_values import SettingError

Kind = Literal["requests", "reads", "writes", "money", "approvals"]
_MOST: Final = 10**6


class Rate(NamedTuple):
    """``minute`` calls a minute, ``burst`` of them at once."""

    minute: int
    burst: int


DEFAULT: Final[Mapping[Kind, Rate]] = {
    "requests": Rate(3_000, 1_000),  # over HTTP: whatever is asked, lists and handshakes too
    "reads": Rate(1_200, 400),
    "writes": Rate(300, 150),
    "money": Rate(120, 60),
    "approvals": Rate(120, 60),
}


def rates(text: str) -> Mapping[Kind, Rate]:
    """``off``, or the default with what is said: ``writes=60/20 money=10/5``. Raises
    SettingError."""
    if text.strip() == "off":
        return {}
    found = dict(DEFAULT)
    for part in text.split():
        kind, _, numbers = part.partition("=")
        minute, _, burst = numbers.partition("/")
        if kind not in get_args(Kind) or not (_bounded(minute) and _bounded(burst)):
            kinds = ", ".join(get_args(Kind))
            raise SettingError(
                "SHOP_RATE_LIMITS", part,
                f"off, or like writes=60/20 (calls a minute/at once, each from 1 to {_MOST}; "
                f"of {kinds})",
            )  # fmt: skip
        found[cast(Kind, kind)] = Rate(int(minute), int(burst))
    return found


def _bounded(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= _MOST
