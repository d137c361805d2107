"""Which of torch's attention kernels are used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel

# On a GPU decoders, and the encoder of a single window, do without cuDNN's attention: with few queries it does not give
# the same bits twice.
REPEATABLE = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

# Held by whoever depends on what belongs to the whole process: torch's choice of attention kernels, and the capture of
# a graph, of which there may be one at a time and which remembers that choice.
PROCESS_WIDE = threading.RLock()


@contextmanager
def repeatable() -> Iterator[None]:
    """Without cuDNN's attention. One thread at a time: torch puts back what it found, which may be another's choice."""
    with PROCESS_WIDE, sdpa_kernel(REPEATABLE):
        yield
