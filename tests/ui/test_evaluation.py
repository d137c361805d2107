"""Evaluations of the page on real tiny models: what is chosen is what is heard, and what is stopped goes on."""

import json
import shutil
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.predictions import read_predictions
from merger.errors import WhisperMergeError
from tests.evaluation.trio import write_corpus
from tests.ui.acting import act, heard, held
from tests.ui.conftest import OWNER
from ui import evaluation as screen
from ui import evaluation_run
from ui.errors import NotFound
from ui.reports import FILES
from ui.sessions import Session
from ui.worker import FINISHED
from ui.workshop import Workshop

SECONDS = 60.0


def ended(session: Session) -> dict[str, Any]:
    """The evaluation on the page, once it is over."""
    deadline = time.monotonic() + SECONDS
    while (told := session.get("evaluation")) is None or told["state"] == "running" or not over(told):
        assert time.monotonic() < deadline, told
        time.sleep(0.01)
    return told


def over(told: dict[str, Any]) -> bool:
    return told["job"] is None or told["job"]["state"] in {str(state) for state in FINISHED}


def begin(workshop: Workshop, session: Session, **payload: Any) -> None:
    usual = {"source": "samples", "systems": ["a", "b", "base"], "lang": "ru"}
    act(workshop, session, "evaluation.start", **{**usual, **payload})


def packed(workshop: Workshop, tmp_path: Path, spoil: Any = None, clips: int = 3) -> Path:
    """An uploaded zip of a small corpus; `spoil` changes its manifest's lines."""
    folder = tmp_path / f"corpus{time.monotonic_ns()}"
    folder.mkdir()
    manifest = write_corpus(folder, clips=clips)
    if spoil is not None:
        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        manifest.write_text("".join(json.dumps(one) + "\n" for one in spoil(lines)), encoding="utf-8")
    archive = tmp_path / "uploads" / f"{folder.name}.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in folder.iterdir():
            out.write(path, path.name)
    return archive


@pytest.fixture
def session(workshop: Workshop) -> Session:
    session = workshop.session(OWNER)
    heard(workshop, session)
    return session


def test_every_chosen_system_hears_every_sample(workshop: Workshop, session: Session) -> None:
    act(workshop, session, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 1.0}})  # A itself
    heard(workshop, session)
    offered = act(workshop, session, "evaluation.offer")
    assert offered["samples"]["clips"] == 3 and offered["base"]
    (kept,) = offered["recipes"]  # the guide's starting recipe was heard before
    begin(workshop, session, recipes=[kept["digest"], "no such recipe"])
    told = ended(session)
    assert told["state"] == "done", told
    assert [row["role"] for row in told["rows"]] == ["base", "a", "b", "merged", "saved"]
    rows = {row["role"]: row for row in told["rows"]}
    assert rows["merged"]["wer"] == rows["a"]["wer"] and rows["merged"]["cer"] == rows["a"]["cer"]
    folder = screen.reports_of(workshop).folder(OWNER, told["id"])
    texts = {(p.system, p.id): p.text for p in read_predictions(folder / "predictions.jsonl")}
    assert len(texts) == 5 * 3
    for side, name in (("a", rows["a"]["name"]), ("b", rows["b"]["name"])):
        clip = workshop.clips.samples[0]
        workshop.clips.sound(OWNER, clip.id)
        act(workshop, session, "clips.choose", id=clip.id)
        result = heard(workshop, session)
        assert texts[name, "0"] == result[side]["text"]
    assert told["verdict"]["ru"].startswith("Слияние: WER ") and "«общий предок»" in told["verdict"]["ru"]
    assert rows["a"]["title"]["ru"] == workshop.models.names(session.models)["a"].ru
    assert told["lacks"]["ru"].startswith("Для вывода")


def test_the_base_is_heard_as_it_is(workshop: Workshop, session: Session) -> None:
    """It has no module of its own on the device: the mixture that adds nothing to it stands in."""
    begin(workshop, session)
    told = ended(session)
    folder = screen.reports_of(workshop).folder(OWNER, told["id"])
    wrote = {p.id: p.text for p in read_predictions(folder / "predictions.jsonl") if p.system == "общий предок"}
    act(workshop, session, "models.choose", role="a", ref="base")
    for clip in workshop.clips.samples:
        act(workshop, session, "clips.choose", id=clip.id)
        assert heard(workshop, session)["a"]["text"] == wrote[clip.path.stem]


def test_the_three_files_agree_and_belong_to_their_owner(workshop: Workshop, session: Session) -> None:
    begin(workshop, session)
    told = ended(session)
    files = {name: act(workshop, session, "evaluation.file", id=told["id"], name=name) for name in FILES}
    cells = {(c["section"], c["system"], c["figure"]): c for c in json.loads(files["results.json"])["cells"]}
    wer = cells["overall", told["rows"][1]["name"], "wer"]
    assert wer["value"] == told["rows"][1]["wer"]["value"]
    assert str(wer["value"]) in files["results.csv"] and f'data-value="{wer["value"]!r}"' in files["report.ru.html"]
    assert '<html lang="en">' in files["report.en.html"] and "<script" not in files["report.ru.html"]
    assert "default-src 'none'" in files["report.ru.html"]
    stranger = workshop.session("somebody-else-" + "y" * 20)
    for action, more in (("file", {"name": "results.json"}), ("show", {}), ("resume", {}), ("forget", {})):
        with pytest.raises(NotFound):
            act(workshop, stranger, f"evaluation.{action}", id=told["id"], **more)
    for name in ("summary.json", "../x", "run.json"):
        with pytest.raises(NotFound):
            act(workshop, session, "evaluation.file", id=told["id"], name=name)
    for place in ("..", "../" + OWNER, "", told["id"] + "/.."):
        with pytest.raises(NotFound):
            act(workshop, session, "evaluation.file", id=place, name="results.json")


def test_an_uploaded_set_leaves_no_sound_behind(workshop: Workshop, session: Session, tmp_path: Path) -> None:
    archive = packed(workshop, tmp_path)
    begin(workshop, session, source="archive", path=str(archive), name="мой набор.zip")
    told = ended(session)
    assert (told["state"], told["clips"], told["name"]["ru"]) == ("done", 3, "мой набор.zip")
    folder = screen.reports_of(workshop).folder(OWNER, told["id"])
    assert not archive.exists() and not list(folder.rglob("*.wav"))
    assert "data:audio/mpeg;base64," in (folder / "report.ru.html").read_text(encoding="utf-8")


def test_a_strangers_sound_is_decoded_apart(
    workshop: Workshop, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart: list[str] = []
    plain = evaluation_run.load_clip_apart

    def counted(path: Path, *rest: Any) -> Any:
        apart.append(path.name)
        return plain(path, *rest)

    monkeypatch.setattr(evaluation_run, "load_clip_apart", counted)
    begin(workshop, session, source="archive", path=str(packed(workshop, tmp_path)), name="a.zip")
    lab = ended(session)
    assert apart == []
    monkeypatch.setattr(workshop, "settings", replace(workshop.settings, profile="space"))
    begin(workshop, session, source="archive", path=str(packed(workshop, tmp_path)), name="a.zip")
    public = ended(session)
    assert sorted(apart) == ["clip0.wav", "clip1.wav", "clip2.wav"]
    assert [row["wer"] for row in public["rows"]] == [row["wer"] for row in lab["rows"]]


def test_bad_lines_are_listed_and_can_be_left_out(workshop: Workshop, session: Session, tmp_path: Path) -> None:
    def spoil(lines: list[dict[str, Any]]) -> list[Any]:
        return [lines[0], {**lines[1], "audio_filepath": "../../etc/passwd"}, {**lines[2], "duration": 99}]

    begin(workshop, session, source="archive", path=str(packed(workshop, tmp_path, spoil)), name="a.zip")
    told = ended(session)
    assert (told["state"], told["error"]["code"], told["faults"]["count"]) == ("failed", "BAD_MANIFEST", 2)
    assert [one["ru"].split(":")[0] for one in told["faults"]["first"]] == ["Манифест, строка 2", "Манифест, строка 3"]
    act(workshop, session, "evaluation.resume", id=told["id"], skip_bad=True)
    told = ended(session)
    assert (told["state"], told["clips"], told["faults"], told["skipped"]["count"]) == ("done", 1, None, 2)


@pytest.mark.parametrize("content", [b"", b"no zip at all"])
def test_what_is_no_archive(workshop: Workshop, session: Session, tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "uploads" / "a.zip"
    archive.write_bytes(content)
    begin(workshop, session, source="archive", path=str(archive), name="a.zip")
    told = ended(session)
    assert told["state"] == "failed" and "zip" in told["error"]["remedy"]["ru"]
    assert told["faults"]["count"] == 1


def test_only_uploads_are_unpacked(workshop: Workshop, session: Session, tmp_path: Path) -> None:
    archive = packed(workshop, tmp_path)
    elsewhere = shutil.move(archive, tmp_path / "a.zip")
    with pytest.raises(WhisperMergeError):
        begin(workshop, session, source="archive", path=str(elsewhere), name="a.zip")
    assert act(workshop, session, "evaluation.offer")["past"] == []


def test_a_set_above_the_minutes_is_refused(
    workshop: Workshop, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop, "settings", replace(workshop.settings, max_evaluation_minutes=0.02))  # 1.2 s
    begin(workshop, session, source="archive", path=str(packed(workshop, tmp_path)), name="a.zip")
    told = ended(session)
    assert told["state"] == "failed" and "0.02 min" in told["error"]["sentence"]["en"]


def test_what_was_stopped_goes_on_without_hearing_anything_twice(
    workshop: Workshop, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(workshop, session)
    whole = ended(session)
    asked: list[str] = []
    plain = evaluation_run.predicted

    def stopping(system: Any, entry: Any, *rest: Any) -> Any:
        asked.append(f"{system.name} {entry.id}")
        if len(asked) == 5:
            for job in screen._unfinished(workshop, session):
                workshop.worker.cancel(OWNER, job.id)
        return plain(system, entry, *rest)

    monkeypatch.setattr(evaluation_run, "predicted", stopping)
    begin(workshop, session)
    stopped = ended(session)
    assert stopped["state"] == "cancelled" and len(asked) == 5
    # As after a restart of the server: nothing of the run is in memory any more.
    session.notes.pop(screen.KIND)
    past = act(workshop, session, "evaluation.offer")["past"]
    assert [one["state"] for one in past] == ["cancelled", "done"]
    act(workshop, session, "evaluation.resume", id=stopped["id"])
    resumed = ended(session)
    assert resumed["state"] == "done" and len(asked) == len(set(asked)) == 12
    assert resumed["rows"] == whole["rows"]


def test_a_new_one_stops_the_old_one_and_many_make_room(
    workshop: Workshop, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    busy = workshop.worker.submit("other", "other", held(release))
    begin(workshop, session)
    begin(workshop, session, systems=[])
    release.set()
    assert busy.wait(SECONDS)
    told = ended(session)
    assert [row["role"] for row in told["rows"]] == ["merged"]
    reports = screen.reports_of(workshop)
    assert {one["state"] for one in reports.listed(OWNER)} == {"cancelled", "done"}
    monkeypatch.setattr("ui.reports.KEPT", 3)
    for _ in range(4):
        reports.new(OWNER, name={})
    assert len(reports.listed(OWNER)) == 3
    act(workshop, session, "evaluation.forget", id=reports.listed(OWNER)[0]["id"])
    assert len(reports.listed(OWNER)) == 2


def test_somebody_who_moves_a_slider_waits_for_one_clip_at_most(
    workshop: Workshop, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release, order = threading.Event(), threading.Event(), list[str]()
    predicted, hear = evaluation_run.predicted, workshop.listener.hear

    def evaluating(*arguments: Any) -> Any:
        order.append("evaluation")
        entered.set()
        assert release.wait(SECONDS)
        return predicted(*arguments)

    def comparing(*arguments: Any) -> Any:
        order.append("slider")
        return hear(*arguments)

    monkeypatch.setattr(evaluation_run, "predicted", evaluating)
    monkeypatch.setattr(workshop.listener, "hear", comparing)
    begin(workshop, session)
    assert entered.wait(SECONDS)
    other = workshop.session("another-person-" + "z" * 20)  # whose page begins with a comparison
    release.set()
    assert heard(workshop, other)["merged"]["text"] is not None
    assert ended(session)["state"] == "done"
    assert order == ["evaluation", *3 * ["slider"], *11 * ["evaluation"]]
