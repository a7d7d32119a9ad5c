"""Groups -> those that a stage can use: what it takes of each, and what the table of findings says of that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from accord.data.census import Census
from accord.data.check import row_findings, taken_findings
from accord.data.findings import FINDINGS, Finding, Stage
from accord.data.report import DataReport, Refusals
from accord.data.take import Take
from accord.records import Group, RecordError


def sift(groups: Iterable[Group], take: Take, stage: Stage, refusals: Refusals) -> Iterator[tuple[Group, Group]]:
    """(group, what the stage takes of it) of every group that it can use; the others go to `refusals`.

    What the table calls a warning goes to its report, at the end also what only all groups together show. take:
    RecordError for a group that has nothing for the stage.
    """
    report, census = refusals.report, Census(near=False)
    for group in groups:
        try:
            taken = taken_of(group, take, stage, report)
        except RecordError as error:
            refusals.add(error, id=group.id)
            continue
        census.add(group)
        yield group, taken
    for finding in census.findings():
        if FINDINGS[finding.name].severity(stage) == "warning":
            report.find(finding)


def taken_of(group: Group, take: Take, stage: Stage, report: DataReport) -> Group:
    """What the stage takes of one group. RecordError where it cannot use it; its text says the cause."""
    try:
        taken = take(group)
    except RecordError as error:
        raise _stopping(row_findings(group), stage) or error from None
    for finding in taken_findings(group, taken):
        severity = FINDINGS[finding.name].severity(stage)
        if severity == "error":
            raise finding.error()
        if severity == "warning":
            report.find(finding)
    return taken


def _stopping(findings: Iterable[Finding], stage: Stage) -> RecordError | None:
    """The first finding that is an error at this stage."""
    found = (finding for finding in findings if FINDINGS[finding.name].severity(stage) == "error")
    first = next(found, None)
    return first.error() if first else None
