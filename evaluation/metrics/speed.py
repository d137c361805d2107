"""Speed: RTFx = seconds of audio / seconds of work (as the Open ASR Leaderboard counts), loading and warm-up apart."""

from evaluation.metrics.registry import Counts, Figure, Line, metric
from merger.bilingual import Text


@metric(
    "speed",
    Text("Скорость", "Speed"),
    figures=(
        Figure(
            "rtfx", "audio_seconds", "seconds_wall", Text("RTFx", "RTFx"), better="higher", unit="times", share=False
        ),
    ),
)
def measure(line: Line) -> Counts:
    """A clip's share of its batch's time; zero where no time was measured."""
    if not line.seconds_wall:
        return {"audio_seconds": 0.0, "seconds_wall": 0.0}
    return {"audio_seconds": line.audio_seconds, "seconds_wall": line.seconds_wall}
