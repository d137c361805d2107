"""The checksum of a tensor: BLAKE3 of its bytes.

BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn 2020) is a cryptographic hash, 256 bits, and a tree over chunks of
1 KiB, so one core hashes several gigabytes per second with vector instructions: three times as fast as SHA-256 with the
processor's own instructions. The package `blake3`, by the authors, does the work; where it is not installed the twin of
`blake3_numpy` gives the same digests, slower.

Results of earlier versions carry the SHA-256 of the SHA-256 of 256 KiB pieces; `verify` still reads them.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np

from merger.blake3_numpy import PlainBlake3

BLAKE3 = "blake3"
PIECES = "sha256 of the sha256 of 256 KiB pieces"
PIECE_BYTES = 1 << 18


class TensorDigest(Protocol):
    """The digest of bytes that arrive in stretches of any length, in order."""

    def update(self, data: np.ndarray) -> None:
        """Take in the next bytes, uint8[n]."""
        ...

    def hexdigest(self) -> str:
        """The digest, 64 hexadecimal digits; nothing may be added afterwards."""
        ...


class _PackageBlake3:
    def __init__(self) -> None:
        from blake3 import blake3

        self._state = blake3()

    def update(self, data: np.ndarray) -> None:
        self._state.update(data.data)

    def hexdigest(self) -> str:
        return str(self._state.hexdigest())


class PieceDigest:
    """SHA-256 of the digests of consecutive pieces of 256 KiB (the last may be shorter)."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._piece, self._begun_bytes = hashlib.sha256(), 0

    def update(self, data: np.ndarray) -> None:
        """Take in the next bytes, uint8[n]."""
        while len(data):
            taken = min(PIECE_BYTES - self._begun_bytes, len(data))
            self._piece.update(data[:taken].data)
            self._begun_bytes += taken
            data = data[taken:]
            if self._begun_bytes == PIECE_BYTES:
                self._close()

    def _close(self) -> None:
        self._whole.update(self._piece.digest())
        self._piece, self._begun_bytes = hashlib.sha256(), 0

    def hexdigest(self) -> str:
        """The digest; nothing may be added afterwards."""
        if self._begun_bytes:
            self._close()
        return self._whole.hexdigest()


def new_digest() -> TensorDigest:
    """A fresh BLAKE3 state: the package's, or its twin where there is no package."""
    try:
        return _PackageBlake3()
    except ImportError:
        return PlainBlake3()


def digest_of_kind(kind: object) -> TensorDigest | None:
    """A fresh state of the kind that a result names for its tensors; None if the kind is unknown."""
    if kind == BLAKE3:
        return new_digest()
    return PieceDigest() if kind == PIECES else None
