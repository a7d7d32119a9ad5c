"""`accord safety`: InstructGPT's table of what answers are, how sure that is, and who differs from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accord.data.properties import Properties, read_properties
from accord.data.report import DataReport, Refusals
from accord.data.sources import Source, source_name
from accord.errors import InputError
from accord.evaluate.inputs import check_outputs, digests_of, is_model, sources_of
from accord.evaluate.safety_report import lines, markdown, tables
from accord.evaluate.safety_table import Table, table_of
from accord.stages.evaluation_configs import SafetyConfig
from accord.stages.tables import put, show, tell, written
from accord.training.progress import Waiting, say


@dataclass
class Safety:
    """What came of it. Python gets this."""

    table: Table
    report: DataReport
    files: dict[str, str]  # name -> SHA-256
    options: dict[str, Any]

    def __repr__(self) -> str:
        """Short, as an interactive session shows it."""
        return f"<Safety: {len(self.table.models)} models, {', '.join(head.title for head in self.table.heads)}>"

    def rows(self) -> list[dict[str, Any]]:
        """A row for each model, its figures by the names of the columns."""
        found: list[dict[str, Any]] = self.table.to_json()["models"]
        return found

    def markdown(self) -> str:
        """The tables, and how they came about."""
        return markdown(self.table)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**self.table.to_json(), "options": self.options, "files": self.files, "data": self.report.to_json()}


def run(config: SafetyConfig, given: Mapping[str, object]) -> Safety:
    """Reads, samples, classifies, counts; prints, and on request writes and draws. InputError: there is no column."""
    output, wanted = config.output, config.properties
    named = sources_of(wanted.data, given)
    models, sources = _apart(named)
    check_outputs(sources, (output.json, output.markdown, output.plot))
    report, found = DataReport(), Properties(texts=bool(wanted.classifier))
    for source in named:
        if source in models:
            _answer(str(source), found, config)
        else:
            _read(source, config, found, report)
    if sources:
        _tell(report)
    for name in wanted.classifier:
        _classify(name, found, config)
    _check_columns(found, config, named)
    base = base_of(found, config)
    table = table_of(found, base=base, directions=config.comparison.directions, level=config.comparison.level)
    options = {**wanted.model_dump(), **config.comparison.model_dump(), **config.answering.model_dump()}
    made = Safety(table, report, digests_of(sources), options)
    _write(made, config)
    return made


def _apart(named: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """(directories of models, data)"""
    models = [one for one in named if is_model(one)]
    return models, [one for one in named if one not in models]


def _answer(model: str, found: Properties, config: SafetyConfig) -> None:
    from accord.evaluate.safety_models import answers_of  # it imports torch, which data alone do not need

    for group in answers_of(model, config):
        found.keep(group)


def _classify(name: str, found: Properties, config: SafetyConfig) -> None:
    from accord.evaluate.safety_models import classify

    classify(name, found, config)


def _read(source: Source, config: SafetyConfig, found: Properties, report: DataReport) -> None:
    wanted = config.properties
    refusals = Refusals(wanted.on_bad_row, report, checked=False)
    with Waiting(source_name(source)) as waiting:
        read_properties(source, found, refusals, scores=wanted.scores, split=wanted.split, tell=waiting.tell)


def _tell(report: DataReport) -> None:
    say(f"data: {report.summary()}")
    for line in report.warnings():
        say(f"note: {line}")


def _check_columns(found: Properties, config: SafetyConfig, named: Sequence[Source]) -> None:
    where = ", ".join(map(source_name, named))
    for name in config.properties.scores:
        if name not in found.columns:
            fix = "give the name of a column of numbers, of an aspect, or ratings"
            raise InputError(f"no row has the score {name}", where=where, fix=fix)
    if not found.columns:
        what = "no answer has a flag, and neither scores nor a classifier are given"
        raise InputError(what, where=where, fix="give --classifier DIR or --scores NAME (docs/safety.md)")
    for name in config.comparison.directions:
        if name not in found.columns:
            fix = f"one of {', '.join(found.columns)}"
            raise InputError(f"there is no column {name!r}", where="better", fix=fix)


def base_of(found: Properties, config: SafetyConfig) -> str:
    """The model that the others are held against."""
    wanted = config.comparison.against
    if wanted is not None and wanted not in found.scored:
        raise InputError(f"no answers of {wanted!r}", where="against", fix=f"one of {', '.join(found.scored)}")
    return wanted or found.scored[0]


def _write(made: Safety, config: SafetyConfig) -> None:
    output = config.output
    if output.markdown is not None:
        put(output.markdown, made.markdown() + "\n")
    if output.plot is not None:
        from accord.evaluate import safety_plot

        safety_plot.draw(made.table, output.plot)
    if written(made.to_json(), output.json):
        return
    for title, rows in tables(made.table):
        show(rows, title=title)
    tell(lines(made.table))
