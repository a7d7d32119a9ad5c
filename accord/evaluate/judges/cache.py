"""What a judge has said already: a file of lines that is only ever added to, found again by the hash of the question.

Only replies that could be read as a verdict are kept. A line is written whole, with one call; of one that a killed
process left half-written nothing is read, and the next line begins on a line of its own. So threads, and processes on
one machine, may share a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.errors import StorageError
from accord.evaluate.judges.replies import Reply, Usage


def key_of(about: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a reply depends on, as JSON."""
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class ReplyCache:
    """path None: nothing is kept beyond this process. StorageError where it cannot be read or written."""

    def __init__(self, path: Path | None) -> None:
        self.path, self._lock, self._file = path, threading.Lock(), -1
        self._found: dict[str, Reply] = {}
        self.broken = 0  # lines that hold no reply
        if path is not None:
            self._open(path)

    def __len__(self) -> int:
        return len(self._found)

    def find(self, key: str) -> Reply | None:
        return self._found.get(key)

    def keep(self, key: str, reply: Reply, about: Mapping[str, Any]) -> None:
        """about: what people who look into the file want to know."""
        first = None if reply.first is None else dict(reply.first)
        row = {"key": key, **about, "reply": reply.text, "first": first, "usage": list(reply.usage)}
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        with self._lock:
            self._found[key] = reply
            if self.path is not None:
                self._write(line)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            content = path.read_bytes()
        except OSError as error:
            raise _unusable(path, error) from error
        for line in content.split(b"\n"):
            self._read(line)
        if content and not content.endswith(b"\n"):
            self._write(b"\n")

    def _read(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            row = json.loads(line)
            first = None if row["first"] is None else {str(key): float(logp) for key, logp in row["first"].items()}
            reply = Reply(str(row["reply"]), first, Usage(*row["usage"]))
            self._found[str(row["key"])] = reply
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.broken += 1

    def _write(self, line: bytes) -> None:
        assert self.path is not None
        try:
            if os.write(self._file, line) != len(line):
                raise OSError("only a part could be written")
        except OSError as error:
            raise _unusable(self.path, error) from error


def _unusable(path: Path, error: OSError) -> StorageError:
    what = f"verdicts cannot be kept here ({error.strerror or error})"
    return StorageError(what, where=str(path), fix="make room, or give --judge_cache FILE, or none")
