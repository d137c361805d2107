"""The history: experiments, clips, transcripts, scores, votes and jobs in one SQLite file. The only user of sqlite3.

Every row belongs to an owner, and every read and write names the owner: there is no call that crosses owners but the
worker's own (`JobRows.recover`, `JobRows.pending`). `python -m evaluation.store` backs a file up, checks it, brings it
up to date.
"""

from evaluation.store.records import (
    Experiment,
    Job,
    JobState,
    Side,
    StoredClip,
    StoredTranscript,
    Vote,
)
from evaluation.store.schema import MIGRATIONS
from evaluation.store.store import Store

__all__ = [
    "MIGRATIONS", "Experiment", "Job", "JobState", "Side", "Store", "StoredClip", "StoredTranscript", "Vote",
]  # fmt: skip
