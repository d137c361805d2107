"""Word error rate: (S + D + I) / N over the pooled corpus (Morris, Maier & Green 2004). Empty references are left
out."""

from evaluation.metrics.registry import Counts, Figure, Line, metric
from merger.bilingual import Text


@metric(
    "wer",
    Text("Ошибки в словах (WER)", "Word error rate (WER)"),
    figures=(
        Figure("wer", "word_edits", "words", Text("WER", "WER"), share=False),
        Figure("substitution_rate", "substitutions", "words", Text("замены", "substitutions")),
        Figure("deletion_rate", "deletions", "words", Text("пропуски", "deletions")),
        Figure("insertion_rate", "insertions", "words", Text("вставки", "insertions"), share=False),
    ),
)
def measure(line: Line) -> Counts:
    """Edits of the one alignment; the words of the reference are the same for every model."""
    if not line.reference_words:
        return {"word_edits": 0, "substitutions": 0, "deletions": 0, "insertions": 0, "words": 0}
    return {
        "word_edits": line.word_edits,
        "substitutions": line.count("substitute"),
        "deletions": line.count("delete"),
        "insertions": line.count("insert"),
        "words": len(line.reference_words),
    }
