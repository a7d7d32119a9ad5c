"""`accord winrate`: how often a model beats another one, how sure that is, and whether it is only longer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any, cast

import numpy as np

from accord.data.report import DataReport, Refusals
from accord.data.sources import Source, source_name
from accord.data.tally import Tally
from accord.data.verdict_details import Details
from accord.data.verdicts import Reading, read_verdicts
from accord.errors import InputError
from accord.evaluate import winrate_show
from accord.evaluate.counted import Part, Wanted, counted
from accord.evaluate.difficulty_file import NUMBERS, read_difficulty
from accord.evaluate.inputs import check_outputs, digests_of, sources_of
from accord.evaluate.length_controlled import LengthControl, length_controlled
from accord.evaluate.measured import Pair, WinRate, compared, measured, pair_of, row_of
from accord.evaluate.verdicts import Verdicts
from accord.stages.evaluation_configs import WinrateConfig
from accord.stages.output_options import ReportedOutput
from accord.stages.tables import put, show, tell, written
from accord.stages.winrate_options import WinRateOptions
from accord.training.progress import Progress, Waiting, say

MOST_PAIRED = 20  # models of which the report compares every two
REPEATED = "verdicts replaced by a later one of the same annotator on the same two models and prompt"
Json = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of one category, of one value of a setting, or of everything, best first.

    neighbours: each row compared with the next one on the prompts that they share. pairs: every two, if not too many.
    """

    rows: list[WinRate]
    control: LengthControl | None
    neighbours: list[Pair]
    pairs: list[Pair]


@dataclass(frozen=True)
class WinRates:
    """What came of it. Python gets this. over: the column of the setting. files: name -> SHA-256. notes: of a judge."""

    tables: list[Table]
    options: WinRateOptions
    over: str | None
    data_sha256: str
    files: Mapping[str, str]
    data: Json
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Short, as an interactive session shows it; the arrays are in `tables`."""
        return f"<WinRates: {sum(len(table.rows) for table in self.tables)} rows>"

    def rows(self) -> list[Json]:
        """The rows of all tables, as JSON has them."""
        return [row_of(row, self.options, self.over, self.data_sha256) for table in self.tables for row in table.rows]

    def markdown(self) -> str:
        """The table, and below it how it came about."""
        notes = (f"- {line}" for line in self.notes)
        return "\n".join([*winrate_show.markdown(self.tables, self.options, self.over), *notes])

    def to_json(self) -> Json:
        """All about it. `instruction_difficulty`, where it was estimated, can be given back as --difficulty."""
        rows = {"data_sha256": self.data_sha256, "files": dict(self.files), "data": self.data, "win_rates": self.rows()}
        alone = self.tables[0].control if len(self.tables) == 1 else None
        estimated = {} if alone is None or alone.gamma is None else {NUMBERS: _numbers(alone.gamma)}
        pairs = [pair_of(pair) for table in self.tables for pair in table.pairs]
        return {"options": self.options.model_dump(), **rows, "pairs": pairs, **estimated}


def _numbers(gamma: np.ndarray[Any, Any]) -> list[float]:
    """Instructions of which nothing is known have the mean: that of the prior."""
    return [float(number) for number in np.nan_to_num(gamma)]


def run(config: WinrateConfig, given: Mapping[str, object]) -> WinRates | None:
    """Reads verdicts or has answers judged, measures, prints, and on request writes and draws.

    None: people are to judge first.
    """
    if config.judging.judge is not None:
        return _judged(config, given)
    if not config.compared.data:
        raise InputError("not given", where="data", fix="give files with verdicts (docs/winrate.md)")
    sources = sources_of(config.compared.data, given)
    difficulty, output = config.win_rate.difficulty, config.output
    read = [*sources, *([] if difficulty is None else [difficulty])]
    check_outputs(read, (output.json, output.markdown, output.plot, output.report))
    report = DataReport()
    tally = _read(sources, config, report)
    kept = ~tally.replaced()
    _tell(report, tally, int((~kept).sum()))
    name = ", ".join(map(source_name, sources))
    wanted = Wanted(_models(config, given), config.compared, config.win_rate.several == "first", name)
    parts = counted(tally, kept, wanted)
    files, data = digests_of(read), report.to_json()
    found = report_of(parts, config.win_rate, over=config.compared.over, files=files, data=data)
    write(found, output)
    return found


def _judged(config: WinrateConfig, given: Mapping[str, object]) -> WinRates | None:
    # Here, not above: these import torch, which verdicts in files do not need.
    from accord.evaluate.judges.people import ToBeJudged
    from accord.evaluate.judging import judged

    try:
        said = judged(config, _models(config, given), given)
    except ToBeJudged as waits:
        say(str(waits))
        return None
    files = digests_of(said.read)
    made = report_of(said.parts, config.win_rate, over=said.over, data={"read": files, **said.to_json()})
    found = replace(made, files=files, notes=tuple(said.lines()))
    write(found, config.output)
    return found


def _models(config: WinrateConfig, given: Mapping[str, object]) -> list[str]:
    """By name; Python may give one, or a list."""
    models = cast(Sequence[str], given.get("model", config.compared.model))
    return [models] if isinstance(models, str) else list(models)


def report_of(
    parts: Sequence[Part],
    options: WinRateOptions,
    *,
    over: str | None = None,
    files: Mapping[str, str] | None = None,
    data: Json | None = None,
) -> WinRates:
    """Verdicts, wherever they come from -> win rates. files: name -> SHA-256 of what they were made from."""
    difficulty = None if options.difficulty is None else read_difficulty(options.difficulty)
    tables = []
    for part in parts:
        rows = [measured(one, options, part.category, part.level) for one in part.many]
        control = None
        if options.length_control:
            with Progress("length control", options.rounds * len(rows), unit="refit") as progress:
                control = length_controlled(part.many, options, difficulty, _advance(progress))
            rows = [
                replace(row, controlled=one, why_not=reason)
                for row, one, reason in zip(rows, control.found, control.reasons, strict=True)
            ]
        tables.append(_table(rows, control, options))
    hashes = dict(files or {})
    mark = _joined(hashes.values()) if hashes else _digest(one for part in parts for one in part.many)
    return WinRates(tables, options, over, mark, hashes, data or {})


def _advance(progress: Progress) -> Callable[[int], None]:
    def advance(refits: int) -> None:
        progress.advance(progress.step + refits, None, None, refits, 0)

    return advance


def _table(rows: list[WinRate], control: LengthControl | None, options: WinRateOptions) -> Table:
    order = sorted(rows, key=lambda row: (-np.nan_to_num(row.estimate.mean, nan=-1.0), row.verdicts.model))
    others = [row for row in order if row.verdicts.model != row.verdicts.baseline]
    neighbours = [compared(one, other, options) for one, other in pairwise(others)]
    every = combinations(others, 2) if len(others) <= MOST_PAIRED else iter(())
    pairs = [compared(one, other, options) for one, other in every] if len(others) > 2 else neighbours
    return Table(order, control, [pair for pair in neighbours if pair], [pair for pair in pairs or neighbours if pair])


def _read(sources: Sequence[Source], config: WinrateConfig, report: DataReport) -> Tally:
    tally = Tally(Details._fields)
    refusals = Refusals(config.compared.on_bad_row, report, checked=False)
    how = Reading(config.compared.split, details=True, over=config.compared.over)
    for source in sources:
        with Waiting(source_name(source)) as waiting:
            read_verdicts(source, tally, refusals, how, waiting.tell)
    if not len(tally):
        what = f"no comparison of two models, as no row has a verdict or ranks: {report.summary()}"
        raise InputError(what, where=", ".join(map(source_name, sources)), fix="docs/winrate.md shows what is read")
    return tally


def _tell(report: DataReport, tally: Tally, again: int) -> None:
    say(f"data: {report.summary()}")
    for line in report.warnings():
        say(f"note: {line}")
    if again:
        say(f"note: {again:,} x {REPEATED}")
    if tally.alone:
        say(f"note: {tally.alone:,} x a row that names no prompt: it is taken for a prompt of its own")


def write(found: WinRates, output: ReportedOutput) -> None:
    """The table on the terminal, and the files that were asked for."""
    if output.markdown is not None:
        put(output.markdown, found.markdown() + "\n")
    if output.report is not None:
        put(output.report, json.dumps(found.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    if output.plot is not None:
        from accord.evaluate import winrate_plot

        winrate_plot.draw(found.tables, found.options, found.over, output.plot)
    if written(found.rows(), output.json):
        return
    cells = list(winrate_show.cells(found.tables, found.options, found.over))
    show(cells, title=winrate_show.title(found.tables))
    tell([*winrate_show.lines(found.tables, found.options), *found.notes])


def _joined(hashes: Iterable[str]) -> str:
    """Of one file its own, of several that of theirs together."""
    every = list(hashes)
    return every[0] if len(every) == 1 else hashlib.sha256("".join(every).encode()).hexdigest()


def _digest(many: Iterable[Verdicts]) -> str:
    """Of verdicts that come from no file: models, prompts' numbers, outcomes and weights."""
    found = hashlib.sha256()
    for one in many:
        found.update(f"{one.model}\0{one.baseline}\0{one.failed}\0".encode())
        for array in (one.cluster, one.outcome, one.weight):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
