"""Which runs there are, how each ended, and what they warned of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from accord.evaluate.report.families import kind, told
from accord.evaluate.report.page import Fact, Folded, Grid, Notice, Part, Section
from accord.evaluate.report.ran import Ran
from accord.evaluate.report.run_samples import shortened
from accord.evaluate.report.values import mapping, number, rows, seconds, shown, words

STATES = {
    "finished": "finished",
    "running": "running now",
    "waiting": "waiting for people",
    "stopped": "stopped before its end",
    "failed": "failed",
    "killed": "ended without a word (killed)",
    "damaged": "damaged",
}
HEADLINES = (
    "rewards/accuracies",
    "accuracy",
    "all_right",
    "bits_per_token",
    "loss",
)  # of held-out data, the first there is
LONGEST = 600  # characters of a warning
WARNINGS = 12  # shown without being opened


def section(runs: Sequence[Ran]) -> Section:
    """A row a run, then what a reader has to know of them."""
    table = Grid(
        "The runs of this page",
        ["run", "what it did", "state", "steps", "most telling figure", "begun"],
        [[f"{ran.name}\naccord {ran.command}", told(ran), *_state(ran), headline(ran), _begun(ran)] for ran in runs],
        numeric=(3,),
    )
    said = [
        *(notice for ran in runs for notice in _unfinished(ran)),
        *(notice for ran in runs for notice in _warned(ran)),
    ]
    shown_, folded = said[:WARNINGS], said[WARNINGS:]
    more: list[Part] = [Folded(f"{len(folded)} more warnings", folded)] if folded else []
    return Section("runs", "The runs", "", [table, *shown_, *more])


def facts(runs: Sequence[Ran]) -> list[Fact]:
    """For the head of the page."""
    done = sum(ran.is_finished for ran in runs)
    spent = [one for ran in runs if (one := number(ran.summary.get("seconds"))) is not None]
    found = [Fact("runs", str(len(runs)), "all finished" if done == len(runs) else f"{done} finished")]
    if spent:
        found.append(Fact("training time", seconds(sum(spent)), "of the runs that got to their end, together"))
    warned = sum(len(words(ran.summary.get("warnings"))) for ran in runs)
    found.append(Fact("warnings", str(warned), "given while training"))
    if len(runs) == 1 and (told_ := headline(runs[0])):
        value, *note = told_.split("\n")
        found.append(Fact("most telling figure", value, " ".join(note)))
    return found


def headline(ran: Ran) -> str:
    """The held-out figure that says most, or what the samples' score became."""
    held = mapping(ran.summary.get("held_out"))
    for name in HEADLINES if kind(ran.command) != "sft" else HEADLINES[3:]:
        both = mapping(held.get(name))
        if (after := number(mapping(both.get("after")).get("mean"))) is not None:
            before = number(mapping(both.get("before")).get("mean"))
            was = f"before {shown(name, before)}" if before is not None else ""
            return "\n".join(filter(None, (f"{shown(name, after)} {NAMES.get(name, name)}", "of held-out data", was)))
    score = mapping(mapping(ran.summary.get("samples")).get("objective/scores"))
    first, last = number(score.get("first")), number(score.get("last"))
    if first is not None and last is not None:
        return f"{shown('', last)} score of its samples\nat first {shown('', first)}"
    return ""


NAMES = {
    "rewards/accuracies": "of pairs in order",
    "accuracy": "accuracy",
    "all_right": "all labels right",
    "bits_per_token": "bits a token",
    "loss": "loss",
}


def _state(ran: Ran) -> tuple[str, str]:
    row, ended = ran.row, ran.summary.get("ended")
    state = STATES.get(str(row["state"]), str(row["state"]))
    early = f"\n{ended}" if isinstance(ended, str) else ""
    return state + early, f"{row['step']:,} of {row['total'] or '?'}"


def _begun(ran: Ran) -> str:
    started = number(ran.row["started"])
    return "" if started is None else f"{datetime.fromtimestamp(started):%Y-%m-%d %H:%M}"


def _unfinished(ran: Ran) -> Iterator[Notice]:
    state = str(ran.row["state"])
    if state in ("finished", "running"):
        if state == "running":
            yield Notice(f"{ran.name} is still running: what is shown of it is what it has written so far.", "note")
        return
    why = f": {shortened(str(ran.row['why']), LONGEST)}" if ran.row["why"] else ""
    again = f" To go on with it: {ran.row['resume']}" if ran.row["resume"] else ""
    note = f" ({ran.row['note']})" if ran.row["note"] else ""
    text = f"{ran.name}: {STATES.get(state, state)}{why}{note}.{again}"
    yield Notice(text.replace("..", "."), "failure" if state in ("failed", "damaged") else "warning")


def _warned(ran: Ran) -> Iterator[Notice]:
    for warning in words(ran.summary.get("warnings")):
        yield Notice(f"{ran.name}: {shortened(warning, LONGEST)}")
    for change in rows(ran.about.get("changes")):
        changed = f"{change.get('key')} from {change.get('was')} to {change.get('is')}"
        yield Notice(f"{ran.name}: {changed} was changed after step {change.get('step')}.", "note")
    best = mapping(ran.summary.get("best"))
    if number(best.get("step")):
        what = "which is the model that is saved" if best.get("saved") else "but the last step is what is saved"
        yield Notice(f"{ran.name}: step {best['step']} was best by held-out {best.get('metric')}, {what}.", "note")
