"""The history: searched, noted, restored, taken along."""

import json
from dataclasses import replace

import pytest

from merger.bilingual import Text
from merger.errors import BadRecipe
from tests.ui.acting import act, heard
from tests.ui.conftest import OWNER
from ui.errors import NotFound
from ui.workshop import Workshop


def test_history_is_searched_noted_starred_and_restored(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "mixer.preset", name="experiment-slerp")
    heard(workshop, session)
    rows = act(workshop, session, "history.list")["rows"]
    assert [row["recipe"]["method"] for row in rows] == ["slerp", "ties"]
    note = "${alert(1)} <img src=x onerror=alert(1)>"
    act(workshop, session, "history.note", id=rows[1]["id"], note=note, starred=True)
    (found,) = act(workshop, session, "history.list", search="onerror", starred=True)["rows"]
    assert (found["id"], found["note"], found["starred"]) == (rows[1]["id"], note, True)
    act(workshop, session, "history.restore", id=rows[1]["id"])
    assert session.recipe.method == "ties"
    act(workshop, session, "history.delete", id=rows[0]["id"])
    assert all(row["id"] != rows[0]["id"] for row in act(workshop, session, "history.list")["rows"])


def test_history_names_a_clip_in_both_languages_while_it_is_there(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    sample = workshop.clips.samples[0]
    workshop.clips._samples[sample.id] = replace(sample, name=Text("Погода", "The weather"))
    (row,) = act(workshop, session, "history.list")["rows"]
    assert row["clip"] == {"ru": "Погода", "en": "The weather"}
    del workshop.clips._samples[sample.id]
    (row,) = act(workshop, session, "history.list")["rows"]
    assert row["clip"] == {"ru": sample.name.ru, "en": sample.name.ru}


def test_history_belongs_to_its_owner(workshop: Workshop) -> None:
    ann, bob = workshop.session("ann-" + "a" * 22), workshop.session("bob-" + "b" * 22)
    heard(workshop, ann)
    key = act(workshop, ann, "history.list")["rows"][0]["id"]
    for name in ("history.restore", "history.delete", "history.note"):
        with pytest.raises(NotFound):
            act(workshop, bob, name, id=key, note="x")


def test_history_travels_as_a_file(workshop: Workshop) -> None:
    session, other = workshop.session(OWNER), workshop.session("other-" + "o" * 20)
    heard(workshop, session)
    heard(workshop, other)
    text = act(workshop, session, "history.export")
    before = len(act(workshop, other, "history.list")["rows"])
    assert act(workshop, other, "history.import", text=text) == 1
    rows = act(workshop, other, "history.list")["rows"]
    assert len(rows) == before + 1
    assert rows[0]["recipe"] == json.loads(text)["experiments"][0]["recipe"]
    for bad in ("no json", "{}", '{"format": "whisper-merge-history-1", "experiments": [{"recipe": 1}]}'):
        with pytest.raises(BadRecipe):
            act(workshop, other, "history.import", text=bad)
    assert len(act(workshop, other, "history.list")["rows"]) == before + 1
