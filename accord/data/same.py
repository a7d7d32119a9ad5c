"""By what a prompt or a text is the same in different files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from accord.records import Text

Key = str | int


def key_of(value: Text | object) -> Key:
    """Of a single turn its words, so that an instruction is the same as what a user says; of turns all of them."""
    if isinstance(value, tuple):
        value = [turn.plain() for turn in value]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping) and "content" in value[0]:
        value = value[0]["content"]
    return value if isinstance(value, str | int) else json.dumps(value, sort_keys=True, default=str)


def digest_of(content: Text) -> str:
    """64 bits that stand for a text, the same in every process."""
    words = str(key_of(content)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(words, digest_size=8).hexdigest()
