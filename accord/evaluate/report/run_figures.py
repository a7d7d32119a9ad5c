"""What was measured of the models at the end of training: held-out data, and the samples that were learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from accord.evaluate.report.families import Family
from accord.evaluate.report.page import Grid, Part, Section
from accord.evaluate.report.values import Json, mapping, number, shown, with_interval
from accord.training.curves import PANELS

INTRO = (
    "What the models do on data that nothing was learned from, which says how good they are; below it, where a model "
    "was trained on answers of its own, what became of these."
)
HELD = "Smaller figures: 95 % intervals over prompts, and what the figure was before training."
TITLES = {panel.metric: panel.title for panel in PANELS} | {
    "rewards/chosen": "reward of chosen answers",
    "rewards/rejected": "reward of rejected answers",
    "rewards/mean": "mean score",
    "logps/chosen": "log-probability of chosen answers (nats)",
    "logps/rejected": "log-probability of rejected answers (nats)",
    "mean_token_accuracy": "tokens guessed right",
    "length_gap": "length: chosen - rejected (tokens)",
    "bits_per_token/chosen": "bits per token of chosen answers",
    "objective/rlhf_reward": "score less the KL's price",
    "accuracy": "texts labelled right",
}


def section(families: Sequence[Family]) -> Section | None:
    """None where nothing was held out, and nothing sampled."""
    parts = [part for family in families for part in _parts(family)]
    return Section("held-out", "Held-out figures", INTRO, parts) if parts else None


def _parts(family: Family) -> Iterator[Part]:
    if held := {ran.name: told for ran in family.runs if (told := mapping(ran.summary.get("held_out")))}:
        title = f"{family.title}: held-out data"
        yield _alone(title, *held.items()) if len(held) == 1 else _grid(title, held, _held_cell, HELD)
    if sampled := {ran.name: told for ran in family.runs if (told := mapping(ran.summary.get("samples")))}:
        note = "Means over the samples of the first and of the last line of the log."
        yield _grid(f"{family.title}: samples that were learned from", sampled, _sample_cell, note)


def _alone(title: str, of: tuple[str, Json]) -> Grid:
    """Of one run: there is room for a column each."""
    name, figures = of
    rows = [[_named(figure), *_spread(figure, mapping(both))] for figure, both in figures.items()]
    return Grid(title, ["figure", name, "95 % interval", "before training"], rows, "", (1, 2, 3))


def _spread(name: str, both: Json) -> tuple[str, str, str]:
    value, _, interval = with_interval(name, both.get("after")).partition("\n")
    before = number(mapping(both.get("before")).get("mean"))
    return value, interval, "" if before is None else shown(name, before)


def _grid(title: str, figures: Mapping[str, Json], cell: Callable[[str, Json], str], note: str) -> Grid:
    names = dict.fromkeys(name for told in figures.values() for name in told)
    rows = [[_named(name), *(cell(name, mapping(told.get(name))) for told in figures.values())] for name in names]
    return Grid(title, ["figure", *figures], rows, note, range(1, len(figures) + 1))


def _named(name: str) -> str:
    return f"{TITLES[name]}\n{name}" if name in TITLES and TITLES[name] != name else name


def _held_cell(name: str, both: Json) -> str:
    before = number(mapping(both.get("before")).get("mean"))
    was = f"before {shown(name, before)}" if before is not None else ""
    return "\n".join(filter(None, (with_interval(name, both.get("after")), was)))


def _sample_cell(name: str, both: Json) -> str:
    first, last = number(both.get("first")), number(both.get("last"))
    was = f"at first {shown(name, first)}" if first is not None else ""
    return "\n".join(filter(None, (shown(name, last) if last is not None else "", was)))
