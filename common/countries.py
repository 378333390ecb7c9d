"""Countries by any of their names: what an address or a rate writes, as one code.

``countries.txt`` has ISO 3166-1: alpha-2, alpha-3, English short name, then other common forms.
"""

import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Final

_WRITTEN: Final = {
    forms[0]: tuple(forms)
    for forms in (
        line.split("|")
        for line in Path(__file__).with_name("countries.txt").read_text("utf-8").splitlines()
    )
}


def code_of(text: str) -> str | None:
    """The alpha-2 code of the country that is meant; None where none is."""
    return _CODES.get(_plain(text))


def key(text: str) -> str:
    """What two countries are compared by: the code, or the text itself where none is meant."""
    return code_of(text) or text


def spellings(text: str) -> tuple[str, ...]:
    """The text, and every other way to write the country it means: for look-ups of rows."""
    return (text, *_WRITTEN.get(code_of(text) or "", ()))


def a_country(text: str) -> str:
    """The text as it is. Raises ValueError where it means no country."""
    if code_of(text) is None:
        raise ValueError("a country, such as DE or Germany")
    return text


@lru_cache(maxsize=1_024)
def _plain(text: str) -> str:
    """Without case, accents, dots and the like, which people write or leave out."""
    letters = unicodedata.normalize("NFKD", text.casefold().replace("&", " and "))
    kept = "".join(" " if c in "-,()" else c for c in letters if c.isalnum() or c in " -,()")
    return " ".join(kept.split()).removeprefix("the ")


_CODES: Final = {_plain(form): code for code, forms in _WRITTEN.items() for form in forms}
