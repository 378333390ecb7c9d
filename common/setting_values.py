"""How a setting is read: what it may be, and one error that names it when it is anything else."""

from collections.abc import Collection, Mapping
from ipaddress import ip_network
from typing import Final

YES: Final = ("1", "true", "yes", "on")
NO: Final = ("0", "false", "no", "off")
LONGEST_SHOWN: Final = 80
ALMOST: Final = 0.9  # SHOP_READONLY is SHOP_READ_ONLY; SHOP_HOST is another program's


class SettingError(ValueError):
    """A setting is not what it may be: its name, what it is, and what is allowed."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…"
        super().__init__(f"{name} must be {allowed}, not {shown!r}.")
        self.name, self.value, self.allowed = name, value, allowed


def spelt(environment: Mapping[str, str], names: Collection[str], prefix: str) -> dict[str, str]:
    """The environment, with no spaces around our settings. Raises SettingError for a name that is
    almost one of ours, which nobody would read, and for quotes that some shell left."""
    env = dict(environment)
    for name in [name for name in env if name.startswith(prefix)]:
        if name not in names:
            from difflib import get_close_matches  # seldom needed

            if meant := get_close_matches(name, names, 1, ALMOST):
                raise SettingError(name, name, meant[0])
            continue
        value = env[name] = env[name].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            shown = f"{value[0]}…{value[0]}"  # it may be a secret
            raise SettingError(name, shown, "without quotes around it")
    return env


def flag(env: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Yes or no, in any case. Raises SettingError."""
    said = (env.get(name) or "").strip().lower()
    if said in YES or said in NO:
        return said in YES
    if said:
        raise SettingError(name, env[name], f"{'/'.join(YES)} or {'/'.join(NO)}")
    return default


def number(env: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number within bounds. Raises SettingError."""
    said = (env.get(name) or "").strip()
    if not said:
        return default
    if not (said.isascii() and said.isdecimal() and len(said) < 10 and least <= int(said) <= most):
        raise SettingError(name, env[name], f"a whole number from {least} to {most}")
    return int(said)


def choice(env: Mapping[str, str], name: str, default: str, allowed: Collection[str]) -> str:
    """One of a few words. Raises SettingError."""
    said = env.get(name) or default
    if said not in allowed:
        raise SettingError(name, said, " or ".join(word for word in allowed if word))
    return said


def words(env: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    """Values by spaces."""
    return tuple((env.get(name) or default).split())


def networks(
    env: Mapping[str, str], name: str, default: str, anywhere: str = ""
) -> tuple[str, ...]:
    """Addresses or networks by spaces, or the one word for all. Raises SettingError."""
    found = words(env, name, default)
    if anywhere and found == (anywhere,):
        return found
    for each in found:
        try:
            ip_network(each)
        except ValueError:
            form = "addresses or networks, by spaces" + (f", or {anywhere}" if anywhere else "")
            raise SettingError(name, each, form) from None
    return found
