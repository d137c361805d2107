"""The list of attacks: each is a function of a target that says what it saw, or raises Breach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.attack.target import Reply, Target


class Breach(AssertionError):
    """The attack got what it wanted."""


class NotHere(Exception):
    """The attack needs something that this target does not have (a login, a planted model)."""


@dataclass(frozen=True)
class Attack:
    """One attack: the function's name, its first line, and what it needs."""

    name: str
    about: str
    run: Callable[[Target], str]


ATTACKS: dict[str, Attack] = {}


def attack(function: Callable[[Target], str]) -> Callable[[Target], str]:
    """Registers a function."""
    name = function.__name__.replace("_", "-")
    ATTACKS[name] = Attack(name, (function.__doc__ or "").strip().splitlines()[0], function)
    return function


def refused(reply: Reply, *codes: str, what: str = "") -> str:
    """Says how a request was refused. Raises Breach if it was not, or with another code than one of these."""
    if reply.status == 0:
        return "connection closed"
    told = f"{reply.status} {reply.code}".strip()
    if 200 <= reply.status < 300 and not reply.code:
        raise Breach(f"{what} was let in: {told} {reply.text[:200]}")
    if reply.status >= 500:
        raise Breach(f"{what} made the server fail: {told} {reply.text[:200]}")
    if codes and reply.code not in codes and reply.status != 0:
        raise Breach(f"{what} was refused with {told}, expected {' or '.join(codes)}: {reply.text[:200]}")
    return told


def needs(value: object, what: str) -> None:
    if not value:
        raise NotHere(what)
