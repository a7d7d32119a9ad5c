"""What `accord compare` found, as people read it: a section for each thing that is known of the models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from accord.evaluate import safety_report, winrate_show
from accord.evaluate.collapse import EarlyWarnings
from accord.evaluate.endings import Endings
from accord.evaluate.kl_to_reference import Divergences
from accord.evaluate.round_robin import RoundRobin
from accord.maths.statistics import Estimate
from accord.stages.tables import markdown_table

if TYPE_CHECKING:
    from accord.evaluate.compare import ModelComparison, Sample

Rows = list[dict[str, str]]
SHOWN = 160  # characters of a text on the terminal; Markdown and JSON have all of it


class Section(NamedTuple):
    """tables: (title, rows). lines: how they came about, or why there is none."""

    heading: str
    tables: list[tuple[str, Rows]]
    lines: list[str]


def sections(found: ModelComparison) -> Iterator[Section]:
    """All of them but, in Markdown, the samples: these are no table there."""
    yield from figures(found)
    if found.samples:
        yield Section("Samples", [("what they said", [_side_by_side(one) for one in found.samples])], [])


def figures(found: ModelComparison) -> Iterator[Section]:
    """Without the samples."""
    if found.judged is not None:
        yield _win_rates(found.judged)
        yield _leaderboard(found.judged)
    else:
        yield _left_out("Win rates", found.left_out["win rates"])
    yield _endings(found.endings, found.level)
    if found.safety is not None:
        tables = list(safety_report.tables(found.safety))
        yield Section("Safety", tables, list(safety_report.lines(found.safety)))
    else:
        yield _left_out("Safety", found.left_out["safety"])
    yield _kl(found.kl, found.level) if found.kl is not None else _left_out("KL", found.left_out["kl"])
    yield _warnings(found.warnings)


def _left_out(heading: str, why: str) -> Section:
    return Section(heading, [], [f"{heading.lower() if heading != 'KL' else heading}: left out, as {why}"])


def _win_rates(judged: RoundRobin) -> Section:
    tables = [("win rates of every two, in percent", judged.cells())]
    if len(judged.models) > 2:
        tables.insert(0, ("win rates of the rows' models, in percent", judged.matrix()))
    lines = [*winrate_show.lines([judged.table], judged.options, "--json"), *judged.judged.lines()]
    return Section("Win rates", tables, lines)


def _leaderboard(judged: RoundRobin) -> Section:
    if judged.standing is None:
        return Section("Strengths", [], [f"strengths: left out: {judged.why_not}"])
    title = f"{judged.standing.title}, from all these verdicts"
    return Section("Strengths", [(title, list(judged.standing.cells()))], list(judged.standing.lines()))


def _endings(endings: Sequence[Endings], level: float) -> Section:
    rows = [
        {
            "model": one.model,
            "answers": f"{one.n:,}",
            "characters": _figure(one.characters, 1),
            "ended": _percent(one.ended),
            "cut": _percent(one.ended and one.ended._replace(mean=1 - one.ended.mean), turned=True),
        }
        for one in endings
    ]
    lines = [f"{100 * level:g} % intervals: of the mean Student's, of shares Wilson's"]
    if unknown := [one.model for one in endings if one.told < one.n]:
        lines.append(f"how answers ended is not known of all answers of {', '.join(unknown)}")
    return Section("Lengths", [("how long answers are, and how they ended", rows)], lines)


def _kl(kl: Divergences, level: float) -> Section:
    rows = [
        {
            "model": one.model,
            "nats an answer, k1": _figure(one.k1, 3),
            "nats an answer, k3": _figure(one.k3, 3),
            "n": f"{one.n:,}",
            "tokens an answer": f"{one.tokens:.1f}",
        }
        for one in kl.rows
    ]
    warmed = "" if kl.temperature == 1 else f", both at temperature {kl.temperature:g}"
    lines = [
        "of the models' own answers; k1: the mean of log pi - log pi_ref, k3: of pi_ref / pi - 1 - log pi_ref / pi, of "
        f"every token, summed{warmed}; both estimate the same, but far away k3 hangs on a few rare tokens; "
        f"{100 * level:g} % intervals over prompts",
        *(f"{model}: no KL, as {why}" for model, why in kl.why_not.items()),
    ]
    return Section("KL", [(f"KL to {kl.reference}", rows)] if rows else [], lines)


def _warnings(found: Sequence[EarlyWarnings]) -> Section:
    tables = [(f"{one.model} against {one.reference}, {one.n:,} prompts", one.rows()) for one in found]
    said = [f"warning: {one.model}: {what}" for one in found for what in one.warnings]
    return Section("Early warnings", tables, said or ["no early warning of collapse or over-optimisation"])


def _side_by_side(one: Sample) -> dict[str, str]:
    return {"prompt": _short(one.prompt)} | {name: _short(text) for name, text in one.answers.items()}


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _figure(estimate: Estimate, digits: int) -> str:
    mean, _, (low, high) = estimate
    known = low == low  # NaN where one value says nothing of how sure it is
    return f"{mean:,.{digits}f}" + (f" ({low:,.{digits}f} to {high:,.{digits}f})" if known else "")


def _percent(estimate: Estimate | None, *, turned: bool = False) -> str:
    if estimate is None:
        return "unknown"
    low, high = estimate.interval
    if turned:
        low, high = 1 - high, 1 - low
    return f"{winrate_show.percent(estimate.mean)} % ({winrate_show.between((low, high))})"


def markdown(found: ModelComparison) -> str:
    """Tables, how they came about, and the samples one below the other, whole."""
    made = [f"# {', '.join(found.models)}", "", f"{found.prompts:,} prompts; seed {found.options['seed']}.", ""]
    for section in figures(found):
        made += [f"## {section.heading}", ""]
        for title, rows in section.tables:
            made += [f"{title[0].upper()}{title[1:]}:", "", *markdown_table(rows), ""]
        made += [*(f"- {line}" for line in section.lines), ""]
    if found.samples:
        made += ["## Samples", ""]
    for one in found.samples:
        made += [f"### {one.id}", "", *_quoted(one.prompt), ""]
        for name, text in one.answers.items():
            made += [f"**{name}**", "", *_quoted(text), ""]
    return "\n".join(made).rstrip().encode("utf-8", "backslashreplace").decode()  # a file may have half a character


def _quoted(text: str) -> Iterator[str]:
    """As it is, whatever is in it: the fence is longer than any row of back-ticks."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    yield from (f"{fence}text", text, fence)
