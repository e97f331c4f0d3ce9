"""The claims of the demo: what the configuration promises, held against what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from math import sqrt
from typing import Final

from meshlib.cli.demo.expectations import NO_FAULT, USERS, Expected, Promise
from meshlib.cli.demo.ledger import EVERYONE, FORGED, JASON, NO_TOKEN, PLAINTEXT, VALID, WRONG_ACCOUNT, Ledger
from meshlib.cli.demo.servers import Server

__all__ = ["Claim", "Verdict", "judge", "within_three_sigma"]

_NOTICED: Final = 2.0
"""Seconds within which clients look at their files, and make the next call."""
FEWEST: Final = 20
"""Below this many requests a share says nothing."""


class Verdict(Enum):
    """What became of a claim. ``OPEN``: the run was too short to tell."""

    KEPT = "kept"
    BROKEN = "broken"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim with the two sides of it, in words for people."""

    title: str
    expected: str
    observed: str
    verdict: Verdict


def judge(ledger: Ledger, expected: Expected, outages: Sequence[Server], *, is_whole: bool) -> list[Claim]:
    """All claims that the configuration lets the demo make.

    ``outages`` are the servers that were broken on purpose. ``is_whole`` is false
    for a run that was interrupted: what was not seen then is open, not broken.
    """
    claims = [_answered(ledger), _errors(ledger, expected, outages)]
    claims += _shares(ledger, expected)
    claims += _faults(ledger, expected)
    claims += _accounts(ledger)
    claims += _identities(ledger, is_whole=is_whole)
    if outages:
        claims += _recovery(ledger, expected[outages[0].service, EVERYONE], outages, is_whole=is_whole)
    return claims


def within_three_sigma(count: int, total: int, ratio: float) -> bool:
    """Whether ``count`` of ``total`` draws is what chance makes of ``ratio``; certainty allows no exception."""
    return abs(count - total * ratio) <= 3 * sqrt(total * ratio * (1 - ratio)) + 1e-9


def _verdict(*, is_kept: bool, may_wait: bool = False) -> Verdict:
    if is_kept:
        return Verdict.KEPT
    return Verdict.OPEN if may_wait else Verdict.BROKEN


def _answered(ledger: Ledger) -> Claim:
    answered = ledger.count("productpage", matches=bool)
    lost = (ledger.sent - answered) + ledger.count(matches=lambda status: status == 0)
    verdict = _verdict(is_kept=lost == 0)
    return Claim("no request is lost", f"{ledger.sent} pages", f"{answered} pages", verdict)


def _errors(ledger: Ledger, expected: Expected, outages: Sequence[Server]) -> Claim:
    """Callers see the injected errors, and those of a broken server only where no retry is configured."""
    errors = ledger.count(matches=lambda status: status >= 400)
    injected = ledger.injected_errors
    bare = [server for server in outages if not expected[server.service, EVERYONE].retries_503]
    most = injected + sum(server.refused for server in bare)
    wanted = f"{injected} errors" if most == injected else f"{injected}–{most} errors"
    verdict = _verdict(is_kept=injected <= errors <= most)
    return Claim("errors only where injected", wanted, f"{errors} errors", verdict)


def _shares(ledger: Ledger, expected: Expected) -> Iterator[Claim]:
    everyone = expected["reviews", EVERYONE]
    for user in USERS:
        promise = expected["reviews", user]
        if user == JASON and promise.shares == everyone.shares:
            continue  # no rule of his own
        seen = ledger.reviewed(user)
        for share in promise.shares:
            count = sum(seen.get(version, 0) for version in share.versions)
            yield _ratio(f"reviews {share.name} for {user}", share.ratio, count, sum(seen.values()))


def _faults(ledger: Ledger, expected: Expected) -> Iterator[Claim]:
    for (service, route), promises in _faulty_routes(expected).items():
        fault = promises[0].fault
        total = sum(ledger.count(service, promise.user) for promise in promises)
        users = " and ".join(promise.user for promise in promises)
        if fault.abort is not None and fault.abort.ratio > 0:
            title = f"{service} fails for {users}"
            yield _ratio(title, fault.abort.ratio, ledger.aborts[service, route], total)
        if fault.delay is not None and fault.delay.ratio > 0:
            title = f"{service} {fault.delay.seconds * 1000:g} ms late for {users}"
            yield _ratio(title, fault.delay.ratio, ledger.delays[service, route], total)


def _faulty_routes(expected: Expected) -> dict[tuple[str, str], list[Promise]]:
    """The promises with a fault by service and route: its events name those, but not the user.

    Routes without a name cannot be told apart: if their faults differ, nothing can be claimed.
    """
    routes: dict[tuple[str, str], list[Promise]] = {}
    for promise in expected.values():
        if promise.fault != NO_FAULT:
            routes.setdefault((promise.service, promise.route), []).append(promise)
    return {key: found for key, found in routes.items() if all(one.fault == found[0].fault for one in found)}


def _ratio(title: str, ratio: float, count: int, total: int) -> Claim:
    margin = 3 * sqrt(ratio * (1 - ratio) / total) if total else 0.0
    wanted = f"{ratio:.0%} ± {margin:.1%}" if margin else f"{ratio:.0%}"
    observed = f"{count / total:.1%} of {total}" if total else "no request"
    is_kept = total >= FEWEST and within_three_sigma(count, total, ratio)
    return Claim(title, wanted, observed, _verdict(is_kept=is_kept, may_wait=total < FEWEST))


def _accounts(ledger: Ledger) -> Iterator[Claim]:
    """What the policies say of those who ask for their account; nothing if nobody does."""
    for kind, title, wanted in (
        (VALID, "a valid token is accepted", 200),
        (FORGED, "a forged token is refused", 401),
        (NO_TOKEN, "no token, no account", 403),
    ):
        total = sum(number for (known, _), number in ledger.accounts.items() if known == kind)
        if total:
            kept = ledger.accounts[kind, wanted]
            yield Claim(title, f"{wanted}", f"{kept} of {total}", _verdict(is_kept=kept == total))


def _identities(ledger: Ledger, *, is_whole: bool) -> Iterator[Claim]:
    """What PeerAuthentication and the policies about accounts promise; nothing before a server was called."""
    total = ledger.peers.total()
    if total:
        known = sum(number for (account, _), number in ledger.peers.items() if account)
        title = "every call is mutual TLS"
        yield Claim(title, f"{total} calls", f"{known} calls", _verdict(is_kept=known == total))
    for kind, title, wanted in (
        (PLAINTEXT, "plaintext is refused", 0),
        (WRONG_ACCOUNT, "only reviews may call ratings", 403),
    ):
        total = sum(number for (known_kind, _), number in ledger.strangers.items() if known_kind == kind)
        if total:
            kept = ledger.strangers[kind, wanted]
            shown = f"{wanted}" if wanted else "closed"
            yield Claim(title, shown, f"{kept} of {total}", _verdict(is_kept=kept == total))
    if ledger.renewed:
        shown_by: dict[str, set[str]] = {}
        for account, number in ledger.peers:
            shown_by.setdefault(account, set()).add(number)
        most = max(map(len, shown_by.values()), default=0)
        is_early = ledger.now() - ledger.renewed[-1] < _NOTICED
        verdict = _verdict(is_kept=most == len(ledger.renewed) + 1, may_wait=is_early or not is_whole)
        yield Claim("new certificates are shown", _times(len(ledger.renewed)), _times(most - 1), verdict)


def _recovery(ledger: Ledger, promise: Promise, outages: Sequence[Server], *, is_whole: bool) -> Iterator[Claim]:
    name = outages[0].name
    if promise.retries_503:
        retries, refused = ledger.retries[promise.service], sum(server.refused for server in outages)
        verdict = _verdict(is_kept=retries > 0, may_wait=not is_whole)
        yield Claim(f"retries hide the broken {name}", f"{refused} × 503", f"{retries} retries", verdict)
    detection = promise.outlier
    if detection is None:
        return
    addresses = {server.address for server in outages}
    out = sum(address in addresses for address in ledger.ejections)
    back = sum(address in addresses for address in ledger.unejections)
    verdict = _verdict(is_kept=out > 0, may_wait=not is_whole)
    yield Claim(f"{name} is ejected", f"after {detection.consecutive_5xx} errors", _times(out), verdict)
    is_early = any(ledger.now() <= due + detection.interval for due in ledger.ejected.values())
    verdict = _verdict(is_kept=out == back > 0, may_wait=is_early or not is_whole)
    yield Claim(f"{name} comes back", f"after {detection.base_ejection_time:g} s", _times(back), verdict)


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")
