"""What `accord check` found, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from accord.data.census import Census
from accord.data.findings import Finding, Severity, Stage
from accord.errors import InputError

if TYPE_CHECKING:
    from accord.stages.check_tokens import TokenCheck


class Copied(NamedTuple):
    """A clean copy: its file, the file that lists what was left out, and rows of the data."""

    file: str
    listed: str
    kept: int
    left_out: int


@dataclass
class Checked:
    """What `accord check` found. drawn: the picture, fixed: the clean copy, if there is one."""

    source: str
    stage: Stage
    read: int
    ignored: list[str]
    census: Census
    tokens: TokenCheck | None
    notes: list[str] = field(default_factory=list)  # of reading
    starts: set[str] = field(default_factory=set)  # where each group starts, if a clean copy is wanted
    findings: list[Finding] = field(default_factory=list)
    drawn: str | None = None
    fixed: Copied | None = None

    def of(self, severity: Severity) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind.severity(self.stage) == severity]

    @property
    def exit_code(self) -> int:
        """2 if something would stop training: in the data, or where a clean copy was written in that."""
        left_out = self.fixed is not None  # rows with errors, and what is too long where that is too much
        stops = [
            finding
            for finding in self.of("error")
            if not left_out or not (finding.origin.line or finding.name == "many_too_long")
        ]
        return InputError.code if stops else 0

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        lengths = self.tokens.lengths if self.tokens is not None else self.census.lengths
        bias = lengths.bias()
        return {
            "data": self.source,
            "stage": self.stage,
            "exit_code": self.exit_code,
            "rows": self.read,
            "groups": self.census.groups,
            **self.census.to_json(),
            "ignored_columns": self.ignored,
            "notes": self.notes,
            "unit": lengths.unit,
            "lengths": lengths.to_json(),
            "length_bias": None if bias is None else bias.to_json(),
            "tokens": None if self.tokens is None else self.tokens.to_json(),
            "findings": [plain(finding, self.stage) for finding in self.findings],
            "fixed": self.fixed and self.fixed._asdict(),
        }


def plain(finding: Finding, stage: Stage) -> dict[str, Any]:
    """A finding that would be no finding at this stage has the severity "data"."""
    return {
        "finding": finding.name,
        "severity": finding.kind.severity(stage),
        "file": finding.origin.file,
        "line": finding.origin.line or None,
        "field": finding.field,
        "id": finding.id,
        "what": finding.what,
        "fix": finding.fix or finding.kind.fix,
    }
