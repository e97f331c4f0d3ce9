"""The claims of the demo fail when what they claim did not happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from meshlib._snapshot.clusters import OutlierDetection
from meshlib._snapshot.routes import Abort, Delay, Fault
from meshlib.cli.demo.claims import Verdict, judge, within_three_sigma
from meshlib.cli.demo.expectations import NO_FAULT, USERS, Expected, Promise, Share
from meshlib.cli.demo.ledger import EVERYONE, FORGED, JASON, NO_TOKEN, PLAINTEXT, VALID, WRONG_ACCOUNT, Call, Ledger
from meshlib.cli.demo.servers import Server

BROKEN_SERVER = Server(service="reviews", version="v1", number=1, port=1, refused=5)
DETECTION = OutlierDetection(consecutive_5xx=3, interval=0.25, base_ejection_time=1.0, max_ejection_percent=50)


def make_expected() -> Expected:
    promises = {
        (service, user): Promise(service=service, user=user, shares=(Share(("v1",), 1.0),))
        for service in ("productpage", "details", "ratings", "reviews")
        for user in USERS
    }
    promises["reviews", EVERYONE] = Promise(
        service="reviews",
        user=EVERYONE,
        route="everyone",
        shares=(Share(("v1",), 0.8), Share(("v2",), 0.2)),
        retries_503=True,
        outlier=DETECTION,
    )
    promises["reviews", JASON] = Promise(service="reviews", user=JASON, route="jason", shares=(Share(("v3",), 1.0),))
    fault = Fault(abort=Abort(ratio=0.25, http_status=500))
    promises["ratings", EVERYONE] = replace(promises["ratings", EVERYONE], route="bad", fault=fault)
    return promises


def make_ledger() -> Ledger:
    """A run in which everything went as promised."""
    ledger = Ledger(lambda: 5.0)
    ledger.sent = 600
    for service, user, status, number in (
        ("productpage", EVERYONE, 200, 500),
        ("productpage", JASON, 200, 100),
        ("reviews", EVERYONE, 200, 500),
        ("reviews", JASON, 200, 100),
        ("ratings", EVERYONE, 200, 75),
        ("ratings", EVERYONE, 500, 25),
        ("ratings", JASON, 200, 100),
    ):
        ledger.calls[Call(service, user, status)] = number
    ledger.versions.update({(EVERYONE, "v1"): 400, (EVERYONE, "v2"): 100, (JASON, "v3"): 100})
    ledger.aborts["ratings", "bad"] = ledger.injected_errors = 25
    ledger.retries["reviews"] = 5
    ledger.ejections = [BROKEN_SERVER.address]
    ledger.unejections = [BROKEN_SERVER.address]
    return ledger


def test_a_good_run_keeps_all_its_claims() -> None:
    """Nothing is open or broken, and every promise has its claim."""
    claims = judge(make_ledger(), make_expected(), [BROKEN_SERVER], is_whole=True)
    assert [(claim.title, claim.verdict) for claim in claims] == [
        ("no request is lost", Verdict.KEPT),
        ("errors only where injected", Verdict.KEPT),
        ("reviews v1 for everyone", Verdict.KEPT),
        ("reviews v2 for everyone", Verdict.KEPT),
        ("reviews v3 for jason", Verdict.KEPT),
        ("ratings fails for everyone", Verdict.KEPT),
        ("retries hide the broken reviews-v1-1", Verdict.KEPT),
        ("reviews-v1-1 is ejected", Verdict.KEPT),
        ("reviews-v1-1 comes back", Verdict.KEPT),
    ]


def lose_a_page(ledger: Ledger) -> None:
    ledger.sent += 1


def lose_a_call_behind_a_page(ledger: Ledger) -> None:
    ledger.calls[Call("details", EVERYONE, 0)] = 1


def fail_without_a_fault(ledger: Ledger) -> None:
    ledger.calls[Call("details", EVERYONE, 503)] = 1


def swallow_a_fault(ledger: Ledger) -> None:
    ledger.calls[Call("ratings", EVERYONE, 500)] -= 1


def tilt_the_split(ledger: Ledger) -> None:
    ledger.versions.update({(EVERYONE, "v1"): 372 - 400, (EVERYONE, "v2"): 128 - 100})


def send_jason_elsewhere(ledger: Ledger) -> None:
    ledger.versions[JASON, "v1"] = 1


def inject_too_often(ledger: Ledger) -> None:
    ledger.aborts["ratings", "bad"] = 40


def never_retry(ledger: Ledger) -> None:
    ledger.retries.clear()


def never_eject(ledger: Ledger) -> None:
    ledger.ejections = []


def never_return(ledger: Ledger) -> None:
    ledger.unejections = []


@pytest.mark.parametrize(
    ("spoil", "title"),
    [
        (lose_a_page, "no request is lost"),
        (lose_a_call_behind_a_page, "no request is lost"),
        (fail_without_a_fault, "errors only where injected"),
        (swallow_a_fault, "errors only where injected"),
        (tilt_the_split, "reviews v1 for everyone"),
        (send_jason_elsewhere, "reviews v3 for jason"),
        (inject_too_often, "ratings fails for everyone"),
        (never_retry, "retries hide the broken reviews-v1-1"),
        (never_eject, "reviews-v1-1 is ejected"),
        (never_return, "reviews-v1-1 comes back"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_run_breaks_the_claim_about_it(spoil: Callable[[Ledger], None], title: str) -> None:
    """One thing goes wrong, and the claim about it is broken."""
    ledger = make_ledger()
    spoil(ledger)
    claims = judge(ledger, make_expected(), [BROKEN_SERVER], is_whole=True)
    assert title in {claim.title for claim in claims if claim.verdict is Verdict.BROKEN}


def test_an_interrupted_run_leaves_open_what_was_not_seen() -> None:
    """Ctrl-C before the ejection is no failure of the mesh."""
    ledger = make_ledger()
    never_retry(ledger)
    never_eject(ledger)
    never_return(ledger)
    claims = judge(ledger, make_expected(), [BROKEN_SERVER], is_whole=False)
    assert {claim.verdict for claim in claims[-3:]} == {Verdict.OPEN}


def test_an_ejection_longer_than_the_run_is_open() -> None:
    """With Istio's default of 30 s nobody can come back in a run of five."""
    ledger = make_ledger()
    never_return(ledger)
    ledger.ejected = {BROKEN_SERVER.address: 31.0}
    claims = judge(ledger, make_expected(), [BROKEN_SERVER], is_whole=True)
    assert claims[-1].verdict is Verdict.OPEN


def test_a_fault_of_one_user_is_claimed_for_that_user_alone() -> None:
    """Without names the routes of both users look alike in events; the fault belongs to one of them."""
    expected = dict(make_expected())
    for user in USERS:
        expected["ratings", user] = replace(expected["ratings", user], route="", fault=NO_FAULT)
    delay = Fault(delay=Delay(seconds=0.2, ratio=1.0))
    expected["ratings", JASON] = replace(expected["ratings", JASON], fault=delay)
    ledger = make_ledger()
    ledger.delays["ratings", ""] = 100
    claims = {claim.title: claim for claim in judge(ledger, expected, [], is_whole=True)}
    assert claims["ratings 200 ms late for jason"].verdict is Verdict.KEPT


def test_few_requests_prove_nothing() -> None:
    """A share of a handful of requests is open."""
    ledger = make_ledger()
    ledger.versions = type(ledger.versions)({(JASON, "v3"): 3})
    claims = {claim.title: claim for claim in judge(ledger, make_expected(), [], is_whole=True)}
    assert claims["reviews v3 for jason"].verdict is Verdict.OPEN


def test_without_retries_the_errors_of_a_broken_server_are_expected() -> None:
    """A configuration without retries on 503 promises no more than it can hold."""
    expected = dict(make_expected())
    expected["reviews", EVERYONE] = replace(expected["reviews", EVERYONE], retries_503=False)
    ledger = make_ledger()
    ledger.calls[Call("reviews", EVERYONE, 503)] = BROKEN_SERVER.refused
    claims = judge(ledger, expected, [BROKEN_SERVER], is_whole=True)
    assert claims[1].verdict is Verdict.KEPT


@pytest.mark.parametrize(
    ("count", "total", "ratio", "is_within"),
    [
        (80, 100, 0.8, True),
        (92, 100, 0.8, True),
        (93, 100, 0.8, False),
        (68, 100, 0.8, True),
        (67, 100, 0.8, False),
        (100, 100, 1.0, True),
        (99, 100, 1.0, False),
        (0, 100, 0.0, True),
        (1, 100, 0.0, False),
    ],
)
def test_three_sigma(count: int, total: int, ratio: float, is_within: bool) -> None:
    """Three standard deviations of a binomial draw; none where the outcome is certain."""
    assert within_three_sigma(count, total, ratio) is is_within


@pytest.mark.parametrize(
    ("kind", "status", "title"),
    [
        (VALID, 401, "a valid token is accepted"),
        (FORGED, 200, "a forged token is refused"),
        (NO_TOKEN, 200, "no token, no account"),
    ],
)
def test_one_wrong_answer_to_a_token_breaks_its_claim(kind: str, status: int, title: str) -> None:
    """There is no chance in a signature: every single request counts."""
    ledger = make_ledger()
    for known, answer in ((VALID, 200), (FORGED, 401), (NO_TOKEN, 403)):
        ledger.record_account(known, answer, "")
    good = {claim.title: claim for claim in judge(ledger, make_expected(), [], is_whole=True)}
    assert good[title].verdict is Verdict.KEPT
    ledger.record_account(kind, status, "")
    bad = {claim.title: claim for claim in judge(ledger, make_expected(), [], is_whole=True)}
    assert bad[title].verdict is Verdict.BROKEN


def test_without_those_who_ask_nothing_is_claimed_of_tokens() -> None:
    """Rules that do not lead to the account make no claim about it."""
    titles = {claim.title for claim in judge(make_ledger(), make_expected(), [], is_whole=True)}
    assert "a valid token is accepted" not in titles


def identities(ledger: Ledger, *, is_whole: bool = True) -> dict[str, Verdict]:
    claims = judge(ledger, make_expected(), [], is_whole=is_whole)
    return {claim.title: claim.verdict for claim in claims}


def test_one_call_without_an_identity_breaks_the_claim() -> None:
    """Mutual TLS is for all of them or it is not."""
    ledger = make_ledger()
    ledger.peers["spiffe://cluster.local/ns/default/sa/bookinfo-client", "1"] = 40
    assert identities(ledger)["every call is mutual TLS"] is Verdict.KEPT
    ledger.peers["", ""] = 1
    assert identities(ledger)["every call is mutual TLS"] is Verdict.BROKEN


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "title"),
    [
        (PLAINTEXT, 0, 200, "plaintext is refused"),
        (PLAINTEXT, 0, 403, "plaintext is refused"),
        (WRONG_ACCOUNT, 403, 200, "only reviews may call ratings"),
        (WRONG_ACCOUNT, 403, 0, "only reviews may call ratings"),
    ],
)
def test_one_stranger_who_comes_in_breaks_the_claim(kind: str, right: int, wrong: int, title: str) -> None:
    """Plaintext is closed, not answered; another account is answered, and not with the ratings."""
    ledger = make_ledger()
    ledger.record_stranger(kind, right, "")
    assert identities(ledger)[title] is Verdict.KEPT
    ledger.record_stranger(kind, wrong, "")
    assert identities(ledger)[title] is Verdict.BROKEN


def test_renewed_certificates_must_be_shown() -> None:
    """Soon after the renewal nothing is said yet; later some account must have shown a second one."""
    ledger = make_ledger()
    account = "spiffe://cluster.local/ns/default/sa/bookinfo-client"
    ledger.peers[account, "1"] = 5
    assert "new certificates are shown" not in identities(ledger)
    ledger.record_renewal()
    assert identities(ledger)["new certificates are shown"] is Verdict.OPEN
    ledger.renewed[0] -= 10
    assert identities(ledger)["new certificates are shown"] is Verdict.BROKEN
    assert identities(ledger, is_whole=False)["new certificates are shown"] is Verdict.OPEN
    ledger.peers[account, "2"] = 1
    assert identities(ledger)["new certificates are shown"] is Verdict.KEPT
