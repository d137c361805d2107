"""Recordings and what is heard in them."""

import errno
from pathlib import Path

import pytest

from evaluation.errors import BadAudio
from merger.errors import DiskFull
from tests.ui.acting import SECONDS, act, heard
from tests.ui.conftest import OWNER, write_tone
from ui.errors import NotFound
from ui.listen import crossed, hearing_verdict
from ui.worker import JobState
from ui.workshop import Workshop

TEXTS = ("Мама мыла раму.", "Мама мыла рану.", "")


def test_an_upload_is_taken_over_heard_and_forgotten(workshop: Workshop, tmp_path: Path) -> None:
    session = workshop.session(OWNER)
    upload = write_tone(tmp_path / "uploads" / "x.wav", pitch=333.0)
    act(workshop, session, "clips.add", path=str(upload), name="../../моя <b>запись</b>.wav")
    assert not upload.exists()
    clip = session.get("clip")
    assert clip["name"]["ru"] == "b>.wav" == clip["name"]["en"]
    assert "/" not in clip["name"]["ru"]
    assert heard(workshop, session)["clip"] == clip["id"]
    act(workshop, session, "clips.forget", id=clip["id"])
    assert session.get("clips")["shelf"] == []
    with pytest.raises(NotFound):
        workshop.clips.find(session.owner, clip["id"])


def test_a_file_that_was_not_uploaded_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    session = workshop.session(OWNER)
    outside = write_tone(tmp_path / "outside.wav")
    (tmp_path / "uploads" / "link.wav").symlink_to(outside)
    for path in (outside, tmp_path / "uploads" / "link.wav", Path("/etc/passwd")):
        with pytest.raises(BadAudio):
            act(workshop, session, "clips.add", path=str(path), name="x.wav")
    assert outside.exists()


def test_a_full_disk_is_named_and_leaves_nothing(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = workshop.session(OWNER)
    upload = write_tone(tmp_path / "uploads" / "x.wav", pitch=377.0)

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ui.clips.shutil.move", full)
    with pytest.raises(DiskFull, match="DISK_FULL"):
        act(workshop, session, "clips.add", path=str(upload), name="x.wav")
    assert list((workshop.settings.data / "clips").rglob("*")) == [workshop.settings.data / "clips" / session.owner]


def test_nobody_hears_somebody_elses_upload(workshop: Workshop, tmp_path: Path) -> None:
    ann, bob = workshop.session("ann-" + "a" * 22), workshop.session("bob-" + "b" * 22)
    act(workshop, ann, "clips.add", path=str(write_tone(tmp_path / "uploads" / "x.wav", pitch=401.0)), name="x.wav")
    clip_id = ann.get("clip")["id"]
    with pytest.raises(NotFound):
        act(workshop, bob, "clips.choose", id=clip_id)
    signature = workshop.clips.address(ann.owner, clip_id).rsplit("/", 1)[1].removesuffix(".wav")
    assert workshop.clips.signed(ann.owner, clip_id, signature)
    assert not workshop.clips.signed(bob.owner, clip_id, signature)


def test_a_reference_scores_without_listening_again(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    result = heard(workshop, session)
    job = session.job
    written = {side: {**result[side], "text": text} for side, text in zip(("a", "merged", "b"), TEXTS, strict=True)}
    session.publish(result={**result, **written})
    act(workshop, session, "listen.reference", text="  мама  мыла раму ")
    assert [session.get("result")[side]["wer"] for side in ("a", "merged", "b")] == [0.0, pytest.approx(1 / 3), 1.0]
    assert session.get("clip")["reference"] == "мама мыла раму"
    act(workshop, session, "listen.reference", text="")
    assert session.get("result")["merged"]["wer"] is None
    assert session.job == job


def test_who_hears_who_writes_is_made_of_both_models(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    result = heard(workshop, session)
    act(workshop, session, "listen.swap")
    job = workshop.worker.job(session.owner, session.job or "")
    assert job is not None and job.wait(SECONDS) and job.state is JobState.DONE
    cells = session.get("swap")["cells"]
    assert cells["aa"]["text"] == result["a"]["text"] and cells["bb"]["text"] == result["b"]["text"]
    assert set(cells) == {"aa", "ab", "ba", "bb"}
    recipe = crossed("b", "a")
    assert recipe.parameters["direct_alpha"] == 1.0
    assert recipe.parts["encoder"]["direct_alpha"].anchors == (0.0,)


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        (("да", "да", "да", "да"), "same"),
        (("да", "да", "нет", "нет"), "hearing"),
        (("да", "нет", "да", "нет"), "writing"),
        (("да", "нет", "нет", "да"), "both"),
    ],
)
def test_the_verdict_of_the_swap(texts: tuple[str, ...], word: str) -> None:
    cells = {key: {"text": text} for key, text in zip(("aa", "ab", "ba", "bb"), texts, strict=True)}
    assert word in hearing_verdict(cells).en
