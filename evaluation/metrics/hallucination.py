"""Text that nobody spoke: known phrases, loops, and words on clips without speech.

The zlib measure is that of openai/whisper (`compression_ratio_threshold`, 2.4), which applies it to one 30 s window; it
grows with the text's length, so here it is taken over windows of as many words as half a minute holds.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.metrics.registry import Counts, Figure, Line, metric
from evaluation.normalize_ru import normalize
from merger.bilingual import Text

ZLIB_LIMIT = 2.4
WINDOW_WORDS = 60  # about 30 s of unhurried Russian
MAX_NGRAM = 6  # words
MIN_REPEATS = 4  # in a row

# Endings of Russian subtitle files, which Whisper has seen in training; compared after L2, as whole words.
KNOWN_PHRASES = (
    "субтитры сделал",
    "субтитры создавал",
    "субтитры создал",
    "субтитры подогнал",
    "субтитры и перевод",
    "субтитры dimatorzok",
    "dimatorzok",
    "редактор субтитров",
    "корректор а егорова",
    "продолжение следует",
    "спасибо за просмотр",
    "спасибо за субтитры",
    "подписывайтесь на канал",
    "подпишись на канал",
    "ставьте лайки",
    "amara org",
)
_PHRASES = re.compile(r"\b(?:" + "|".join(map(re.escape, KNOWN_PHRASES)) + r")\b")

SignCode = Literal["phrase", "loop", "no_speech"]
TITLES: dict[SignCode, Text] = {
    "phrase": Text("заученная фраза", "stock phrase"),
    "loop": Text("зацикливание", "loop"),
    "no_speech": Text("текст без речи", "text without speech"),
}


@dataclass(frozen=True)
class Sign:
    """A reason to distrust a transcript; `evidence` is the phrase found or the words that repeat."""

    code: SignCode
    evidence: str

    @property
    def title(self) -> Text:
        return TITLES[self.code]


def signs(hypothesis: str, reference: str | None = None) -> list[Sign]:
    """What is suspicious in `hypothesis`. With a reference, what the speaker did say is not held against the model;
    an empty reference says that the clip holds no speech."""
    said = normalize(reference or "")
    words = normalize(hypothesis)
    found: list[Sign] = []
    phrases = [match.group() for match in _PHRASES.finditer(words) if match.group() not in said]
    found += [Sign("phrase", phrase) for phrase in dict.fromkeys(phrases)]
    loop = find_loop(words.split())
    if loop is not None and find_loop(said.split()) is None:
        found.append(Sign("loop", loop))
    if reference is not None and not said and words:
        found.append(Sign("no_speech", words))
    return found


def find_loop(words: Sequence[str]) -> str | None:
    """The shortest group of up to `MAX_NGRAM` words said `MIN_REPEATS` times in a row, or else a window that compresses
    too well (its most frequent word then stands for it), or None."""
    for size in range(1, MAX_NGRAM + 1):
        run = 0  # words in a row that equal the word `size` places before
        for i in range(size, len(words)):
            run = run + 1 if words[i] == words[i - size] else 0
            if run == size * (MIN_REPEATS - 1):
                return " ".join(words[i - size + 1 : i + 1])
    for start in range(0, max(1, len(words) - WINDOW_WORDS // 2), WINDOW_WORDS // 2):
        window = words[start : start + WINDOW_WORDS]
        packed = " ".join(window).encode()
        if packed and len(packed) / len(zlib.compress(packed)) > ZLIB_LIMIT:
            return max(window, key=window.count)
    return None


@metric(
    "hallucination",
    Text("Галлюцинации", "Hallucination"),
    figures=(
        Figure("clips_hallucinated", "hallucinated", "clips", Text("записей с признаками", "clips with signs")),
        Figure("clips_looped", "looped", "clips", Text("записей с зацикливанием", "clips with loops")),
        Figure(
            "no_speech_written",
            "no_speech_written",
            "no_speech",
            Text("текст на записях без речи", "text on non-speech"),
        ),
    ),
)
def measure(line: Line) -> Counts:
    codes = {sign.code for sign in signs(line.hypothesis, line.reference)}
    return {
        "clips": 1,
        "hallucinated": int(bool(codes)),
        "looped": int("loop" in codes),
        "no_speech": int(not line.reference_words),
        "no_speech_written": int("no_speech" in codes),
    }
