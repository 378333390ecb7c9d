"""The one door to a decision, and everything that must not come through it."""

import asyncio

import pytest

from common.approvals.showing import typed_right
from common.auth.server import users
from common.call import Actor
from tests.console.world import (
    ANA,
    EVERYTHING,
    HUGE,
    KIM,
    LARGE,
    LEE,
    PASSPHRASE,
    WRONG,
    Web,
    refund,
)
from tests.support.shop import call, done, refused


async def test_a_large_refund_is_approved_and_committed_by_the_same_call(web: Web) -> None:
    payment = await web.paid(LARGE)
    asked = await call(web.agent, "refund_payment", **refund(payment, LARGE))
    id = asked["approval_id"]
    kim = await web.person()
    page = await kim.get(f"/requests/{id}")
    assert "1234.50 EUR" in page.text
    assert "Type <b>1234.50 EUR</b> to approve" in page.text
    assert await web.state(id) == "pending"
    answer = await kim.decide(id, typed="1,234.50", note="Returned, all there")
    assert (answer.status_code, answer.headers["location"]) == (
        303, f"/console/requests/{id}?said=approved"
    )  # fmt: skip
    assert "Approved." in (await kim.browser.get(answer.headers["location"])).text
    receipt = await done(web.agent, "refund_payment", **refund(payment, LARGE), approval_id=id)
    assert receipt["amount_minor"] == LARGE
    page = await kim.get(f"/requests/{id}")
    assert "What was done" in page.text
    assert "Returned, all there" in page.text
    last = (await web.records("approval_approve"))[-1]
    assert last["actor"] == {"iss": web.url, "sub": KIM, "client": "shop-console"}
    assert last["effects"][0]["channel"] == "console"


async def test_who_was_sent_away_approves_nothing_any_more(web: Web) -> None:
    run, kept = web.shop.database.run, users.hashed(PASSPHRASE, 4)
    await run("*", lambda s: users.add(s, KIM, KIM, kept, ["approvals:decide"], web.clock()))
    payment, kim = await web.paid(LARGE), await web.person()
    id = (await call(web.agent, "refund_payment", **refund(payment, LARGE)))["approval_id"]
    assert (await kim.decide(id)).status_code == 303
    await run(
        "*",
        lambda s: users.disable(s, web.shop.settings, users.get(s, KIM), web.clock()),
    )
    answer = await refused(
        web.agent, "refund_payment", "approval_invalid", **refund(payment, LARGE), approval_id=id
    )
    assert answer["details"] == {"reason": "stale", "cause": "approver"}
    await run("*", lambda s: users.enable(s, users.get(s, KIM)))
    web.clock.forward(minutes=1)
    id, kim = await web.asked(), await web.person()
    assert (await kim.decide(id)).headers["location"].endswith("said=approved")


async def test_looking_decides_nothing_and_is_on_record(web: Web) -> None:
    id = await web.asked()
    kim = await web.person()
    for path in ("", f"/requests/{id}", f"/requests/{id}?decision=approve&passphrase={PASSPHRASE}"):
        assert (await kim.get(path)).status_code == 200
    form = f"/console/requests/{id}/decide"
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
        assert (await kim.browser.request(method, form)).status_code == 405
    options = await kim.browser.options(form)
    assert (options.status_code, options.headers["allow"]) == (204, "POST, OPTIONS")
    assert await web.state(id) == "pending"
    views = await web.records("approval_view")
    assert [view["approval"]["id"] for view in views] == [id, id]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json"}, 415),
    ],
    ids=str,
)
async def test_forms_of_other_sites(web: Web, headers: dict[str, str], status: int) -> None:
    id = await web.asked()
    kim = await web.person()
    csrf = await kim.csrf()
    if not headers.get("Origin", "x"):
        del kim.browser.headers["Origin"]
        headers = {name: value for name, value in headers.items() if value}
    answer = await kim.decide(id, csrf=csrf, headers=headers)
    assert answer.status_code == status
    assert await web.state(id) == "pending"


async def test_forms_without_the_sessions_own_token(web: Web) -> None:
    await web.enrolled(LEE, by=KIM)
    id = await web.asked()
    kim, lee = await web.person(), await web.person(LEE)
    for csrf in ("", "0" * 64, await lee.csrf()):
        assert (await kim.decide(id, csrf=csrf)).status_code == 403
    assert await web.state(id) == "pending"
    assert (await web.records("console_decide"))[-1]["outcome"] == "refused"


async def test_the_requester_does_not_decide(web: Web) -> None:
    await web.enrolled(ANA, by=KIM)
    id = await web.asked()
    ana = await web.person(ANA)
    assert "Nobody decides their own request" in (await ana.get(f"/requests/{id}")).text
    assert (await ana.decide(id)).status_code == 403
    assert (await ana.decide(id, "reject", note="x")).status_code == 403
    assert await web.state(id) == "pending"
    assert (await web.records("approval_approve"))[-1]["approval"]["reason"] == "own_request"


async def test_nobody_decides_who_is_not_enrolled(web: Web) -> None:
    id = await web.asked()
    lee = await web.person(LEE)
    page = (await lee.get(f"/requests/{id}")).text
    assert f"shop approver enroll {LEE}" in page
    assert 'name="passphrase"' not in page
    assert (await lee.decide(id)).status_code == 403
    assert await web.state(id) == "pending"


async def test_machines_and_other_programs_do_not_decide(web: Web) -> None:
    id = await web.asked()
    machine = await web.person(KIM, machine=True)
    assert (await machine.decide(id)).status_code == 403
    agent = await web.person(KIM, client=web_client(web))
    assert (await agent.decide(id)).status_code == 403
    unscoped = await web.person(KIM, scopes=())
    assert (await unscoped.decide(id)).status_code == 403
    assert await web.state(id) == "pending"


def web_client(web: Web) -> str:
    """The program the request was made with."""
    return "some-agent"


async def test_a_decision_needs_a_recent_sign_in(web: Web) -> None:
    id = await web.asked()
    for ago in (601, 0):
        kim = await web.person(signed_in_ago=ago)
        if not ago:
            kim.web.clock.forward(minutes=11)
        page = await kim.get(f"/requests/{id}")
        assert "Sign in again" in page.text
        assert 'name="passphrase"' not in page.text
        answer = await kim.decide(id)
        assert answer.status_code == 401
        challenge = answer.headers["www-authenticate"]
        assert 'error="insufficient_user_authentication"' in challenge
        assert 'max_age="600"' in challenge
        assert f"/console/login?back=%2Fconsole%2Frequests%2F{id}&amp;again=1" in answer.text
    assert await web.state(id) == "pending"


async def test_an_unknown_age_of_the_sign_in_is_too_old(web: Web) -> None:
    id = await web.asked()
    now = int(web.clock().timestamp())
    kim = await web.person(signed_in_ago=now)
    assert (await kim.decide(id)).status_code == 401
    assert await web.state(id) == "pending"


@pytest.mark.parametrize(
    ("shown", "typed", "right"),
    [
        ("1234.50 EUR", "1234.50 EUR", True),
        ("1234.50 EUR", "1,234.50", True),
        ("1234.50 EUR", " 1.234,50 eur ", True),
        ("1234.50 EUR", "EUR 1 234.50", True),
        ("1234.50 EUR", "1'234.50", True),
        ("1234.50 EUR", "1\u202f234,50", True),
        ("1234567.00 EUR", "1,234,567.00", True),
        ("1234567.00 EUR", "1,234.567,00", False),
        ("1234567.00 EUR", "1,234567.00", False),
        ("1234.50 EUR", "1234.5", False),
        ("1234.50 EUR", "1234", False),
        ("1234.50 EUR", "123450", False),
        ("1234.50 EUR", "1234.50 USD", False),
        ("1234.50 EUR", "1234.51", False),
        ("1234.50 EUR", "12.34.50", False),
        ("1234.50 EUR", "1,234,50", False),
        ("1234.50 EUR", "", False),
        ("1234.50 EUR", "-1234.50", False),
        ("1234.50 EUR", "1234.50 EUR EUR", False),
        ("1234.50 EUR", "١٢٣٤.٥٠", False),
        ("1234 JPY", "1,234", True),
        ("1234 JPY", "1.234", True),
        ("1234 JPY", "1234.00", False),
        ("1.234 KWD", "1,234", True),
        ("1.234 KWD", "1234", False),
        ("120", "120", True),
        ("1200", "1 200", True),
        ("120", "12", False),
    ],
)
def test_what_counts_as_typed_right(shown: str, typed: str, right: bool) -> None:
    assert typed_right(shown, typed) is right


async def test_a_wrong_amount(web: Web) -> None:
    id = await web.asked()
    kim = await web.person()
    for typed in ("", "1234.05", "12345.0"):
        answer = await kim.decide(id, typed=typed, note="keep <this>")
        assert answer.status_code == 400
        assert "keep &lt;this&gt;</textarea>" in answer.text
        assert PASSPHRASE not in answer.text
    assert await web.state(id) == "pending"
    assert (await web.records("approval_approve"))[-1]["outcome"] == "refused"


async def test_wrong_passphrases_are_counted_in_the_database(web: Web) -> None:
    id = await web.asked()
    one, other = await web.person(), await web.person()
    answers = [await who.decide(id, passphrase=WRONG) for who in (one, other, one, other, one)]
    assert [answer.status_code for answer in answers] == [403] * 5
    late = await other.decide(id)
    assert late.status_code == 429
    assert 0 < int(late.headers["retry-after"]) <= 900
    assert await web.state(id) == "pending"
    web.clock.forward(minutes=14)
    assert (await (await web.person()).decide(id)).status_code == 429
    web.clock.forward(minutes=2)
    assert (await (await web.person()).decide(id)).status_code == 303
    assert [r["error"] for r in await web.records("approval_approve") if r["outcome"] == "refused"][
        :6
    ] == ["not_authenticated"] * 5 + ["rate_limited"]


async def test_the_right_passphrase_forgets_the_wrong_ones(web: Web) -> None:
    kim = await web.person()
    for _ in range(2):
        id = await web.asked()
        for _ in range(4):
            assert (await kim.decide(id, passphrase=WRONG)).status_code == 403
        assert (await kim.decide(id)).status_code == 303


async def test_a_replayed_form(web: Web) -> None:
    id = await web.asked()
    kim = await web.person()
    csrf = await kim.csrf()
    assert (await kim.decide(id, csrf=csrf)).status_code == 303
    assert (await kim.decide(id, csrf=csrf)).status_code == 409
    assert (await kim.decide(id, "reject", note="no", csrf=csrf)).status_code == 409
    assert await web.state(id) == "approved"


async def test_two_other_persons_for_a_huge_one(web: Web) -> None:
    await web.enrolled(LEE, by=KIM)
    id = await web.asked(HUGE)
    kim, lee = await web.person(), await web.person(LEE)
    assert (await kim.decide(id, typed="15000.00")).headers["location"].endswith("said=pending")
    assert "1 of 2 approvals" in (await lee.get()).text
    assert (await kim.decide(id, typed="15000.00")).status_code == 409
    assert (await lee.decide(id, typed="15.000,00")).headers["location"].endswith("said=approved")


async def test_two_approvers_at_once_decide_once(web: Web) -> None:
    await web.enrolled(LEE, by=KIM)
    id = await web.asked()
    kim, lee = await web.person(), await web.person(LEE)
    answers = await asyncio.gather(
        kim.decide(id), lee.decide(id, "reject", note="not this one"), kim.decide(id)
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes in ([303, 409, 409], [303, 303, 409]), codes
    made = [r for r in await web.records() if r["server"] == "console" and r["outcome"] == "ok"]
    decided = [r["tool"] for r in made if r["tool"] in ("approval_approve", "approval_reject")]
    assert len(decided) == codes.count(303)
    # A rejection after the approval still stops it; nothing comes after a rejection.
    assert await web.state(id) == ("rejected" if "approval_reject" in decided else "approved")


async def test_a_rejection_needs_a_reason_and_is_final(web: Web) -> None:
    id = await web.asked()
    kim = await web.person()
    assert (await kim.decide(id, "reject", note="  ")).status_code == 400
    assert (
        await kim.decide(id, "reject", note="Not before the goods", typed="")
    ).status_code == 303
    assert await web.state(id) == "rejected"
    status = await done(web.agent, "approval_status", id=id)
    assert (status["state"], status["note"]) == ("rejected", '"Not before the goods"')
    assert (await kim.decide(id)).status_code == 409


async def test_expired_meanwhile(web: Web) -> None:
    id = await web.asked()
    web.clock.forward(hours=23, minutes=59)
    kim = await web.person()
    assert "Sign and decide" in (await kim.get(f"/requests/{id}")).text
    csrf = await kim.csrf()
    web.clock.forward(minutes=2)
    answer = await kim.decide(id, csrf=csrf)
    assert answer.status_code == 409
    assert "expired" in answer.text
    assert f"/requests/{id}" not in (await kim.get()).text


async def test_changed_meanwhile(web: Web) -> None:
    """Approved, then the payment is refunded in part by somebody else: the approval is stale."""
    payment = await web.paid(LARGE)
    asked = await call(web.agent, "refund_payment", **refund(payment, LARGE))
    kim = await web.person()
    await kim.decide(asked["approval_id"])
    await done(web.agent, "refund_payment", **refund(payment, 1_000, idempotency_key="other-key"))
    stale = refund(payment, LARGE, approval_id=asked["approval_id"])
    answer = await call(web.agent, "refund_payment", **stale)
    assert answer["code"] in ("approval_invalid", "rule_violation", "insufficient_funds")
    assert await web.state(asked["approval_id"]) != "used"


async def test_too_long_and_doubled_forms(web: Web) -> None:
    id = await web.asked()
    kim = await web.person()
    csrf = await kim.csrf()
    assert (await kim.decide(id, note="x" * 20_000)).status_code == 413
    assert (await kim.decide(id, note="x" * 501)).status_code == 400
    doubled = f"csrf={csrf}&decision=reject&decision=approve"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    path = f"/console/requests/{id}/decide"
    assert (await kim.browser.post(path, content=doubled, headers=kind)).status_code == 400
    assert (await kim.browser.post(path, content=b"\xff=\xfe", headers=kind)).status_code == 400
    assert (await kim.decide(id, "perhaps")).status_code == 400
    assert (await kim.decide("apr_unknown")).status_code == 404
    assert await web.state(id) == "pending"


async def test_an_approver_who_was_revoked(web: Web) -> None:
    from common.approvals import approvers

    await web.enrolled(LEE, by=KIM)
    id = await web.asked()
    lee = await web.person(LEE)
    voucher = await web.look(lambda s: approvers.unlock(approvers.find(s, KIM), PASSPHRASE))

    def work(session: object) -> None:
        approvers.revoke(session, LEE, KIM, web.clock(), voucher=voucher)  # type: ignore[arg-type]

    await web.shop.database.run("*", work)
    assert (await lee.decide(id)).status_code == 403
    assert await web.state(id) == "pending"


async def test_the_agent_is_told_where_people_decide(web: Web) -> None:
    payment = await web.paid(LARGE)
    asked = await call(web.agent, "refund_payment", **refund(payment, LARGE))
    assert (
        asked["decide_at"] == asked["how"] == f"{web.url}/console/requests/{asked['approval_id']}"
    )
    assert asked["decide_at"] in asked["next"]


async def test_over_stdio_they_decide_at_a_terminal(web: Web) -> None:
    from servers.payments.tools import tools
    from tests.support.shop import connected

    payment = await web.paid(LARGE)
    local = Actor("local", ANA, "stdio", EVERYTHING)
    async with connected(web.shop, tools, who=local) as client:
        asked = await call(client, "refund_payment", **refund(payment, LARGE))
        assert "decide_at" not in asked
        assert asked["how"] == f"shop approve {asked['approval_id']} --as YOU"
        await refused(
            client, "refund_payment", "approval_invalid",
            **refund(payment, LARGE), approval_id=asked["approval_id"],
        )  # fmt: skip
