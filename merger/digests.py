"""The checksum of a tensor: SHA-256 of the SHA-256 of its pieces.

A tensor is cut into pieces of 256 KiB (the last may be shorter); its digest is the SHA-256 of the pieces' digests, one
behind the other. Every piece can be hashed by itself, so two can be hashed side by side, and the digest is as strong
as SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

PIECE_BYTES = 1 << 18
# Digests of consecutive whole pieces, 32 bytes each, or None if it cannot.
PieceHasher = Callable[[np.ndarray], "bytes | None"]


def plain_pieces(data: np.ndarray) -> bytes:
    """Digests of consecutive whole pieces of uint8 data."""
    pieces = data.reshape(-1, PIECE_BYTES)
    return b"".join(hashlib.sha256(piece.data).digest() for piece in pieces)


class TensorDigest:
    """The digest of bytes that arrive in stretches of any length, in order."""

    def __init__(self, hash_pieces: PieceHasher = plain_pieces) -> None:
        self._hash_pieces = hash_pieces
        self._whole = hashlib.sha256()
        self._begun = hashlib.sha256()  # the piece that is not complete yet
        self._begun_bytes = 0

    def update(self, data: np.ndarray) -> None:
        """Take in the next bytes, uint8[n]."""
        if self._begun_bytes:
            taken = min(PIECE_BYTES - self._begun_bytes, len(data))
            self._begin(data[:taken])
            data = data[taken:]
        whole = len(data) // PIECE_BYTES * PIECE_BYTES
        if whole:
            digests = self._hash_pieces(data[:whole])
            self._whole.update(plain_pieces(data[:whole]) if digests is None else digests)
        self._begin(data[whole:])

    def _begin(self, data: np.ndarray) -> None:
        self._begun.update(data.data)
        self._begun_bytes += len(data)
        if self._begun_bytes == PIECE_BYTES:
            self._close()

    def _close(self) -> None:
        self._whole.update(self._begun.digest())
        self._begun, self._begun_bytes = hashlib.sha256(), 0

    def hexdigest(self) -> str:
        """The digest; nothing may be added afterwards."""
        if self._begun_bytes:
            self._close()
        return self._whole.hexdigest()
