"""The one pass over the data of `accord check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, cast

from accord.data.census import FOR, Census, holds
from accord.data.check import row_findings, taken_findings
from accord.data.findings import Finding, Stage
from accord.data.read import read_groups
from accord.data.repeats import Repeats, digests
from accord.data.report import DataReport
from accord.data.sources import Source, source_name
from accord.data.take import TAKES
from accord.errors import InputError
from accord.records import Group, Origin, RecordError
from accord.stages.check_options import CheckOptions
from accord.stages.checked import Checked
from accord.stages.config import CheckConfig
from accord.training.progress import Waiting

if TYPE_CHECKING:
    from accord.stages.check_tokens import TokenCheck

Given = Mapping[str, object]


class Ledger(DataReport):
    """A report that keeps every bad row and note as a finding."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Finding] = []

    def refuse(self, error: RecordError, *, id: str) -> None:
        super().refuse(error, id=id)
        self.found.append(finding_of(error, id))

    def find(self, finding: Finding) -> None:
        super().find(finding)
        self.found.append(finding)


def finding_of(error: RecordError, id: str) -> Finding:
    return Finding(error.finding, error.origin or Origin("", 0), error.what, error.field, id, error.fix)


def examine(config: CheckConfig, given: Given) -> Checked:
    """One pass over the data, and before it one over the held-out data."""
    options = config.check
    source = cast(Source, given.get("data", options.data))
    name = source_name(source)
    held = _held_out(options, given)
    ledger, census = Ledger(), Census(name, near=options.near)
    of_tokens = _token_check(config, given)
    groups = _groups(source, options, ledger)
    first = list(islice(groups, 1))
    stage = options.stage or (FOR[holds(first[0])] if first else "dpo")
    starts = set[str]()
    everything = _noting(chain(first, groups), starts if options.fix is not None else None)
    rows = _taken(everything, census, stage, ledger)
    with Waiting(name) as waiting:
        for _ in rows if of_tokens is None else of_tokens[0].take(rows, stage):
            waiting.tell(ledger.read)
    tokens = of_tokens and of_tokens[0]
    notes = [f"{note.count:,} x {text} (first {note.where})" for text, note in ledger.notes.items()]
    checked = Checked(name, stage, ledger.read, ledger.ignored, census, tokens, notes, starts)
    found = [*ledger.found, *census.findings(None if tokens is None else tokens.lengths)]
    if of_tokens is not None:
        found += [*of_tokens[1].found, *of_tokens[0].findings(name)]
    if held is not None:
        found += census.repeats.shared(held)
    checked.findings = sorted(found, key=lambda finding: finding.origin)
    return checked


def _token_check(config: CheckConfig, given: Given) -> tuple[TokenCheck, Ledger] | None:
    """With what its dialogue notes; None where no model is given, and then torch is not imported."""
    if config.tokens.model is None and "model" not in given:
        return None
    from accord.stages.check_tokens import TokenCheck

    noted = Ledger()
    return TokenCheck(config.tokens, given, noted), noted


def _held_out(options: CheckOptions, given: Given) -> Repeats | None:
    """The prompts of the held-out data."""
    if options.eval_data is None and "eval_data" not in given:
        return None
    source = cast(Source, given.get("eval_data", options.eval_data))
    found, split = Repeats(), options.eval_split or options.split
    for group in read_groups(source, split=split, on_bad_row="drop", implicit_prompt=options.implicit_prompt):
        found.add(group, digests(group))
    return found


def _groups(source: Source, options: CheckOptions, ledger: Ledger) -> Iterator[Group]:
    """All groups; what is none goes to the ledger, and so does a file that breaks off."""
    how: dict[str, Any] = {"split": options.split, "implicit_prompt": options.implicit_prompt}
    try:
        yield from read_groups(source, on_bad_row="drop", report=ledger, **how)
    except InputError as error:
        if not ledger.read:
            raise
        if ledger.kept:  # otherwise it says that no row can be used, which the findings say
            ledger.found.append(Finding("unreadable", Origin(source_name(source), 0), error.what, fix=error.fix))


def _noting(groups: Iterable[Group], starts: set[str] | None) -> Iterator[Group]:
    """The same groups; where each starts is noted."""
    for group in groups:
        if starts is not None:
            starts.add(str(group.source))
        yield group


def _taken(groups: Iterable[Group], census: Census, stage: Stage, ledger: Ledger) -> Iterator[Group]:
    """What the stage takes of each group that it can use. All groups are counted, what is wrong goes to the ledger."""
    for group in groups:
        try:
            taken = TAKES[stage](group)
            found = list(taken_findings(group, taken))
        except RecordError as error:
            found = list(row_findings(group))
            if not _stops(found, stage):  # what is empty or equal says the cause, not that nothing is to be learnt
                found.append(finding_of(error, group.id)._replace(name="not_judged"))
        ledger.found += found
        sound = not _stops(found, stage)
        census.add(group, sound=sound)
        if sound:
            yield taken


def _stops(found: Iterable[Finding], stage: Stage) -> bool:
    return any(finding.kind.severity(stage) == "error" for finding in found)
