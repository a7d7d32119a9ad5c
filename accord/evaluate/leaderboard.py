"""`accord leaderboard`: how strong models are, from comparisons or rankings of what they wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from accord.data.report import DataReport, Refusals
from accord.data.sources import Source, source_name
from accord.data.tally import Tally
from accord.data.verdicts import POSITION, Reading, read_verdicts
from accord.errors import InputError
from accord.evaluate.inputs import check_outputs, digests_of, sources_of
from accord.evaluate.standing import Standing
from accord.maths.comparisons import Comparisons, NoTies, PairLikelihood, pair_likelihood
from accord.maths.connected import NotConnected
from accord.maths.newton import NoMinimum
from accord.maths.plackett_luce import RankingLikelihood
from accord.maths.strengths import Fit, Likelihood, Resampled, bootstrap, clustered, fisher, fit, strengths
from accord.stages.config import LeaderboardConfig
from accord.stages.leaderboard_options import StrengthOptions
from accord.stages.tables import markdown_table, put, show, tell, written
from accord.training.progress import Progress, Waiting, say

NAMED = 4  # parts, and models of each, that an error names
FEW = 20  # clusters; errors from fewer are rough
MOST_FAILED = 0.1  # of the resamples
REPEATED = "judgements replaced by a later one of the same annotator on the same two models and prompt"


@dataclass
class Leaderboard:
    """What came of it: a table for everything, or one for each category. Python gets this."""

    standings: list[Standing]
    report: DataReport
    files: dict[str, str]  # name -> SHA-256

    def __repr__(self) -> str:
        """Short, as an interactive session shows it; the arrays are in `standings`."""
        return f"<Leaderboard: {'; '.join(standing.title for standing in self.standings)}>"

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all tables, as JSON has them."""
        return [row for standing in self.standings for row in standing.rows()]

    def markdown(self) -> str:
        """Tables, and below each how it came about."""
        return "\n".join(line for standing in self.standings for line in _markdown(standing))

    def to_json(self) -> dict[str, Any]:
        """All about it."""
        options = self.standings[0].options.model_dump()
        tables = [standing.to_json() for standing in self.standings]
        return {"options": options, "files": self.files, "data": self.report.to_json(), "leaderboards": tables}


def run(config: LeaderboardConfig, given: Mapping[str, object]) -> Leaderboard:
    """Reads, fits, prints, and on request writes and draws. InputError: what is said has no finite best strengths."""
    options, output = config.strength, config.output
    sources = sources_of(config.verdicts.data, given)
    name = ", ".join(map(source_name, sources))
    check_outputs(sources, (output.json, output.markdown, output.plot, output.report))
    report = DataReport()
    tally = _read(sources, config, report)
    kept = ~tally.replaced() if len(tally) and options.rankings == "pairs" else np.ones(len(tally), dtype=bool)
    _tell(report, tally, kept, options)
    parts = list(_parts(tally, kept, config, name))
    standings = [_standing(tally, kept & part, category, options, name) for category, part in parts]
    found = Leaderboard(standings, report, digests_of(sources))
    _write(found, config)
    return found


def _read(sources: Sequence[Source], config: LeaderboardConfig, report: DataReport) -> Tally:
    options = config.strength
    tally = Tally(options.style)
    refusals = Refusals(config.verdicts.on_bad_row, report, checked=False)
    how = Reading(config.verdicts.split, tuple(options.style), options.rankings == "plackett_luce")
    for source in sources:
        with Waiting(source_name(source)) as waiting:
            read_verdicts(source, tally, refusals, how, waiting.tell)
    if not len(tally):
        what = f"no comparison of two models, as no row has a verdict or ranks: {report.summary()}"
        raise InputError(what, where=", ".join(map(source_name, sources)), fix="docs/leaderboard.md shows what is read")
    return tally


def _tell(report: DataReport, tally: Tally, kept: NDArray[np.bool_], options: StrengthOptions) -> None:
    say(f"data: {report.summary()}")
    for line in report.warnings():
        say(f"note: {line}")
    if again := int((~kept).sum()):
        say(f"note: {again:,} x {REPEATED}")
    if options.cluster == "prompt" and options.errors != "fisher" and tally.alone:
        say(f"note: {tally.alone:,} x a row that names no prompt: it is taken for independent of all others")
    if options.cluster == "annotator" and tally.without_annotator:
        raise InputError("some judgements name no annotator", where="cluster", fix="cluster prompt")


def _parts(
    tally: Tally, kept: NDArray[np.bool_], config: LeaderboardConfig, name: str
) -> Iterator[tuple[str | None, NDArray[np.bool_]]]:
    """(category, which judgements are of it): each of them, or all together."""
    if config.verdicts.by == "none":
        yield None, kept
        return
    if not len(tally.categories):
        raise InputError("no category is named in the data", where=name, fix="add a column category, or leave --by out")
    if without := tally.uncategorised():
        say(f"note: {without:,} judgements name no category, and are in none of the tables")
    for category in sorted(tally.categories):
        yield category, tally.in_category(category)


def _standing(
    tally: Tally, kept: NDArray[np.bool_], category: str | None, options: StrengthOptions, name: str
) -> Standing:
    where = name if category is None else f"{name}: {category}"
    likelihood: PairLikelihood | RankingLikelihood
    if options.rankings == "plackett_luce":
        likelihood = RankingLikelihood(tally.rankings(kept, options.cluster), options.ridge)
    else:
        data = _in_units(tally.comparisons(kept, options.cluster), options, where)
        likelihood = pair_likelihood(data, ties=options.ties, ridge=options.ridge, style_ridge=options.style_ridge)
    return standing_of(likelihood, category, options, where)


def standing_of(
    likelihood: PairLikelihood | RankingLikelihood, category: str | None, options: StrengthOptions, where: str
) -> Standing:
    """The strengths that are likeliest, and how sure they are. InputError: none are, or nothing says how sure."""
    _check_enough(likelihood, options, where)
    _tell_of_ridge(likelihood, options, where)
    anchor = _anchor(likelihood.models, options, where)
    try:
        best = fit(likelihood)
    except NotConnected as error:
        raise _unconnected(error, likelihood.models, where) from error
    except NoTies as error:
        raise InputError(f"{error}, so their number cannot be found", where=where, fix="--ties half") from error
    except NoMinimum as error:
        fix = "give --ridge 0.01, and --style_ridge 0.5 if style is asked for"
        raise InputError(f"no finite best strengths ({error})", where=where, fix=fix) from error
    if options.errors != "fisher" and likelihood.clusters < FEW:
        what = "judgement" if options.cluster == "none" else options.cluster
        say(f"note: {where}: standard errors from {likelihood.clusters} {what}s only are rough")
    spread, clusters = _spread(best, options, where)
    found = strengths(best, spread, anchor=anchor, level=options.level, clusters=clusters)
    if clusters is not None and not found.standard_error.any():
        say(f"note: {where}: every {options.cluster} says the same, so standard errors of 0 say nothing")
    return Standing(category, options, best, found, spread)


def _in_units(data: Comparisons, options: StrengthOptions, where: str) -> Comparisons:
    """Differences of style in units of their root mean square: which model stands first does not matter to that."""
    if not options.style:
        return data
    size = np.sqrt((data.style**2).mean(0))
    for name, one in zip(options.style, size, strict=True):
        if one == 0:
            raise InputError(f"no two texts differ in {name}", where=where, fix=f"leave {name} out of --style")
    size[[name == POSITION for name in options.style]] = 1.0
    return replace(data, style=data.style / size)


def _check_enough(likelihood: Likelihood, options: StrengthOptions, where: str) -> None:
    if options.errors == "fisher":
        return
    if likelihood.clusters < 2:
        fix = "more data, --cluster none, or --errors fisher"
        raise InputError(f"one {options.cluster} alone, so no standard errors by it", where=where, fix=fix)


def _tell_of_ridge(likelihood: PairLikelihood | RankingLikelihood, options: StrengthOptions, where: str) -> None:
    """What would be no strengths at all without it."""
    try:
        if options.ridge > 0:
            replace(likelihood, ridge=0.0).check()
    except NotConnected as error:
        say(f"note: only the ridge makes these strengths finite: {_unconnected(error, likelihood.models, where).what}")
    except NoTies:
        pass  # the fit itself looks whether they leave their number free


def _anchor(models: Sequence[str], options: StrengthOptions, where: str) -> int | None:
    if options.anchor is None:
        return None
    if options.anchor not in models:
        fix = f"one of {', '.join(sorted(models))}"
        raise InputError(f"no model {options.anchor!r} in {where}", where="anchor", fix=fix)
    return models.index(options.anchor)


def _unconnected(error: NotConnected, models: Sequence[str], where: str) -> InputError:
    shown = [_names([models[i] for i in part]) for part in error.parts[:NAMED]]
    more = f" and {len(error.parts) - NAMED} more parts" if len(error.parts) > NAMED else ""
    if error.one_way:
        what = f"{shown[0]} never lost to or tied with any other model, so no finite strengths are the best"
        what += f" (parts that did not beat each other both ways: {'; '.join(shown)}{more})"
    else:
        what = f"{len(error.parts)} parts that were never compared with each other: {'; '.join(shown)}{more}"
    return InputError(what, where=where, fix="add comparisons between them, or give --ridge 0.01, which then decides")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f", ... ({len(names)} models)" if len(names) > NAMED else "")


def _spread(best: Fit, options: StrengthOptions, where: str) -> tuple[Any, int | None]:
    """(a covariance or resamples, the number of clusters where the interval goes by it)"""
    if options.errors == "clustered":
        return clustered(best), best.likelihood.clusters
    if options.errors == "fisher":
        return fisher(best), None
    # Systems of some hundred equations: threads would wait for each other longer than they compute.
    with threadpool_limits(1), Progress("bootstrap", options.rounds, unit="resample") as progress:
        found = bootstrap(best, options.rounds, options.seed, lambda done: progress.advance(done, None, None, 1, 0))
    _check_resamples(found, options, where)
    return found, None


def _check_resamples(found: Resampled, options: StrengthOptions, where: str) -> None:
    if found.failed > MOST_FAILED * options.rounds:
        what = f"{found.failed:,} of {options.rounds:,} resamples have no finite best strengths"
        raise InputError(what, where=where, fix="more comparisons, --errors clustered, or --ridge 0.01")


def _write(found: Leaderboard, config: LeaderboardConfig) -> None:
    output = config.output
    if output.markdown is not None:
        put(output.markdown, found.markdown() + "\n")
    if output.report is not None:
        put(output.report, json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n")
    if output.plot is not None:
        from accord.evaluate import leaderboard_plot

        leaderboard_plot.draw(found.standings, output.plot)
    if written(found.rows(), output.json):
        return
    for number, standing in enumerate(found.standings):
        if number:
            print()
        show(list(standing.cells()), title=standing.title)
        tell(standing.lines())


def _markdown(standing: Standing) -> Iterator[str]:
    title = standing.title
    if standing.category is None:
        title = title[0].upper() + title[1:]
    else:
        yield f"## {standing.category}\n"
    yield from markdown_table(list(standing.cells()))
    yield ""
    yield (f"{title}, in logits. " + ". ".join(line[0].upper() + line[1:] for line in standing.lines()) + ".")
    yield ""
