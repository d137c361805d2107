"""BLAKE3 in numpy: the definition that the package is tested against, and its stand-in where it is not installed.

Written from the specification ("BLAKE3: one function, fast everywhere", 2020, sections 2.1–2.6): all chunks of a batch
are compressed side by side, one numpy operation per step for all of them.
"""

from __future__ import annotations

import numpy as np

CHUNK_BYTES = 1024
BLOCK_BYTES = 64
BATCH = 1024  # chunks compressed side by side: their state stays in the second-level cache
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
IV = np.array(
    [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], np.uint32
)
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
ROUNDS = 7


def _mixed(state: list[np.ndarray], first: np.ndarray, second: np.ndarray) -> None:
    """The quarter round G for four columns (or diagonals) at once; every array is uint32[4, n]."""
    a, b, c, d = state
    for words, turn_d, turn_b in ((first, 16, 12), (second, 8, 7)):
        a += b
        a += words
        _turn(np.bitwise_xor(d, a, out=d), turn_d)
        c += d
        _turn(np.bitwise_xor(b, c, out=b), turn_b)


def _turn(words: np.ndarray, count: int) -> None:
    """Rotate to the right, in place."""
    wrapped = words << np.uint32(32 - count)
    words >>= np.uint32(count)
    words |= wrapped


def compress(
    chaining: np.ndarray, block: np.ndarray, counters: np.ndarray, lengths: int | np.ndarray, flags: int
) -> np.ndarray:
    """The first half of the compression function's output (section 2.2), uint32[8, n].

    `chaining` uint32[8, n], `block` uint32[16, n] (little-endian words), `counters` uint64[n], `lengths` bytes in the
    block, `flags` for all of them.
    """
    count = block.shape[1]
    tail = np.empty((4, count), np.uint32)
    tail[0], tail[1] = counters & np.uint64(0xFFFFFFFF), counters >> np.uint64(32)
    tail[2], tail[3] = lengths, flags
    fixed = np.broadcast_to(IV[:4, None], (4, count))
    state = [chaining[:4].copy(), chaining[4:].copy(), fixed.copy(), tail]
    words = block
    for _ in range(ROUNDS):
        _mixed(state, words[0:8:2], words[1:8:2])
        state[1:] = [np.roll(row, -turn, axis=0) for turn, row in enumerate(state[1:], start=1)]
        _mixed(state, words[8:16:2], words[9:16:2])
        state[1:] = [np.roll(row, turn, axis=0) for turn, row in enumerate(state[1:], start=1)]
        words = words[PERMUTATION]
    return np.concatenate([state[0] ^ state[2], state[1] ^ state[3]])


def _words(blocks: np.ndarray) -> np.ndarray:
    """uint32[16, n] from uint8[n, 64]."""
    return np.ascontiguousarray(blocks).view("<u4").astype(np.uint32, copy=False).T


def _fresh(count: int) -> np.ndarray:
    return np.broadcast_to(IV[:, None], (8, count))


def chunk_values(data: np.ndarray, first: int) -> np.ndarray:
    """Chaining values, uint32[8, n], of n whole chunks of uint8 data, the first having number `first`."""
    chunks = data.reshape(-1, CHUNK_BYTES // BLOCK_BYTES, BLOCK_BYTES)
    counters = np.arange(first, first + len(chunks), dtype=np.uint64)
    value = _fresh(len(chunks))
    last = chunks.shape[1] - 1
    for index in range(chunks.shape[1]):
        flags = (CHUNK_START if index == 0 else 0) | (CHUNK_END if index == last else 0)
        value = compress(value, _words(chunks[:, index]), counters, BLOCK_BYTES, flags)
    return value


def _last_chunk(data: np.ndarray, number: int, extra: int) -> np.ndarray:
    """The chaining value of the last chunk (0 … 1024 bytes), or with ROOT as `extra` the digest."""
    value, counter = _fresh(1), np.array([number], np.uint64)
    starts = range(0, max(len(data), 1), BLOCK_BYTES)
    for start in starts:
        part = data[start : start + BLOCK_BYTES]
        block = np.zeros((1, BLOCK_BYTES), np.uint8)
        block[0, : len(part)] = part
        flags = (CHUNK_START if start == 0 else 0) | (CHUNK_END | extra if start == starts[-1] else 0)
        value = compress(value, _words(block), counter, len(part), flags)
    return value


class PlainBlake3:
    """BLAKE3 of bytes that arrive in stretches of any length; see `digests.TensorDigest`."""

    def __init__(self) -> None:
        self._values: list[np.ndarray] = []  # uint32[8, n] of finished chunks: 32 bytes per KiB
        self._chunks = 0
        self._rest = np.empty(0, np.uint8)  # the last chunk stays open: only the end tells that it is the last

    def update(self, data: np.ndarray) -> None:
        """Take in the next bytes, uint8[n]."""
        data = np.concatenate([self._rest, data])
        finished = max(len(data) - 1, 0) // CHUNK_BYTES
        for start in range(0, finished, BATCH):
            stop = min(start + BATCH, finished)
            self._values.append(chunk_values(data[start * CHUNK_BYTES : stop * CHUNK_BYTES], self._chunks + start))
        self._chunks += finished
        self._rest = data[finished * CHUNK_BYTES :].copy()

    def hexdigest(self) -> str:
        """The digest, 64 hexadecimal digits."""
        if not self._chunks:
            return _hex(_last_chunk(self._rest, 0, ROOT))
        level = np.concatenate([*self._values, _last_chunk(self._rest, self._chunks, 0)], axis=1)
        while level.shape[1] > 1:
            pairs, odd = level.shape[1] // 2, level[:, level.shape[1] // 2 * 2 :]
            block = np.concatenate([level[:, 0 : 2 * pairs : 2], level[:, 1 : 2 * pairs : 2]])
            flags = PARENT | (ROOT if level.shape[1] == 2 else 0)
            parents = compress(_fresh(pairs), block, np.zeros(pairs, np.uint64), BLOCK_BYTES, flags)
            level = np.concatenate([parents, odd], axis=1)
        return _hex(level)


def _hex(value: np.ndarray) -> str:
    return value[:, 0].astype("<u4").tobytes().hex()
