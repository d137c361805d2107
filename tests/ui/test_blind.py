"""Blind voting."""

import json
from dataclasses import replace
from typing import Any

import pytest

from merger.errors import BadRecipe
from tests.ui.acting import act, finished, heard
from tests.ui.conftest import OWNER
from ui import blind
from ui.errors import NotFound
from ui.sessions import Session
from ui.workshop import Workshop


def begun_round(workshop: Workshop) -> tuple[Session, dict[str, Any]]:
    """A round of three different texts: what tiny models write may happen to be the same."""
    session = workshop.session(OWNER)
    heard(workshop, session)
    hear = workshop.listener.hear

    def hear_apart(side: str, *rest: Any) -> Any:
        heard = hear(side, *rest)
        return replace(heard, transcript=replace(heard.transcript, text=f"{heard.transcript.text} {side}"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workshop.listener, "hear", hear_apart)
        act(workshop, session, "blind.new")
        finished(workshop, session, "blind")
    return session, session.get("blind")


def heard_enough(session: Session) -> None:
    session.notes["blind"].began -= 60.0


def test_who_is_who_stays_on_the_server_until_the_vote(workshop: Workshop) -> None:
    session, shown = begun_round(workshop)
    assert shown["labels"] is None and len(shown["texts"]) == 3
    assert {name.en for name in workshop.models.names(session.models).values()}.isdisjoint(json.dumps(shown).split('"'))
    heard_enough(session)
    act(workshop, session, "blind.vote", id=shown["id"], choice="1", heard=60)
    revealed = session.get("blind")
    assert revealed["vote"] == "1" and len(revealed["labels"]) == 3
    told = session.notes["blind"]
    kept = workshop.store.votes(session.owner)
    first, winner, last = (names[0] for names in told.names)
    assert [(one.left_name, one.right_name, one.choice) for one in kept] == [
        (first, winner, "right"),
        (winner, last, "left"),
    ]
    assert {one.ballot for one in kept} == {told.id}
    assert len(workshop.store.votes(blind.EVERYBODY)) == 2


def test_a_vote_needs_the_recording_heard_whatever_the_page_claims(workshop: Workshop) -> None:
    session, shown = begun_round(workshop)
    with pytest.raises(BadRecipe, match="Listen"):
        act(workshop, session, "blind.vote", id=shown["id"], choice="0", heard=60)  # no time has passed
    heard_enough(session)
    with pytest.raises(BadRecipe, match="Listen"):
        act(workshop, session, "blind.vote", id=shown["id"], choice="0", heard=0.1)
    with pytest.raises(BadRecipe, match="no such vote"):
        act(workshop, session, "blind.vote", id=shown["id"], choice="7", heard=60)
    act(workshop, session, "blind.vote", id=shown["id"], choice="same", heard=60)
    assert [one.choice for one in workshop.store.votes(session.owner)] == ["tie"] * 3
    with pytest.raises(NotFound):
        act(workshop, session, "blind.vote", id=shown["id"], choice="0", heard=60)


def test_equal_texts_are_one_card_and_tie(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 1.0}})  # A itself
    heard(workshop, session)
    act(workshop, session, "blind.new")
    finished(workshop, session, "blind")
    told, shown = session.notes["blind"], session.get("blind")
    assert len(shown["texts"]) == len(set(shown["texts"])) == 2
    both = next(index for index, names in enumerate(told.names) if len(names) == 2)
    heard_enough(session)
    act(workshop, session, "blind.vote", id=shown["id"], choice=str(both), heard=60)
    kept = workshop.store.votes(session.owner)
    winners, (loser,) = set(told.names[both]), told.names[1 - both]
    results = {frozenset((one.left_name, one.right_name)): one for one in kept}
    assert len(kept) == 3 and results[frozenset(winners)].choice == "tie"
    for winner in winners:
        vote = results[frozenset((winner, loser))]
        assert vote.choice == ("left" if vote.left_name == winner else "right")


def test_nothing_is_asked_where_all_texts_are_the_same(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "models.choose", role="b", ref=session.models["a"])
    act(workshop, session, "blind.new")
    finished(workshop, session, "blind")
    assert session.get("blind") == {"alike": 3} and "blind" not in session.notes


def test_a_candidate_named_by_another_version_keeps_its_name(workshop: Workshop) -> None:
    unknown = json.dumps({"recipe": {"method": "gone", "parameters": {}}, "models": {}})
    for name in ("Модель из старой базы", "[1]", unknown):
        assert blind.label(workshop, name) == {"ru": name, "en": name}


def test_blind_results_and_their_export(workshop: Workshop) -> None:
    session, shown = begun_round(workshop)
    heard_enough(session)
    act(workshop, session, "blind.vote", id=shown["id"], choice="0", heard=60)
    told = act(workshop, session, "blind.results")
    assert told["own"]["votes"] == told["all"]["votes"] == 1, "one ballot, though it speaks about two pairs"
    assert told["own"]["rows"][0]["name"] == session.notes["blind"].names[0][0]
    assert act(workshop, session, "blind.export").count("\r\n") == 3
