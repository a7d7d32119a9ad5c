"""`accord check --fix OUT`: the rows that can be used, and beside them a list of the others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from accord.data.clean import copy_rows
from accord.data.findings import Finding
from accord.data.sources import Source
from accord.errors import InputError, StorageError
from accord.records import Origin
from accord.stages.checked import Checked, Copied, plain

REPEATED = ("duplicate",)  # warnings for which a row is left out: nothing is lost with it


def list_of(out: str) -> Path:
    """clean.jsonl.gz -> clean.left_out.jsonl."""
    path = Path(out)
    return path.with_name(path.name.partition(".")[0] + ".left_out.jsonl")


def write(checked: Checked, source: Source, out: str, *, split: str) -> Copied:
    """Writes both files, or neither."""
    too_many = any(finding.name == "many_too_long" for finding in checked.findings)
    names = (*REPEATED, *(["too_long"] if too_many else []))
    reasons = [finding for finding in checked.findings if finding.origin.line and _leaves_out(finding, checked, names)]
    keep = _Keep(checked.starts, {str(finding.origin) for finding in reasons})
    path, listed = Path(out), list_of(out)
    if path.exists() and isinstance(source, str) and Path(source).exists() and path.samefile(source):
        raise InputError("is the file that is read", where=f"fix: {out}", fix="give another name")
    asides = [one.with_name(f".{one.name}.{os.getpid()}.tmp") for one in (path, listed)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        copy_rows(source, asides[0], out, split=split, keep=keep)
        asides[1].write_text("".join(_lines(reasons, checked)), encoding="utf-8")
        for aside, final in zip(reversed(asides), (listed, path), strict=True):
            os.replace(aside, final)
    except OSError as error:
        raise StorageError(f"cannot be written ({error.strerror or error})", where=out, fix="check --fix") from error
    finally:
        for aside in asides:
            aside.unlink(missing_ok=True)
    return Copied(out, str(listed), keep.kept, keep.left_out)


def _leaves_out(finding: Finding, checked: Checked, names: Sequence[str]) -> bool:
    """names: of findings that are no errors, and for which a row is left out."""
    return finding.name in names or finding.kind.severity(checked.stage) == "error"


def _lines(reasons: Iterable[Finding], checked: Checked) -> Iterable[str]:
    return (json.dumps(plain(finding, checked.stage), ensure_ascii=False) + "\n" for finding in reasons)


class _Keep:
    """Whether a row stays. The rows of one group follow each other; they stay or go with the first of them."""

    def __init__(self, starts: set[str], bad: set[str]) -> None:
        self._starts, self._bad, self._last = starts, bad, True
        self.kept = self.left_out = 0

    def __call__(self, origin: Origin) -> bool:
        place = str(origin)
        if place in self._bad or place in self._starts:
            self._last = place not in self._bad
        self.kept += self._last
        self.left_out += not self._last
        return self._last
