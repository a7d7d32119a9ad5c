"""`accord report`: runs and results of other commands as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from accord import __version__
from accord.errors import InputError
from accord.evaluate.report import (
    run_cost,
    run_curves,
    run_data,
    run_figures,
    run_options,
    run_overview,
    run_reports,
    run_samples,
)
from accord.evaluate.report.families import families, placed, told
from accord.evaluate.report.page import Page, Section, html
from accord.evaluate.report.ran import Ran, read_runs
from accord.evaluate.report.results import read_results
from accord.stages.evaluation_configs import ReportConfig
from accord.stages.tables import put, sized

NAMED = 4  # runs whose names make the title


class Report(NamedTuple):
    """What Python gets: the page as data, and the file it was written to."""

    page: Page
    file: Path


def run(config: ReportConfig, given: Mapping[str, object]) -> Report:
    """Reads, draws and writes. InputError: nothing to show, or no place to write to."""
    options = config.report
    file = Path(options.output)
    if not options.run and not options.compare:
        raise InputError("no run is named", where="run", fix="give run folders, or results with --compare")
    _check(file, options.compare)
    page = made(placed(read_runs(options.run)), read_results(options.compare), options.title)
    text = html(page)
    put(file, text)
    count = len(page.sections)
    print(f"{file}: {sized(len(text.encode()))}, {count} chapter{'s' * (count != 1)}; open it in a browser")
    return Report(page, file)


def _check(file: Path, results: Sequence[str]) -> None:
    if file.is_dir():
        raise InputError("is a directory", where=str(file), fix=f"give a file, as --output {file / 'report.html'}")
    if any(file.exists() and Path(one).exists() and file.samefile(one) for one in results):
        raise InputError("is a result that is read", where=str(file), fix="give another file to write")


def made(runs: Sequence[Ran], results: Sequence[Section], title: str | None) -> Page:
    """The page; chapters of which nothing is known are left out."""
    groups = families(runs)
    chapters = [
        run_overview.section(runs) if runs else None,
        run_curves.section(groups),
        run_figures.section(groups),
        run_reports.reward_section(runs),
        run_reports.class_section(runs),
        run_samples.section(runs),
        *results,
        run_data.section(runs),
        run_options.section(groups),
        run_cost.section(runs),
        run_options.repeating(runs),
    ]
    made_by = f"Made by accord {__version__} with accord report, {datetime.now():%Y-%m-%d %H:%M}."
    footer = f"{made_by} This file asks for nothing from anywhere."
    shown = [chapter for chapter in chapters if chapter is not None]
    return Page(title or _title(runs), _summary(runs), run_overview.facts(runs) if runs else [], shown, footer)


def _title(runs: Sequence[Ran]) -> str:
    if not runs:
        return "Results"
    if len(runs) > NAMED:
        return f"{len(runs)} runs"
    return f"The run {runs[0].name}" if len(runs) == 1 else f"Runs {', '.join(ran.name for ran in runs)}"


def _summary(runs: Sequence[Ran]) -> str:
    if len(runs) == 1:
        return f"{runs[0].name}: {told(runs[0])}"
    kinds = [f"{family.title.lower()} ({', '.join(ran.name for ran in family.runs)})" for family in families(runs)]
    return f"Training runs of language models, side by side: {'; '.join(kinds)}." if kinds else ""
