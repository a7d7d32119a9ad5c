"""The table of win rates as people read it, and in words how it came about."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from accord.evaluate.intervals import INTERVALS, NO_METHOD
from accord.evaluate.measured import POINT, Pair, WinRate
from accord.maths.position import first_shown
from accord.maths.sample_size import detectable
from accord.stages.tables import markdown_table
from accord.stages.winrate_options import WinRateOptions

if TYPE_CHECKING:
    from accord.evaluate.winrate import Table

FEW = 20  # prompts; intervals from fewer are rough
SHOWN = 6  # comparisons of neighbours, reasons and the like that are printed
FIRST = 3  # models of which the effect of places is printed; --json has all
SURE = 0.05  # p below which a line says so


def title(tables: Sequence[Table]) -> str:
    """What stands over the table."""
    baselines = sorted({row.verdicts.baseline for table in tables for row in table.rows})
    return f"win rates against {', '.join(baselines)}, in percent"


def cells(tables: Sequence[Table], options: WinRateOptions, over: str | None) -> Iterator[dict[str, str]]:
    """A row a model; of several tables one after the other."""
    rows = [row for table in tables for row in table.rows]
    controlled = any(row.controlled for row in rows)
    lengths = any(math.isfinite(row.answer_length) for row in rows)
    for row in rows:
        control, verdicts = row.controlled, row.verdicts
        yield {
            **({"category": row.category} if row.category is not None else {}),
            **({over: f"{row.level:g}"} if over is not None else {}),
            "model": verdicts.model,
            "win_rate": percent(row.estimate.mean),
            f"{100 * options.level:g} % interval": between(row.estimate.interval),
            "standard_error": percent(row.estimate.standard_error),
            **({"at_equal_length": "" if control is None else percent(control.win_rate)} if controlled else {}),
            **({"its_interval": "" if control is None else between(control.interval)} if controlled else {}),
            "won/tied/lost": f"{row.wins:,}/{row.ties:,}/{row.losses:,}",
            "n": f"{len(verdicts):,}",
            "failed": f"{verdicts.failed:,}",
            "missing": f"{verdicts.missing:,}",
            **({"length": _length(row.answer_length)} if lengths else {}),
        }


def lines(tables: Sequence[Table], options: WinRateOptions, whole: str = "--report") -> Iterator[str]:
    """How the table came about, and what else it says. whole: the option whose file has all of it."""
    rows = [row for table in tables for row in table.rows]
    others = [row for row in rows if row.verdicts.model != row.verdicts.baseline]
    yield from _methods(rows, options)
    yield from _control(tables, options)
    yield from _position(others, options)
    yield from _longer(others)
    yield from _neighbours([(_named(table), pair) for table in tables for pair in table.neighbours], whole)
    yield from _sample_size(others, options)
    few = min((row.prompts for row in others), default=FEW)
    if few < FEW:
        yield f"note: intervals from {few} prompts only are rough"


def _methods(rows: Sequence[WinRate], options: WinRateOptions) -> Iterator[str]:
    prompts = _range(row.prompts for row in rows)
    for name in dict.fromkeys(row.method for row in rows if row.method != NO_METHOD):
        says = INTERVALS[name].says.format(rounds=options.rounds)
        yield f"intervals ({name}): {says}; {prompts} prompts; a tie counts half, failed verdicts do not count"


def _control(tables: Sequence[Table], options: WinRateOptions) -> Iterator[str]:
    if not options.length_control:
        return
    controls = [table.control for table in tables if table.control is not None]
    for says in dict.fromkeys(control.says for control in controls if control.says):
        yield f"at equal length: {says}"
    others = [row for table in tables for row in table.rows if row.verdicts.model != row.verdicts.baseline]
    for method in dict.fromkeys(row.controlled.method for row in others if row.controlled):
        yield f"its intervals: {method}"
    for reason in list(dict.fromkeys(row.why_not for row in others if row.why_not))[:SHOWN]:
        yield f"not at equal length, as {reason}"


def _position(rows: Sequence[WinRate], options: WinRateOptions) -> Iterator[str]:
    known = [row.verdicts for row in rows if row.shown is not None]
    if known:
        # By prompt: often all models have the same order on one, as AlpacaEval's have.
        outcome = np.concatenate([one.outcome for one in known])
        place, prompt = (np.concatenate([getattr(one, name) for one in known]) for name in ("shown_first", "cluster"))
        shown = first_shown(outcome, place, prompt, options.level)
        if shown.wins + shown.losses:
            yield (
                f"position: what was shown first won {percent(shown.share)} % ({between(shown.interval)}) of "
                f"{shown.wins + shown.losses:,} decided verdicts{_surely(shown.p, ', which is no chance')}"
            )
    for row in rows[:FIRST]:
        if row.places is not None:
            gap = row.places
            yield (
                f"position: {row.verdicts.model} wins {percent(gap.first)} % when shown first, {percent(gap.second)} % "
                f"when second: {signed(gap.difference)} ({signed(gap.interval.low)} to {signed(gap.interval.high)})"
            )
        if row.orders is not None:
            seen = row.orders
            yield (
                f"both orders: of {seen.n:,} pairs of {row.verdicts.model} {percent(seen.consistent)} % ended the same "
                f"way; in {percent(seen.first)} % what was first won twice, in {percent(seen.second)} % what was second"
            )


def _longer(rows: Sequence[WinRate]) -> Iterator[str]:
    known = [row.longer for row in rows if row.longer is not None]
    if known:
        count = sum(one.n for one in known)
        share = sum(one.share * one.n for one in known) / count
        yield f"length: the longer answer won {percent(share)} % of {count:,} decided verdicts"


def _named(table: Table) -> str:
    """What tells a table from the others; nothing where it is the only one."""
    first = table.rows[0]
    return f" at {first.level:g}" if first.level is not None else f" in {first.category}" if first.category else ""


def _neighbours(pairs: Sequence[tuple[str, Pair]], whole: str) -> Iterator[str]:
    for where, pair in pairs[:SHOWN]:
        found = pair.found
        yield (
            f"paired{where}: {pair.first} - {pair.second}: {signed(found.difference)} ({signed(found.interval.low)} to "
            f"{signed(found.interval.high)}), p {probability(found.p)} ({found.test}; {found.n:,} prompts)"
        )
    if len(pairs) > SHOWN:
        yield f"paired: {len(pairs) - SHOWN} more in {whole}"


def _sample_size(rows: Sequence[WinRate], options: WinRateOptions) -> Iterator[str]:
    able = [row for row in rows if row.prompts_needed(POINT, options.level) is not None]
    if not able:
        return
    row = max(able, key=lambda one: one.variance)
    needed = row.prompts_needed(POINT, options.level)
    least = detectable(row.prompts, row.variance, options.level)
    yield (
        f"sample size: {row.prompts:,} prompts tell {percent(least)} points from 50 %, in 4 of 5 cases; to tell 1 "
        f"point takes {needed:,} ({row.verdicts.model})"
    )


def markdown(tables: Sequence[Table], options: WinRateOptions, over: str | None) -> Iterator[str]:
    """The table, and below it the lines as a list."""
    yield from markdown_table(list(cells(tables, options, over)))
    yield ""
    yield f"W{title(tables)[1:]}. Seed {options.seed}."
    yield ""
    yield from (f"- {line}" for line in lines(tables, options))


def percent(rate: float) -> str:
    return "unknown" if math.isnan(rate) else f"{100 * rate:.1f}"


def between(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{percent(low)} to {percent(high)}"


def signed(rate: float) -> str:
    return "unknown" if math.isnan(rate) else f"{100 * rate:+.1f}"


def probability(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def _surely(p: float, says: str) -> str:
    return f", p {probability(p)}{says if p < SURE else ''}"


def _length(length: float) -> str:
    return "unknown" if math.isnan(length) else f"{length:,.0f}"


def _range(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"
