"""What pages show: cleaned and escaped, with the right headers, and the log with its filters."""

import re
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from common.approvals import showing
from common.audit import browse
from common.tables.spine import ApprovalRequest
from tests.console.world import KIM, LEE, Web, refund
from tests.support.shop import call, done

PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw %}",
    "</textarea><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "safe\u202eevil\u2066\u200b\x07\U000e0041",
)
PATHS = ("", "/history", "/audit", "/audit?outcome=ok")


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_nothing_anybody_wrote_becomes_markup(web: Web, payload: str) -> None:
    """The payload in every field that comes from elsewhere, on every page."""
    id = await web.asked()
    kim = await web.person()
    await kim.decide(id, "reject", note=payload[:400])

    def plant(session: Session) -> None:
        preview = {
            "title": payload, "lines": [payload, payload],
            "amount": payload, "units": payload,
            "figures": [{"what": payload, "before": payload, "after": payload}, payload],
        }  # fmt: skip
        values = dict.fromkeys(
            ("reason", "requester", "requester_client", "policy_rule", "tool"), payload[:60]
        )
        session.execute(
            update(ApprovalRequest)
            .where(ApprovalRequest.id == id)
            .values(preview=preview, **values)
        )

    await web.shop.database.run("*", plant)
    pages = [await kim.get(path) for path in (*PATHS, f"/requests/{id}")]
    await web.shop.database.run(
        "*", lambda s: s.execute(update(ApprovalRequest).values(state="pending"))
    )
    pages += [await kim.get(path) for path in ("", f"/requests/{id}")]
    pages.append(await kim.get("/history", params={"by": payload, "state": payload}))
    names = ("since", "until", "server", "tool", "outcome", "actor", "id")
    pages.append(await kim.get("/audit", params=dict.fromkeys(names, payload)))
    pages.append(await kim.get("/login", params={"back": payload}))
    for page in pages:
        assert page.status_code in (200, 302), page.text[-300:]
        for raw in ("<script>alert", "<img src=x", "<svg/onload", 'href="javascript', ">49<"):
            assert raw not in page.text
        assert not set(page.text) & set("\u202e\u2066\u200b\x07\U000e0041")
    assert all(page.status_code == 200 for page in pages[:-1])


def test_hidden_characters_become_visible() -> None:
    assert showing.visible("a\u202eb\u200bc\x1bd") == "a\ufffdb\ufffdc\ufffdd"


@pytest.mark.parametrize("path", ["", "/login", "/signed-out", "/callback", "/static/console.js"])
async def test_headers(web: Web, path: str) -> None:
    kim = await web.person()
    answer = await kim.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
    head = await kim.browser.head(f"/console{path}")
    assert head.status_code == (429 if answer.status_code == 429 else answer.status_code)


async def test_no_page_has_inline_script_or_style(web: Web) -> None:
    id = await web.asked()
    kim = await web.person()
    for path in (*PATHS, f"/requests/{id}"):
        page = (await kim.get(path)).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", page), path


async def test_static_files(web: Web) -> None:
    browser = web.browser()
    for name, kind in (("console.css", "text/css"), ("console.js", "text/javascript")):
        first = await browser.get(f"/console/static/{name}")
        assert first.headers["content-type"].startswith(kind)
        headers = {"If-None-Match": first.headers["etag"]}
        assert (await browser.get(f"/console/static/{name}", headers=headers)).status_code == 304
    for name in ("desk.py", "..%2fdesk.py", "base.html"):
        assert (await browser.get(f"/console/static/{name}")).status_code == 404


async def test_the_inbox_begins_with_what_expires_first(web: Web) -> None:
    late = await web.asked()
    web.clock.forward(hours=-1)
    soon = await web.asked()
    web.clock.forward(hours=1)
    page = (await (await web.person()).get()).text
    assert page.index(soon) < page.index(f"requests/{late}")


async def test_history_shows_who_and_how(web: Web) -> None:
    await web.enrolled(LEE, by=KIM)
    kim, lee = await web.person(), await web.person(LEE)
    first, second = await web.asked(), await web.asked()
    web.clock.forward(seconds=40)
    await kim.decide(first, note="fine by me")
    await lee.decide(second, "reject", note="not by me")
    page = (await kim.get("/history")).text
    for words in ("fine by me", "not by me", "100 %", "40 s", "approved", "rejected"):
        assert words in page
    only = (await kim.get("/history", params={"by": LEE})).text
    assert second in only
    assert first not in only
    rejected = (await kim.get("/history?state=rejected")).text
    assert second in rejected
    assert first not in rejected


async def test_the_log_by_filters_and_pages(web: Web) -> None:
    kim = await web.person()
    id = await web.asked()
    await kim.decide(id)
    for query, there in (
        ("tool=approval_approve", True), ("tool=approval_approve&outcome=ok", True),
        ("tool=approval_approve&outcome=refused", False), ("server=payments", False),
        (f"id={id}", True), (f"actor={KIM}", True), ("actor=nobody", False),
        ("since=2999-01-01T00:00", False), ("until=2999-01-01T00:00", True),
    ):  # fmt: skip
        page = (await kim.get(f"/audit?{query}")).text
        assert ("console.approval_approve" in page) is there, query
    assert "a date and a time" in (await kim.get("/audit?since=yesterday")).text
    assert (await kim.get("/audit?cursor=forged")).status_code == 400
    assert (await kim.get("/audit/aud_none")).status_code == 404


async def test_every_record_is_on_one_page_of_the_log(web: Web) -> None:
    for _ in range(4):
        await web.asked()

    def seen(session: Session) -> list[str]:
        ids: list[str] = []
        cursor: str | None = None
        while True:
            found = browse.records(session, browse.Filters(), cursor, 3)
            ids += [row.id for row in found.records]
            cursor = found.cursor
            if cursor is None:
                return ids

    ids = await web.look(seen)
    assert len(ids) == len(set(ids)) == len(await web.records())


async def test_a_search_looks_through_a_bounded_window(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    await web.asked()
    monkeypatch.setattr(browse, "WINDOW", 2)
    rare = browse.Filters(tool="nothing")
    found = await web.look(lambda s: browse.records(s, rare, None, 10))
    assert found.records == []
    assert found.back_to is not None
    rounds, cursor = 0, found.cursor
    while cursor is not None:
        found = await web.look(lambda s, at=cursor: browse.records(s, rare, at, 10))
        cursor, rounds = found.cursor, rounds + 1
    assert rounds == len(await web.records()) // 2


async def test_verifying_names_the_first_bad_record(web: Web) -> None:
    kim = await web.person()
    id = await web.asked()
    await web.shop.housekeeping.anchor(force=True)
    assert "The log is sound" in (await kim.post("/verify")).text
    assert (await web.records("audit_verify"))[-1]["outcome"] == "ok"

    def forge(session: Session) -> str:
        session.execute(text("DROP TRIGGER audit_record_no_update"))
        found = browse.about(session, id, web.clock().replace(year=2000))[0]
        session.execute(
            text(
                "UPDATE audit_record SET record = json_set(record, '$.ms', 987654) WHERE id = :id"
            ),
            {"id": found.id},
        )
        return found.id

    bad = await web.shop.database.run("*", forge)
    page = (await kim.post("/verify")).text
    assert "The log is broken" in page
    assert f"/console/audit/{bad}" in page
    assert "does not fit its content" in (await kim.get(f"/audit/{bad}")).text


async def test_verifying_is_for_a_form_and_not_too_often(web: Web) -> None:
    kim = await web.person()
    assert (await kim.get("/verify")).status_code == 405
    codes = [(await kim.post("/verify")).status_code for _ in range(7)]
    assert codes == [200] * 6 + [429]


async def test_news_arrive(web: Web) -> None:
    kim = await web.person()
    mark = (await kim.get("/changes?on=approvals&mark=x")).json()["mark"]
    id = await web.asked()
    after = (await kim.get("/changes", params={"on": "approvals", "mark": mark})).json()["mark"]
    assert after != mark
    one = (await kim.get(f"/changes?on={id}")).json()["mark"]
    await kim.decide(id)
    assert (await kim.get("/changes", params={"on": id, "mark": one})).json()["mark"] != one
    assert (await kim.get("/changes?on=audit")).json()["mark"]
    for wrong in ("", "?on=' or 1=1", "?on=approvals&on=audit"):
        assert (await kim.get(f"/changes{wrong}")).status_code == 400
    assert (await web.browser().get("/console/changes?on=audit")).status_code == 401


async def test_the_figures_before_and_after(web: Web) -> None:
    payment = await web.paid(123_450)
    asked: dict[str, Any] = await call(web.agent, "refund_payment", **refund(payment, 100_000))
    assert asked["preview"]["figures"] == [
        {"what": "refundable", "before": "1234.50 EUR", "after": "234.50 EUR"}
    ]
    page = (await (await web.person()).get(f"/requests/{asked['approval_id']}")).text
    assert "<td>1234.50 EUR</td>" in page
    assert "<b>234.50 EUR</b>" in page


async def test_pages_of_things_that_are_not_there(web: Web) -> None:
    kim = await web.person()
    assert (await kim.get("/requests/apr_none")).status_code == 404
    assert (await kim.get("/requests/'--")).status_code == 404
    assert (await kim.get("/nowhere")).status_code == 404
    assert (await kim.get("?cursor=forged")).status_code == 400


async def test_a_used_request_names_its_record(web: Web) -> None:
    payment = await web.paid(123_450)
    asked = await call(web.agent, "refund_payment", **refund(payment, 123_450))
    kim = await web.person()
    await kim.decide(asked["approval_id"])
    again = refund(payment, 123_450, approval_id=asked["approval_id"])
    await done(web.agent, "refund_payment", **again)
    committed = next(r for r in await web.records("refund_payment") if r["outcome"] == "ok")
    page = (await kim.get(f"/requests/{asked['approval_id']}")).text
    assert f"/console/audit/{committed['event_id']}" in page
    record = (await kim.get(f"/audit/{committed['event_id']}")).text
    assert "fits its content" in record
