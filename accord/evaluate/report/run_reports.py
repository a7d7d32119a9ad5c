"""What reward models and classifiers say of themselves: how often they are right, and whether they know how sure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accord.evaluate.report.chart import Chart, Line
from accord.evaluate.report.page import Charts, Grid, Part, Section
from accord.evaluate.report.ran import Ran
from accord.evaluate.report.values import Json, ends, figure, mapping, number, percent, rows

REWARD, CLASSES = "reward_report.json", "classify_report.json"
INTRO = (
    "On held-out data. Accuracy is how often the answer that people preferred gets the higher score; always preferring "
    "the longer answer is what it has to beat. A model is calibrated if of the pairs that it calls 80 % sure, 80 % are "
    "in order."
)
OF_CLASSES = "On held-out texts. Always saying the most frequent label is what a classifier has to beat."
Chosen = tuple[str, tuple[str, ...]]  # what it is called, and where it stands in the file
ROWS: tuple[Chosen, ...] = (
    ("accuracy: preferred answers scored higher", ("accuracy",)),
    ("the longer answer is the preferred one", ("longer_wins",)),
    ("accuracy above always preferring the longer one", ("above_longer_wins",)),
    ("how sure it is, on average", ("calibration", "confidence")),
    ("error of calibration (ECE)", ("calibration", "ece")),
    ("ECE of a perfectly calibrated model, by chance", ("calibration", "ece_by_chance")),
    ("best of its group ranked first", ("orders", "top")),
    ("the longest is the best of its group", ("orders", "longest")),
    ("agreement of people with each other", ("agreement",)),
)
PARTS: tuple[Chosen, ...] = (
    ("accuracy by difference of scores", ("by_gap",)),
    ("accuracy by difference of lengths, in tokens", ("by_length",)),
    ("accuracy by category", ("by_category",)),
)


def reward_section(runs: Sequence[Ran]) -> Section | None:
    """Of the reward models among the runs."""
    known = [ran for ran in runs if ran.reports[REWARD]]
    if not known:
        return None
    reports = {ran.name: ran.reports[REWARD] for ran in known}
    table = [[name, *(_share(_at(report, path)) for report in reports.values())] for name, path in ROWS]
    table += [["pairs of held-out data", *(_count(report.get("pairs")) for report in reports.values())]]
    table += [["correlation of score and length within a prompt", *(_length(report) for report in reports.values())]]
    shown = [row for row in table if any(row[1:])]
    parts: list[Part] = [
        Grid(
            "Reward models on held-out comparisons",
            ["", *reports],
            shown,
            "95 % intervals by prompt.",
            range(1, len(reports) + 1),
        )
    ]
    if charts := list(_charts(known)):
        parts.append(Charts("Calibration and accuracy", charts))
    return Section("reward", "Reward models", INTRO, parts)


def _charts(runs: Sequence[Ran]) -> Iterator[Chart]:
    lines = [line for ran in runs if (line := _reliability(ran, ran.reports[REWARD].get("calibration")))]
    if lines:
        yield calibration_chart(lines, "how often the preferred answer has the higher score")
    for title, path in PARTS:
        if len(runs) == 1 and len(parts := rows(_at(runs[0].reports[REWARD], path))) > 1:
            yield _by_part(title, parts, runs[0])


def _reliability(ran: Ran, calibration: object) -> Line | None:
    bins = [
        (probability, frequency, interval)
        for one in rows(mapping(calibration).get("bins"))
        if (probability := number(one.get("probability"))) is not None
        and (frequency := number(one.get("frequency"))) is not None
        and (interval := ends(one.get("interval")))
    ]
    if not bins:
        return None
    x, y, intervals = zip(*bins, strict=True)
    low, high = zip(*intervals, strict=True)
    return Line(ran.name, x, y, low=low, high=high, marks=True, colour=ran.place)


def calibration_chart(lines: Sequence[Line], y_label: str) -> Chart:
    """How often a model is right against how sure it is, and the line on which a calibrated one lies."""
    least = min(min(line.x) for line in lines)
    low = 0.5 if least >= 0.5 else 0.0
    said = [f"{line.name}: {percent(y)} at {percent(x)}" for line in lines for x, y in zip(line.x, line.y, strict=True)]
    alt = f"Reliability chart. How often right at how sure: {'; '.join(said)}."
    perfect = Line("as sure as it is right", [low, 1.0], [low, 1.0], colour=6, dashed=True)
    return Chart("calibration", [perfect, *lines], "how sure the model is", y_label, alt)


def _by_part(title: str, parts: Sequence[Json], ran: Ran) -> Chart:
    found = [
        (place, part, mean)
        for place, part in enumerate(parts, 1)
        if (mean := number(mapping(part.get("model")).get("mean"))) is not None
    ]
    intervals = [ends(mapping(part.get("model")).get("interval")) for _, part, _ in found]
    low, high = zip(*(one or (mean, mean) for one, (_, _, mean) in zip(intervals, found, strict=True)), strict=True)
    names = [str(part.get("name", "")) for _, part, _ in found]
    line = Line(
        ran.name, [x for x, _, _ in found], [y for *_, y in found], low=low, high=high, marks=True, colour=ran.place
    )
    said = [f"{name}: {percent(y)}" for name, y in zip(names, line.y, strict=True)]
    parted = "; ".join(f"{place}: {name}" for (place, _, _), name in zip(found, names, strict=True))
    note = f"Parts of about the same size: {parted}."
    return Chart(title, [line], "part", "", f"{title}. {'; '.join(said)}.", level=0.5, caption=note)


def class_section(runs: Sequence[Ran]) -> Section | None:
    """Of the classifiers among the runs."""
    known = [ran for ran in runs if ran.reports[CLASSES]]
    if not known:
        return None
    reports = {ran.name: ran.reports[CLASSES] for ran in known}
    names = {
        "accuracy": "accuracy",
        "majority": "always the most frequent label",
        "ahead_of_majority": "ahead of it",
        "macro_f1": "F1, mean of the labels",
    }
    table = [[text, *(_share(report.get(key)) for report in reports.values())] for key, text in names.items()]
    parts: list[Part] = [Grid("Classifiers on held-out texts", ["", *reports], table, "", range(1, len(reports) + 1))]
    parts += [_labels(name, report) for name, report in reports.items()]
    lines = [line for ran in known if (line := _reliability(ran, ran.reports[CLASSES].get("calibration")))]
    if lines:
        parts.append(Charts("Calibration", [calibration_chart(lines, "how often it is right")]))
    return Section("classifiers", "Classifiers", OF_CLASSES, parts)


def _labels(name: str, report: Json) -> Grid:
    keys = ("share", "precision", "recall", "f1", "auc")
    table = [
        [str(label.get("label", "")), *(_share(label.get(key)) for key in keys)] for label in rows(report.get("labels"))
    ]
    return Grid(f"{name}: by label", ["label", *keys], table, "", range(1, len(keys) + 1))


def _at(report: Mapping[str, Any], path: Sequence[str]) -> object:
    value: object = report
    for key in path:
        value = mapping(value).get(key)
    return value


def _share(value: object) -> str:
    """A share with its interval, whichever way it is written."""
    if (plain := number(value)) is not None:
        return percent(plain)
    mean, interval = number(mapping(value).get("mean")), ends(mapping(value).get("interval"))
    if mean is None:
        return ""
    return f"{percent(mean)}" + (f"\n{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "")


def _count(value: object) -> str:
    found = number(value)
    return "" if found is None else f"{found:,.0f}"


def _length(report: Json) -> str:
    found = mapping(mapping(report.get("length_correlation")).get("within"))
    mean, interval = number(found.get("mean")), ends(found.get("interval"))
    return (
        "" if mean is None else figure(mean) + (f"\n{figure(interval[0])} to {figure(interval[1])}" if interval else "")
    )
