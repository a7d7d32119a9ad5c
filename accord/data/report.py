"""What became of the rows: read, kept, dropped and why. The same report is used for reading, tokenising and length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from accord.data.findings import FINDINGS, Finding
from accord.errors import InputError
from accord.records import Origin, RecordError

LISTED = 10  # bad rows named in one error
NAMED = 3  # dropped rows whose lines a summary names
POLICIES = ("error", "drop")


class Dropped(NamedTuple):
    """One row that was left out: where it stood, its id, and the reason in full."""

    where: str
    id: str
    why: str


@dataclass(slots=True)
class Note:
    """What reading did beyond rows, as leaving files out: how often, and where first."""

    count: int
    where: str


@dataclass(slots=True)
class Seen:
    """Findings of one name that are no errors: how many, and the first LISTED in full."""

    count: int = 0
    first: list[str] = field(default_factory=list)


@dataclass(slots=True)
class LengthCount:
    """What the length policy did. Lengths in tokens: prompt and longest completion."""

    max_length: int
    groups: int = 0
    dropped: int = 0
    cut: int = 0
    shortest: int = 0
    longest: int = 0


@dataclass(slots=True)
class DataReport:
    """Counts of rows. `dropped` maps a reason to the rows dropped for it; `ignored` names the unknown columns.

    joined: rows that became a part of the group of the row before; the group is kept, or dropped, as one.
    findings: by name, what the table of findings calls a warning.
    """

    read: int = 0
    joined: int = 0
    dropped: dict[str, list[Dropped]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    notes: dict[str, Note] = field(default_factory=dict)
    findings: dict[str, Seen] = field(default_factory=dict)
    lengths: LengthCount | None = None

    @property
    def kept(self) -> int:
        """Groups."""
        return self.read - self.joined - sum(map(len, self.dropped.values()))

    def drop(self, reason: str, *, where: str, id: str, why: str = "") -> None:
        """Counts one dropped row under `reason`; `why` is the reason with this row's particulars."""
        self.dropped.setdefault(reason, []).append(Dropped(where, id, why or reason))

    def ignore(self, columns: Iterable[str]) -> None:
        """Names of columns may be anything: what would move the cursor or colour the terminal is written out."""
        shown = (name if name.isprintable() else repr(name) for name in columns)
        self.ignored.extend(name for name in shown if name not in self.ignored)

    def refuse(self, error: RecordError, *, id: str) -> None:
        """Drops the row that the error is about."""
        reason = error.reason if isinstance(error, Particular) else error.what
        named = ": ".join(part for part in (error.field, reason) if part)
        self.drop(named, where=str(error.origin or ""), id=id, why=error.what)

    def note(self, text: str, *, where: str) -> None:
        if text in self.notes:
            self.notes[text].count += 1
        else:
            self.notes[text] = Note(1, where)

    def find(self, finding: Finding) -> None:
        """Counts a finding that is no error."""
        seen = self.findings.setdefault(finding.name, Seen())
        seen.count += 1
        if len(seen.first) < LISTED:
            seen.first.append(": ".join(filter(None, (str(finding.origin), finding.field, finding.what))))

    def warnings(self) -> list[str]:
        """A line for each kind of finding and each note: how often, what, and the first one in full."""
        return [
            *(f"{times(note.count)}{text} (first {note.where})" for text, note in self.notes.items()),
            *(
                f"{times(seen.count)}{FINDINGS[name].what}: {seen.first[0]}: {FINDINGS[name].fix}"
                for name, seen in self.findings.items()
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """For the run folder: plain lists, dictionaries, strings and numbers."""
        lengths = self.lengths
        return {
            "read": self.read,
            "joined": self.joined,
            "kept": self.kept,
            "dropped": {reason: [row._asdict() for row in rows] for reason, rows in self.dropped.items()},
            "ignored_columns": self.ignored,
            "notes": {text: {"count": note.count, "first": note.where} for text, note in self.notes.items()},
            "findings": {name: {"count": seen.count, "first": seen.first} for name, seen in self.findings.items()},
            "lengths": lengths and {name: getattr(lengths, name) for name in LengthCount.__slots__},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> DataReport:
        """The reverse of `to_json`."""
        lengths = found["lengths"]
        return cls(
            read=found["read"],
            joined=found["joined"],
            dropped={reason: [Dropped(**row) for row in rows] for reason, rows in found["dropped"].items()},
            ignored=list(found["ignored_columns"]),
            notes={text: Note(note["count"], note["first"]) for text, note in found["notes"].items()},
            findings={name: Seen(seen["count"], list(seen["first"])) for name, seen in found["findings"].items()},
            lengths=lengths and LengthCount(**lengths),
        )

    @classmethod
    def merged(cls, reports: Sequence[DataReport]) -> DataReport:
        """The counts of several sources together."""
        if len(reports) == 1:
            return reports[0]
        whole = cls(read=sum(report.read for report in reports), joined=sum(report.joined for report in reports))
        for report in reports:
            for reason, rows in report.dropped.items():
                whole.dropped.setdefault(reason, []).extend(rows)
            whole.ignore(report.ignored)
            for text, note in report.notes.items():
                first = whole.notes.setdefault(text, Note(0, note.where))
                first.count += note.count
            for name, seen in report.findings.items():
                mine = whole.findings.setdefault(name, Seen())
                mine.count, mine.first = mine.count + seen.count, [*mine.first, *seen.first][:LISTED]
            whole.lengths = _together(whole.lengths, report.lengths)
        return whole

    def summary(self) -> str:
        """One line: `1776 read, 1771 kept, 5 dropped (empty text: 4, not JSON: 1 (line 7)); ignored columns: flags`."""
        reasons = ", ".join(f"{reason}: {len(rows)}{_lines(rows)}" for reason, rows in self.dropped.items())
        joined = f", {self.joined} joined to the row before" if self.joined else ""
        dropped = sum(map(len, self.dropped.values()))
        line = f"{self.read} read{joined}, {self.kept} kept, {dropped} dropped" + (reasons and f" ({reasons})")
        if self.lengths and self.lengths.cut:
            line += f"; {self.lengths.cut} prompts cut"
        return line + ("; ignored columns: " + ", ".join(self.ignored) if self.ignored else "")


def times(count: int) -> str:
    """How often, before what happened; once goes without saying."""
    return f"{count:,} x " if count > 1 else ""


def _lines(rows: Sequence[Dropped]) -> str:
    """Where they stood, if they are few and of one file: ` (lines 4, 7)`."""
    places = [row.where.rpartition(":") for row in rows]
    numbers = [place[2].strip() for place in places]
    if len(rows) > NAMED or len({place[0] for place in places}) > 1 or not all(map(_is_number, numbers)):
        return ""
    word = "" if numbers[0].startswith("row ") else "line " if len(rows) == 1 else "lines "
    return f" ({word}{', '.join(numbers)})"


def _is_number(text: str) -> bool:
    return text.removeprefix("row ").isdigit()


def _together(a: LengthCount | None, b: LengthCount | None) -> LengthCount | None:
    if a is None or b is None:
        return a or (b and replace(b))
    shortest = min(filter(None, (a.shortest, b.shortest)), default=0)
    longest = max(a.longest, b.longest)
    return LengthCount(a.max_length, a.groups + b.groups, a.dropped + b.dropped, a.cut + b.cut, shortest, longest)


class Particular(RecordError):
    """A RecordError whose text holds this row's particulars; `reason` is what it shares with others of its kind."""

    def __init__(
        self,
        reason: str,
        what: str,
        *,
        origin: Origin | None = None,
        field: str = "",
        fix: str = "",
        finding: str = "malformed",
    ) -> None:
        super().__init__(what, origin=origin, field=field, fix=fix, finding=finding)
        self.reason = reason


class BadRows(RecordError):
    """The first bad row; `others` holds the messages of up to nine more. hint: what to do where there may be more."""

    def __init__(self, errors: list[RecordError], *, checked: bool = True) -> None:
        first = errors[0]
        super().__init__(first.what, origin=first.origin, field=first.field, fix=first.fix, finding=first.finding)
        self.others = tuple(str(error) for error in errors[1:])
        more = f"reading stopped at bad row {LISTED}" + checked * "; accord check names every one"
        self.hint = more if len(errors) == LISTED else ""


class Refusals:
    """What happens to bad rows: collected and raised together ("error"), or dropped and counted ("drop").

    checked: whether accord check would find the same in them, as it does not in verdicts and scores.
    """

    def __init__(self, on_bad_row: str, report: DataReport, *, checked: bool = True) -> None:
        if on_bad_row not in POLICIES:
            raise InputError(f"{on_bad_row!r} is no policy", where="on_bad_row", fix="error or drop")
        self.on_bad_row, self.report, self.checked = on_bad_row, report, checked
        self.errors: list[RecordError] = []

    def add(self, error: RecordError, *, id: str = "") -> None:
        """Drops the row, or remembers the error; the tenth one raises BadRows."""
        if self.on_bad_row == "drop":
            self.report.refuse(error, id=id)
            return
        self.errors.append(error)
        if len(self.errors) == LISTED:
            self.close()

    def close(self) -> None:
        """Raises BadRows if there was any, in the order of the file."""
        if self.errors:
            raise BadRows(sorted(self.errors, key=lambda error: error.origin or Origin("", 0)), checked=self.checked)
