"""Countries by any of their names."""

import pytest

from common import countries


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("DE", "DE"), ("de", "DE"), ("DEU", "DE"), ("Germany", "DE"), (" GERMANY ", "DE"),
        ("Deutschland", "DE"), ("USA", "US"), ("U.S.A.", "US"), ("united states", "US"),
        ("UK", "GB"), ("Great Britain", "GB"), ("The Netherlands", "NL"), ("Turkiye", "TR"),
        ("Cote d'Ivoire", "CI"), ("Venezuela", "VE"), ("Trinidad & Tobago", "TT"),
        ("Nowhereland", None), ("XX", None), ("Korea", None), ("", None), ("the", None),
    ],
)  # fmt: skip
def test_code(text: str, code: str | None) -> None:
    assert countries.code_of(text) == code


def test_every_form_means_one_country() -> None:
    written = [form for forms in countries._WRITTEN.values() for form in forms]
    assert len(written) == len({countries._plain(form) for form in written})
    for code, forms in countries._WRITTEN.items():
        assert {countries.code_of(form) for form in forms} == {code}
        assert all(2 <= len(form) <= 60 for form in forms)


def test_what_means_no_country_is_compared_as_it_is() -> None:
    assert countries.key("germany") == countries.key("DEU") == "DE"
    assert countries.key("Nowhereland") == "Nowhereland"
    assert countries.spellings("Nowhereland") == ("Nowhereland",)
    assert {"germany", "DE", "DEU", "Germany"} <= set(countries.spellings("germany"))
