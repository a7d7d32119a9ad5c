"""The numbers of a project as they are seen: sentences, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from accord.collect import charts
from accord.collect.charts import Bar
from accord.collect.quality import Quality
from accord.collect.quality_agreement import FLAG, PAIRS, RANKING, RATINGS, THUMBS, headline
from accord.collect.quality_annotators import Annotator
from accord.collect.quality_outliers import ALPHA
from accord.collect.settings import Settings
from accord.evaluate.agreed import Agreed, Figure, key_of
from accord.maths.statistics import Estimate, Interval

QUESTIONS = {PAIRS: "Which of two is better", RANKING: "Whole rankings", RATINGS: "Ratings", THUMBS: "Thumbs"}
NONE = "\u2013"  # a dash, where the data say nothing
SUITS = {"ordinal_alpha": "Krippendorff's alpha (ordinal)", "nominal_alpha": "Krippendorff's alpha (nominal)",
         "kendall_tau_b": "Kendall's tau"}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What the template shows."""

    quality: Quality
    facts: Sequence[tuple[str, str, str]]
    share: float
    finish: str
    questions: Sequence[Mapping[str, str]]
    pictures: Mapping[str, Markup]
    annotators: Sequence[Mapping[str, Any]]
    distributions: Sequence[tuple[str, Markup]]
    legend: Sequence[str]
    notes: Sequence[str]
    outliers: Sequence[str]
    position: str


def shown(quality: Quality, settings: Settings) -> Seen:
    """For the live page."""
    labels = {flag.key: flag.label for flag in settings.flags}
    progress = quality.progress
    people = quality.everyone.annotators
    names = {one.account: one.name for one in people}
    return Seen(
        quality=quality,
        facts=_facts(quality),
        share=progress.judgements / progress.wanted if progress.wanted else 0.0,
        finish=_finish(quality),
        questions=[_question(one, labels) for one in quality.agreed],
        pictures=_pictures(quality, labels, names),
        annotators=[_row(one) for one in people],
        distributions=[(one.name, _distribution(one.ratings, one.name)) for one in people if sum(one.ratings)][:24],
        legend=[names[account] for account in quality.everyone.together.accounts][:MOST],
        notes=_notes(quality),
        outliers=[one.name for one in people if one.finding is not None and one.finding.outlier],
        position=_position(quality),
    )


MOST = 24  # annotators that a picture shows


def _facts(quality: Quality) -> list[tuple[str, str, str]]:
    progress, everyone = quality.progress, quality.everyone
    best = next((one for one in quality.agreed if one.question in (PAIRS, RATINGS, THUMBS)), None)
    agreed = figures_of(best) if best else {}
    main = headline(agreed)
    alpha = NONE if main is None or math.isnan(main.estimate.mean) else f"{main.estimate.mean:z.2f}"
    spread = "" if alpha == NONE or main is None else _ends(main.estimate.interval, "z.2f")
    return [
        ("Groups complete", f"{progress.complete:,}", f"of {progress.groups:,}"),
        ("Judgements", f"{progress.judgements:,}", f"of {progress.wanted:,} wanted"),
        ("Open now", f"{progress.open:,}", "pages being worked on"),
        ("A day", f"{quality.pace.a_day:,.0f}", "judgements, over the last week"),
        ("Time a page", _seconds(everyone.seconds), "median, active"),
        ("Agreement", alpha, f"alpha {spread}" if spread else "from groups that several judged"),
    ]


def _finish(quality: Quality) -> str:
    left = quality.progress.wanted - quality.progress.judgements
    if not quality.progress.groups:
        return "No groups yet."
    if left <= 0:
        return "Everything that was wanted is there."
    if quality.pace.finish is None:
        return f"{left:,} judgements to go."
    days = (quality.pace.finish - quality.made) / 86_400
    when = (
        "within the hour"
        if days < 1 / 24
        else f"in about {days * 24:.0f} h"
        if days < 2
        else f"in about {days:.0f} days"
    )
    return f"{left:,} judgements to go: done {when} at the pace of late."


def figures_of(one: Agreed) -> dict[str, Figure]:
    return {key_of(figure.name): figure for figure in one.figures}


def _question(one: Agreed, labels: Mapping[str, str]) -> dict[str, str]:
    figures = figures_of(one)
    main = headline(figures)
    name = next((name for name in SUITS if figures.get(name) is main), "")
    flag = one.question.removeprefix(FLAG)
    kappa = figures.get("cohen_kappa") or figures.get("fleiss_kappa")
    return {
        "name": QUESTIONS.get(one.question) or labels.get(flag, flag),
        "same": _percent(figures.get("same")),
        "decided": _percent(figures.get("agreeing_pairs")),
        "coefficient": SUITS.get(name, ""),
        "value": _coefficient(main),
        "kappa": _coefficient(kappa),
        "couples": f"{one.couples:,}",
    }


def _percent(figure: Figure | None) -> str:
    if figure is None or math.isnan(figure.estimate.mean):
        return NONE
    low, high = figure.estimate.interval
    return f"{figure.estimate.mean:.0%} ({low:.0%} to {high:.0%})"


def _coefficient(figure: Figure | None) -> str:
    if figure is None or math.isnan(figure.estimate.mean):
        return NONE
    return f"{figure.estimate.mean:z.2f} {_ends(figure.estimate.interval, 'z.2f')}".strip()


def _ends(interval: Interval, form: str) -> str:
    return "" if math.isnan(interval.low) else f"({interval.low:{form}} to {interval.high:{form}})"


def _pictures(quality: Quality, labels: Mapping[str, str], names: Mapping[int, str]) -> dict[str, Markup]:
    people = quality.everyone.annotators
    found = {}
    rows = [bar for one in quality.agreed if (bar := _beyond(one, labels)) is not None]
    if rows:
        alt = "Agreement beyond chance: " + ", ".join(f"{row.name} {row.said}" for row in rows)
        found["beyond"] = charts.bars(rows, alt, names=200)
    if quality.pace.days:
        dates = [f"{datetime.fromtimestamp(day, UTC):%d %b}".lstrip("0") for day, _ in quality.pace.days]
        found["days"] = charts.columns([count for _, count in quality.pace.days], dates, "Judgements a day")
    if quality.places:
        rows = [_place(i, estimate) for i, estimate in enumerate(quality.places.best)]
        alt = "How often each place holds the best output: " + ", ".join(f"{row.name} {row.said}" for row in rows)
        found["places"] = charts.bars(rows, alt, at=1 / quality.places.k, names=70)
    if sum(quality.ratings):
        found["ratings"] = charts.columns(
            quality.ratings, _numbers(len(quality.ratings)), "How often each rating is given"
        )
    if quality.ticked:
        rows = [Bar(labels.get(key, key), share, f"{share:.1%}") for key, share in quality.ticked.items()]
        found["flags"] = charts.bars(rows, "How often each flag is ticked", names=200)
    if quality.skips:
        most = max(count for _, count in quality.skips)
        rows = [Bar(reason, count / most, f"{count:,}") for reason, count in quality.skips]
        found["skips"] = charts.bars(rows, "Why pages were skipped", names=200)
    agreeing = [one for one in people if one.others is not None][:MOST]
    if agreeing:
        rows = [_agreeing(one) for one in agreeing]
        found["agreeing"] = charts.bars(rows, "How far each annotator agrees with the others", at=None)
        firsts = [_first(one) for one in agreeing]
        found["firsts"] = charts.bars(firsts, "How often what is shown first wins, by annotator", at=0.5)
    together = quality.everyone.together
    if len(together.accounts) > 1:
        accounts, values = together.accounts[:MOST], [row[:MOST] for row in together.agree[:MOST]]
        known = [value for row in values for value in row if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        alt = f"How far each two annotators agree, from {low:.0%} to {high:.0%}"
        found["together"] = charts.heat([names[one] for one in accounts], values, low, high, alt)
    return found


def _beyond(one: Agreed, labels: Mapping[str, str]) -> Bar | None:
    """From 0, chance, to 1; what lies below chance is drawn as 0, and written."""
    main = headline(figures_of(one))
    if main is None or math.isnan(main.estimate.mean):
        return None
    low, high = (None if math.isnan(end) else min(1.0, max(0.0, end)) for end in main.estimate.interval)
    flag = one.question.removeprefix(FLAG)
    name = QUESTIONS.get(one.question) or labels.get(flag, flag)
    return Bar(name, max(0.0, main.estimate.mean), f"{main.estimate.mean:z.2f}", low, high)


def _place(i: int, estimate: Estimate) -> Bar:
    return Bar(f"Place {'ABCDEFGHI'[i]}", estimate.mean, f"{estimate.mean:.1%}", *estimate.interval)


def _agreeing(one: Annotator) -> Bar:
    assert one.others is not None
    marked = one.finding is not None and one.finding.outlier
    return Bar(one.name, one.others.mean, f"{one.others.mean:.0%}", *one.others.interval, marked)


def _first(one: Annotator) -> Bar:
    if one.first is None or math.isnan(one.first.share):
        return Bar(one.name, None, NONE)
    apart = not one.first.interval.low <= 0.5 <= one.first.interval.high
    return Bar(one.name, one.first.share, f"{one.first.share:.0%}", *one.first.interval, apart)


def _numbers(scale: int) -> list[str]:
    return [str(one) for one in range(1, scale + 1)]


def _distribution(ratings: Sequence[int], name: str) -> Markup:
    return charts.columns(ratings, _numbers(len(ratings)), f"How often {name} gives each rating", small=True)


def _row(one: Annotator) -> dict[str, Any]:
    finding = one.finding
    return {
        "account": one.account,
        "name": one.name,
        "labels": f"{one.labels:,}",
        "skips": f"{one.skips:,}",
        "seconds": _seconds(one.seconds),
        "fast": f"{one.fast:,}" if one.timed else NONE,
        "many_fast": one.timed >= 10 and one.fast > 0.1 * one.timed,
        "ties": NONE if one.ties is None else f"{one.ties:.0%}",
        "first": NONE if one.first is None or math.isnan(one.first.share) else f"{one.first.share:.0%}",
        "others": _share(one.others),
        "gold": _share(one.gold),
        "gold_done": f"{one.gold_done:,}",
        "e": NONE if finding is None or not finding.groups else _e(finding.highest),
        "outlier": finding is not None and finding.outlier,
        "last": one.last,
    }


def _e(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else "> 1,000"


def _share(estimate: Estimate | None) -> str:
    return NONE if estimate is None or math.isnan(estimate.mean) else f"{estimate.mean:.0%}"


def _seconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.0f} s" if value < 100 else f"{int(value) // 60} min {int(value) % 60:02} s"


def _position(quality: Quality) -> str:
    places = quality.places
    if places is None or math.isnan(places.p):
        return ""
    size = f"{places.judgements:,} judgements of {places.k} outputs"
    p = f"p {'< 0.001' if places.p < 0.001 else f'= {places.p:.3f}'}, Friedman's test"
    verdict = "Where an output is shown matters" if places.p < 0.01 else "No sign that the place matters"
    return f"{verdict} ({p}; {size}). The line is {1 / places.k:.0%}: what each place has where places do not matter."


def _notes(quality: Quality) -> list[str]:
    said = []
    if quality.part < 1:
        part = f"Everything else is of 1 in {round(1 / quality.part)} groups, drawn at random"
        count = f"({quality.judgements_read:,} judgements), so that this page stays fast."
        said.append(f"Counts are of all judgements. {part} {count}")
    if quality.agreed_of:
        groups = f"Agreement beyond chance is of {quality.agreed_of:,} groups that several judged"
        said.append(f"{groups}; intervals ({quality.level:.0%}) come from drawing whole groups again.")
    bet = f"a bet against them has won {1 / ALPHA:.0f} times its stake"
    chance = f"is called one with a chance of at most {ALPHA:.0%}, however often you look"
    said.append(f"An outlier is who judges otherwise than the rest: {bet}. Who judges as the others do {chance}.")
    return said
