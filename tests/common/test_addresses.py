"""An address in one line leaves nothing out that is known."""

from common.rules.addresses import one_line


def test_all_that_is_known_in_the_order_of_an_envelope() -> None:
    known = {"country": "DE", "line2": "c/o Kim", "line1": "Lindenweg 4", "city": "Bonn"}
    assert one_line(known) == "Lindenweg 4, c/o Kim, Bonn, DE"
    assert one_line({**known, "line2": "", "region": None}) == "Lindenweg 4, Bonn, DE"
    assert one_line(None) == ""
