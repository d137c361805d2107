"""Recordings on disk: found again after a restart, removed by age, heard together."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ui.acting import act, heard
from tests.ui.conftest import EVIL, OWNER, write_tone
from ui.errors import NotFound
from ui.settings import Settings
from ui.shelf import DAY, Shelf
from ui.workshop import Workshop

OTHER = "other-" + "y" * 20


def put(workshop: Workshop, uploads: Path, owner: str, name: str, pitch: float, **payload: Any) -> str:
    """Uploads a tone as this person; returns the clip's id."""
    sound = write_tone(uploads / f"{pitch}.wav", pitch=pitch)
    session = workshop.session(owner)
    act(workshop, session, "clips.add", path=str(sound), name=name, **payload)
    return session.shelf[0]


def test_a_restart_finds_every_shelf_and_what_was_really_said(settings: Settings, tmp_path: Path) -> None:
    from ui import views

    views.load()
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    first = Workshop(settings, uploads=uploads)
    try:
        older = put(first, uploads, OWNER, f"{EVIL}.wav", 300.0)
        newer = put(first, uploads, OWNER, "x.webm", 310.0, recorded="09:05:07")
        act(first, first.session(OWNER), "listen.reference", text="так и сказано")
        put(first, uploads, OTHER, "чужая.wav", 320.0)
    finally:
        first.close()
    second = Workshop(settings, uploads=uploads)
    try:
        session = second.session(OWNER)
        assert session.shelf == [newer, older]
        names = [clip["name"] for clip in session.get("clips")["shelf"]]
        assert names[0] == {"ru": "Микрофон, 09:05:07", "en": "Microphone, 09:05:07"}
        assert names[1]["ru"] == f"{EVIL}.wav"
        act(second, session, "clips.choose", id=newer)
        assert session.get("clip")["reference"] == "так и сказано"
        act(second, session, "clips.forget", id=older)
        assert [path.name for path in (settings.data / "clips" / OWNER).iterdir() if older in path.name] == []
    finally:
        second.close()


def test_what_nobody_used_for_long_goes_from_disk_and_page(workshop: Workshop, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    old, kept = (put(workshop, uploads, OWNER, f"{pitch}.wav", pitch) for pitch in (300.0, 310.0))
    session = workshop.session(OWNER)
    heard(workshop, session)
    folder = workshop.settings.data / "clips" / OWNER
    days = workshop.settings.keep_clips_days
    long_ago = time.time() - (days + 1) * DAY
    os.utime(folder / old, (long_ago, long_ago))
    workshop.clips.sweep(time.time())
    assert session.shelf == [kept] and session.clip == kept
    assert sorted(path.name for path in folder.iterdir()) == [kept, f"{kept}.json"]
    with pytest.raises(NotFound):
        workshop.clips.find(OWNER, old)
    workshop.clips.sweep(time.time() + (days + 1) * DAY)
    assert session.shelf == [] and session.clip == workshop.clips.samples[0].id and not folder.exists()


def test_hearing_a_recording_begins_its_days_anew(workshop: Workshop, tmp_path: Path) -> None:
    clip = put(workshop, tmp_path / "uploads", OWNER, "a.wav", 300.0)
    path = workshop.settings.data / "clips" / OWNER / clip
    os.utime(path, (1, 1))
    workshop.clips.sound(OWNER, clip)
    assert path.stat().st_mtime > time.time() - 60


def test_a_spoilt_note_is_left_out_and_ages(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, days=1)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "x").write_bytes(b"sound")
    (tmp_path / "ann" / "x.json").write_text("{", encoding="utf-8")
    assert list(shelf.kept()) == []
    assert shelf.sweep(time.time()) == []
    assert shelf.sweep(time.time() + 2 * DAY) == [("ann", "x")] and list(tmp_path.iterdir()) == []


def test_a_made_up_time_of_a_recording_is_no_title(workshop: Workshop, tmp_path: Path) -> None:
    put(workshop, tmp_path / "uploads", OWNER, "file.wav", 300.0, recorded="<b>now</b>")
    assert workshop.session(OWNER).get("clips")["shelf"][0]["name"]["ru"] == "file.wav"


def test_all_recordings_are_heard_by_the_recipe_in_force(workshop: Workshop, tmp_path: Path) -> None:
    own = put(workshop, tmp_path / "uploads", OWNER, "a.wav", 300.0)
    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "listen.all")
    job = workshop.worker.job(OWNER, session.job or "")
    assert job is not None and job.wait(60) and job.error is None
    samples = [clip.id for clip in workshop.clips.samples]
    assert job.result == 1 + len(samples)
    told = session.get("heard")
    assert set(told) == {own, *samples} and {one["key"] for one in told.values()} == {session.get("recipe")["key"]}
    assert told[own]["wer"] is None and told[samples[0]]["wer"] is not None
    act(workshop, session, "mixer.preset", name="experiment-direct")
    heard(workshop, session)
    told, key = session.get("heard"), session.get("recipe")["key"]
    assert [clip for clip, one in told.items() if one["key"] == key] == [own], "the others are out of date"
