"""Checksums of tensors: BLAKE3, by the package and by its twin, and the older tree of SHA-256."""

from __future__ import annotations

import builtins
import hashlib
from typing import Any

import blake3
import numpy as np
import pytest

from merger.blake3_numpy import CHUNK_BYTES, PlainBlake3
from merger.digests import BLAKE3, PIECE_BYTES, PIECES, PieceDigest, TensorDigest, digest_of_kind, new_digest

# From the specification's test vectors: bytes 0, 1, …, 250, 0, 1, … of these lengths.
PUBLISHED = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
}
# Around the ends of blocks (64), chunks (1024) and the places where the tree grows a level.
SIZES = [0, 1, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 5 * 1024 + 7, 16 * 1024, 100_003, 1 << 20]


def some_bytes(size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)


def digested(digest: TensorDigest, data: np.ndarray, stretch: int) -> str:
    for start in range(0, len(data), stretch):
        digest.update(data[start : start + stretch])
    return digest.hexdigest()


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_vectors(size: int) -> None:
    data = (np.arange(size) % 251).astype(np.uint8)
    for digest in (new_digest(), PlainBlake3()):
        assert digested(digest, data, 4096) == PUBLISHED[size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stretch", [1000, CHUNK_BYTES, 1 << 17])
def test_twin_is_the_package(size: int, stretch: int) -> None:
    data = some_bytes(size)
    expected = blake3.blake3(data.tobytes()).hexdigest()
    assert digested(PlainBlake3(), data, stretch) == digested(new_digest(), data, stretch) == expected


def test_without_the_package_the_twin_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "blake3":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert isinstance(new_digest(), PlainBlake3)
    assert isinstance(digest_of_kind(BLAKE3), PlainBlake3)


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 77])
@pytest.mark.parametrize("stretch", [1000, PIECE_BYTES // 2 + 3, 4 * PIECE_BYTES])
def test_pieces_by_definition(size: int, stretch: int) -> None:
    data = some_bytes(size)
    pieces = [data[start : start + PIECE_BYTES].tobytes() for start in range(0, size, PIECE_BYTES)]
    expected = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()
    assert digested(PieceDigest(), data, stretch) == expected


def test_kinds() -> None:
    assert isinstance(digest_of_kind(PIECES), PieceDigest)
    assert digest_of_kind("crc32") is None and digest_of_kind(None) is None
