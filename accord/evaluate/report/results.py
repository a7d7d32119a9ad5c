"""Results that other commands wrote with --json, as chapters of a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from accord.errors import InputError
from accord.evaluate.report.frontier_parts import KEYS as FRONTIER
from accord.evaluate.report.frontier_parts import frontier_parts
from accord.evaluate.report.json_parts import parts_of
from accord.evaluate.report.page import Conversations, Exchange, Folded, Grid, Notice, Part, Reply, Section
from accord.evaluate.report.run_samples import shortened
from accord.evaluate.report.values import Json, ends, mapping, number, percent, rows, words

BACKGROUND = ("options", "files", "data", "data_sha256")  # how a result came about


class Kind(NamedTuple):
    """Results that are known by their keys, and how they are shown."""

    keys: frozenset[str]
    title: str
    intro: str
    parts: Callable[[Json], Iterator[Part]]


def read_results(files: Sequence[str]) -> list[Section]:
    """A chapter a file. InputError: one is no JSON."""
    return [_section(file, place) for place, file in enumerate(files, 1)]


def _section(file: str, place: int) -> Section:
    found = read(file)
    known = next((kind for kind in KINDS if isinstance(found, dict) and kind.keys <= found.keys()), None)
    if known is not None and isinstance(found, dict):
        return Section(f"result-{place}", f"{known.title}: {Path(file).stem}", known.intro, list(known.parts(found)))
    return Section(f"result-{place}", Path(file).stem, f"As it stands in {file}.", list(_any(found)))


def read(file: str) -> object:
    """InputError: it cannot be read."""
    fix = "give what a command wrote with --json FILE"
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=file, fix=fix) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON ({error})", where=file, fix=fix) from error


def _any(found: object) -> Iterator[Part]:
    if not isinstance(found, dict):
        yield from parts_of(found, "result")
        return
    front = {key: value for key, value in found.items() if key not in BACKGROUND}
    yield from parts_of(front, "")
    yield from _background(found)


def _background(found: Json) -> Iterator[Part]:
    kept = {key: found[key] for key in BACKGROUND if found.get(key)}
    if parts := list(parts_of(kept, "")):
        yield Folded("How it came about: options and files", parts)


def _compared(found: Json) -> Iterator[Part]:
    """Of accord compare."""
    rates = mapping(found["win_rates"])
    if rates:
        yield matrix(words(found["models"]), mapping(rates.get("matrix")))
        yield from parts_of(rates.get("paired"), "models on the same prompts, less each other")
        if standing := rows(mapping(rates.get("leaderboard")).get("models")):
            yield from parts_of(standing, "strengths (Bradley-Terry)")
    ended = [{**row, "ended": _share(row.get("ended"))} for row in rows(found["answers"])]
    yield from parts_of(ended, "how long answers are, and how they ended")
    if safety := mapping(found.get("safety")):
        yield from _safe(safety)
    kl = mapping(found.get("kl"))
    yield from parts_of(kl.get("models"), f"KL to {kl.get('reference')}, nats an answer")
    for one in rows(found["early_warnings"]):
        yield from (
            Notice(f"{one.get('model')}: {drift['warning']}")
            for drift in rows(one.get("figures"))
            if drift.get("warning")
        )
    yield from _said(rows(found["samples"]))
    for section, why in mapping(found.get("left_out")).items():
        yield Notice(f"{section}: left out, as {why}.", "note")
    yield from _background(found)


def matrix(models: Sequence[str], rates: Json) -> Grid:
    """How often the model of the row wins against that of the column, coloured from orange (never) to blue (always)."""
    table, shade = [], []
    for one in models:
        cells = [mapping(mapping(rates.get(one)).get(other)) for other in models]
        wins = [number(found.get("win_rate")) for found in cells]
        table.append([one, *(_rate(win, found.get("interval")) for win, found in zip(wins, cells, strict=True))])
        shade.append([None, *(None if win is None else 2 * win - 1 for win in wins)])
    note = (
        "Blue: the model of the row wins more often than that of the column; orange: less often. 95 % intervals below."
    )
    return Grid(
        "win rates of the row's model against the column's",
        ["", *models],
        table,
        note,
        range(1, len(models) + 1),
        shade,
    )


def _rate(win: float | None, interval: object) -> str:
    if win is None:
        return ""
    found = ends(interval)
    return percent(win) + (f"\n{100 * found[0]:.1f} to {100 * found[1]:.1f}" if found else "")


def _share(value: object) -> str:
    found = mapping(value)
    return _rate(number(found.get("mean")), found.get("interval"))


def _said(samples: Sequence[Json]) -> Iterator[Part]:
    exchanges = [
        Exchange(
            shortened(str(one.get("prompt", ""))),
            [Reply(model, shortened(str(text))) for model, text in mapping(one.get("answers")).items()],
        )
        for one in samples
    ]
    if exchanges:
        yield Conversations("What the models said", exchanges)


def _won(found: Json) -> Iterator[Part]:
    """Of accord winrate."""
    names = (
        "category",
        "model",
        "baseline",
        "win_rate",
        "interval",
        "length_controlled_win_rate",
        "length_controlled_interval",
        "wins",
        "ties",
        "losses",
        "n",
        "failed",
    )
    table = [{name: row.get(name) for name in names if name in row} for row in rows(found["win_rates"])]
    shares = ("win_rate", "interval", "length_controlled_win_rate", "length_controlled_interval")
    shown = [{key: _in_percent(value) if key in shares else value for key, value in row.items()} for row in table]
    yield from parts_of(shown, "win rates against the baseline, in percent")
    yield from parts_of(found["pairs"], "models against each other")
    yield from _background(found)


def _in_percent(value: object) -> object:
    if (plain := number(value)) is not None:
        return f"{100 * plain:.1f}"
    found = ends(value)
    return f"{100 * found[0]:.1f} to {100 * found[1]:.1f}" if found else None


def _safe(found: Json) -> Iterator[Part]:
    """Of accord safety: a row a model, each figure with its distance to the base."""
    heads, table, shade = rows(found["columns"]), [], []
    for row in rows(found["models"]):
        cells = [mapping(row.get(str(head.get("name")))) for head in heads]
        table.append(
            [
                str(row.get("model")),
                *(_property(one, bool(head.get("share"))) for one, head in zip(cells, heads, strict=True)),
            ]
        )
        shade.append([None, *(VERDICTS.get(str(mapping(one.get("against")).get("verdict"))) for one in cells)])
    columns = [
        f"{head.get('title')}" + (f" ({head['better']} is better)" if head.get("better") else "") for head in heads
    ]
    verdicts = "Blue: surely better than it, orange: surely worse (Holm's rule over a row)"
    note = f"Third line: the difference to {found['against']}. {verdicts}."
    yield Grid("what the answers are", ["model", *columns], table, note, range(1, len(columns) + 1), shade)
    yield from _background(found)


VERDICTS = {"better": 0.6, "worse": -0.6}


def _property(found: Json, share: bool) -> str:
    mean, interval, less = (
        number(found.get("mean")),
        ends(found.get("interval")),
        number(mapping(found.get("against")).get("value")),
    )
    if mean is None:
        return ""
    times, digits = (100, 1) if share else (1, 3)
    lines = [f"{times * mean:.{digits}f}" + (" %" if share else "")]
    lines += [f"{times * interval[0]:.{digits}f} to {times * interval[1]:.{digits}f}"] if interval else []
    lines += [f"{times * less:+.{digits}f}"] if less is not None else []
    return "\n".join(lines)


def _frontier(found: Json) -> Iterator[Part]:
    """Of accord frontier."""
    yield from frontier_parts(found)
    yield from _background(found)


KINDS = (
    Kind(
        frozenset({"models", "win_rates", "answers", "early_warnings", "samples"}),
        "Models compared",
        "The same prompts answered by each model (accord compare).",
        _compared,
    ),
    Kind(
        frozenset({"win_rates", "pairs"}),
        "Win rates",
        "How often each model is preferred to a baseline (accord winrate).",
        _won,
    ),
    Kind(
        frozenset({"against", "columns", "models"}),
        "Safety",
        "What people or classifiers say of the answers (accord safety).",
        _safe,
    ),
    Kind(
        FRONTIER,
        "Reward against distance",
        "What reward each method buys, and how far from the model it went for it (accord frontier).",
        _frontier,
    ),
)
