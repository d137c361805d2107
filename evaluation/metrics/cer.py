"""Character error rate: edits / characters of the normalised reference, single spaces included, pooled."""

from evaluation.metrics.registry import Counts, Figure, Line, metric
from merger.bilingual import Text


@metric(
    "cer",
    Text("Ошибки в буквах (CER)", "Character error rate (CER)"),
    figures=(Figure("cer", "character_edits", "characters", Text("CER", "CER"), share=False),),
)
def measure(line: Line) -> Counts:
    """Like WER, an empty reference is left out."""
    if not line.reference_words:
        return {"character_edits": 0, "characters": 0}
    return {"character_edits": line.character_edits, "characters": line.reference_characters}
