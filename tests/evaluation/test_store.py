"""The history: what goes in comes out, for its owner only, and damage is set aside."""

import sqlite3
import threading
from pathlib import Path

import pytest

from evaluation.store import MIGRATIONS, Store, StoredClip, StoredTranscript, Vote
from merger.errors import DiskFull

RECIPE = {"method": "ties", "parameters": {"ties_density": 0.85}}
CLIP = StoredClip("ab" * 32, "проба.wav", 3.25)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "history.sqlite")


def add(store: Store, owner: str = "ann", **changes: object) -> str:
    values = {
        "recipe": RECIPE,
        "digest": "d1",
        "sources": {"a": {"name": "A"}},
        "clip": CLIP,
        "reference": "он живёт в Москве",
        "normalizer": "ru-2026.1",
        "transcripts": {
            "a": StoredTranscript("он живёт в Москве", 0.5, None, 0.0, 0.0),
            "merged": StoredTranscript("он живёт в Москву", 0.25, 7, 0.25, 1 / 17, {"words": [["он", 0.0, 0.2]]}),
        },
    }
    return store.add_experiment(owner, **{**values, **changes})  # type: ignore[arg-type]


def test_an_experiment_comes_back_whole(store: Store) -> None:
    found = store.experiment("ann", add(store, note="первая"))
    assert found is not None
    assert (found.recipe, found.digest, found.clip, found.reference) == (RECIPE, "d1", CLIP, "он живёт в Москве")
    assert (found.note, found.starred, found.normalizer) == ("первая", False, "ru-2026.1")
    assert found.transcripts["merged"] == StoredTranscript(
        "он живёт в Москву", 0.25, 7, 0.25, 1 / 17, {"words": [["он", 0.0, 0.2]]}
    )
    assert list(found.transcripts) == ["a", "merged"]


def test_owners_do_not_see_each_other(store: Store) -> None:
    key = add(store, "ann")
    assert store.experiment("bob", key) is None
    assert store.experiments("bob") == []
    assert store.annotate("bob", key, note="чужое") is False
    assert store.delete_experiment("bob", key) is False
    job = store.add_job("ann", "export", {})
    assert store.job("bob", job) is None and store.jobs("bob") == []
    store.add_vote("ann", Vote("c", "A", "B", "left"))
    assert store.votes("bob") == []
    assert store.experiment("ann", key) is not None


def test_newest_first_star_note_search_delete(store: Store) -> None:
    first, second = add(store), add(store, note="100% громко")
    assert [e.id for e in store.experiments("ann")] == [second, first]
    assert store.annotate("ann", first, starred=True) and store.annotate("ann", first, note="тихо")
    assert [(e.id, e.note) for e in store.experiments("ann", starred=True)] == [(first, "тихо")]
    assert [e.id for e in store.experiments("ann", search="100%")] == [second]
    assert [e.id for e in store.experiments("ann", search="Москву")] == [second, first]
    assert store.experiments("ann", search="%") != store.experiments("ann")
    assert [e.id for e in store.experiments("ann", limit=1, offset=1)] == [first]
    assert store.delete_experiment("ann", first)
    assert [e.id for e in store.experiments("ann")] == [second]
    assert store._read("SELECT count(*) FROM transcripts WHERE experiment = ?", (first,))[0][0] == 0


def test_half_an_experiment_is_none(store: Store) -> None:
    with pytest.raises(TypeError):
        add(store, transcripts={"a": StoredTranscript("x", detail={"bad": object()})})
    assert store.experiments("ann") == []


def test_votes_in_order(store: Store) -> None:
    votes = [Vote("c1", "A", "B", "left", 2.5), Vote("c2", "B", "A", "tie")]
    for vote in votes:
        store.add_vote("ann", vote)
    assert store.votes("ann") == votes


def test_jobs_survive_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path / "h.sqlite")
    queued, running = first.add_job("ann", "compare", {"n": 1}), first.add_job("bob", "export", {"n": 2})
    first.update_job(running, "running")
    first.close()
    second = Store(tmp_path / "h.sqlite")
    assert second.recover_jobs({"code": "JOB_LOST"}) == (1, 0)
    assert [job.id for job in second.pending_jobs()] == [queued, running]
    second.update_job(queued, "done", result={"text": "да"})
    done = second.job("ann", queued)
    assert done is not None and (done.state, done.result, done.payload) == ("done", {"text": "да"}, {"n": 1})


def test_a_job_that_was_running_at_two_deaths_is_not_begun_a_third_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "h.sqlite")
    deadly, interrupted = store.add_job("ann", "export", {}), store.add_job("ann", "export", {})
    for death in range(2):
        store.update_job(deadly, "running")
        store.update_job(interrupted, "running")
        store.update_job(interrupted, "queued")  # a server that ends in good order puts it back
        expected = (1, 0) if death == 0 else (0, 1)
        assert store.recover_jobs({"code": "JOB_LOST"}) == expected
    lost = store.job("ann", deadly)
    assert lost is not None and (lost.state, lost.error, lost.attempts) == ("failed", {"code": "JOB_LOST"}, 2)
    assert [job.id for job in store.pending_jobs()] == [interrupted]


def test_migrations_run_once_and_keep_rows(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    store = Store(path)
    key = add(store)
    store.close()
    again = Store(path)
    assert again.experiment("ann", key) is not None
    applied = [row["name"] for row in again._read("SELECT name FROM migrations ORDER BY name", ())]
    assert applied == [name for name, _ in MIGRATIONS]


def test_an_old_file_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.store.schema.MIGRATIONS", MIGRATIONS[:1])
    old = Store(tmp_path / "h.sqlite")
    key = add(old)
    old.close()
    monkeypatch.setattr("evaluation.store.schema.MIGRATIONS", MIGRATIONS)
    new = Store(tmp_path / "h.sqlite")
    new.add_vote("ann", Vote("c", "A", "B", "right"))
    new.add_vote("ann", Vote("c", "A", "B", "tie", 2.5, "one ballot"))
    assert new.votes("ann") == [Vote("c", "A", "B", "right"), Vote("c", "A", "B", "tie", 2.5, "one ballot")]
    assert new.experiment("ann", key) is not None
    kept = sqlite3.connect(tmp_path / f"h.sqlite.before-{MIGRATIONS[1][0]}")
    assert kept.execute("SELECT id FROM experiments").fetchall() == [(key,)]


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "h.sqlite"
    monkeypatch.setattr("evaluation.store.schema.MIGRATIONS", (*MIGRATIONS, ("9999_later", "CREATE TABLE later (x)")))
    Store(path).close()
    before = path.read_bytes()
    monkeypatch.setattr("evaluation.store.schema.MIGRATIONS", MIGRATIONS)
    with pytest.raises(sqlite3.OperationalError, match="9999_later"):
        Store(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["h.sqlite"]


@pytest.mark.parametrize("damage", ["not a database at all" * 100, "page"])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "h.sqlite"
    if damage == "page":
        store = Store(path)
        for _ in range(60):
            add(store)
        store.close()
        data = bytearray(path.read_bytes())
        data[4096 * 3 : 4096 * 9] = b"\xff" * 4096 * 6
        path.write_bytes(data)
    else:
        path.write_text(damage)
    before = path.read_bytes()
    store = Store(path)
    assert store.quarantined is not None and store.quarantined.read_bytes() == before
    assert store.experiment("ann", add(store)) is not None


def test_a_locked_file_is_waited_for_and_never_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "h.sqlite"
    store = Store(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()
    assert add(store)
    release.join()
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("evaluation.store.database.BUSY_SECONDS", 0.05)
    with pytest.raises(sqlite3.OperationalError):
        Store(path)
    other.execute("COMMIT")
    assert list(tmp_path.glob("*corrupt*")) == []


def test_a_full_disk_is_said_and_nothing_is_lost(store: Store) -> None:
    key = add(store)
    pages = store._read("PRAGMA page_count", ())[0][0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(DiskFull):
        add(store, note="х" * 100_000)
    assert [e.id for e in store.experiments("ann")] == [key]
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert len({key, add(store)}) == len(store.experiments("ann")) == 2


def test_many_threads_write(store: Store) -> None:
    threads = [threading.Thread(target=lambda n=n: [add(store, f"user{n}") for _ in range(10)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(store.experiments(f"user{n}")) for n in range(8)] == [10] * 8
