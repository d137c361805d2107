"""Taking a weights file apart and putting it together otherwise, for tests of files that are not as they should be."""

from __future__ import annotations

import json
import struct
from typing import Any

WEIGHTS = "model.safetensors"


def parts(raw: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def assembled(header: dict[str, Any] | str, data: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data
