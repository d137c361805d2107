"""Whether what was written for a window is beyond doubt, or hangs on the rounding of a near tie.

Two ways of computing the same model (one token or many at a time, another library's attention) differ by rounding, and
where two tokens are nearly equally probable that decides between them. Strict mode asks here, and leaves windows that
are in doubt to transformers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from evaluation.engine.greedy import Decoded
from evaluation.engine.model import Caches, decode_many, logits
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import WhisperTensors

# A choice closer than this (in logits) could turn out differently elsewhere. Five times the largest difference from
# transformers that was seen (docs/live.md, "Exactness").
NEAR_TIE = {torch.float32: 2e-3, torch.float16: 0.125, torch.bfloat16: 1.0}


def beyond_doubt(
    tensors: WhisperTensors, caches: Caches, prompt: Sequence[int], decoded: Decoded, rules: Rules
) -> bool:
    """Whether one pass over the window whose cross-attention is in the caches makes every choice again, each by more
    than a near tie."""
    tokens = list(decoded.tokens)
    ids = torch.tensor([[*prompt, *tokens]], device=tensors.device)
    wanted = [*tokens, rules.vocabulary.end] if decoded.finished else tokens
    first = len(prompt) - 1
    scores = logits(tensors, decode_many(tensors, caches, ids, 0)[0, first : first + len(wanted)])
    histories = [rules.history()]
    for token in tokens:
        histories.append(histories[-1].after(token))
    choices, margins = rules.choose(scores, histories[: len(wanted)], want_margins=True)
    assert margins is not None
    return choices.tolist() == wanted and bool((margins > NEAR_TIE[tensors.dtype]).all())
