"""From measurements to the table in the terminal and the block in docs/benchmarks.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cases import LOSS_GAP, WARM_UP, Case, Measure
from quiet import BUSY
from samples import NEW_TOKENS

UNITS: dict[Measure, str] = {
    "step": "step, s",
    "reference": "reference pass, s",
    "memory": "peak memory, GB",
    "tokens": "tokens through the model",
}
Run = dict[str, Any]  # what ours.py or peer.py wrote


class Row(NamedTuple):
    """One figure of one case, ours beside theirs."""

    case: str
    measure: str
    ours: float
    theirs: float
    asked: str
    verdict: str

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours

    def cells(self) -> list[str]:
        whole = self.ours > 1000
        numbers = *(f"{one:,.0f}" if whole else f"{one:.3f}" for one in (self.ours, self.theirs)), f"{self.ratio:.1f}"
        return [self.case, self.measure, *numbers, self.asked, self.verdict]


HEAD = ["case", "figure", "Accord", "TRL", "TRL / Accord", "asked for", "verdict"]


def figure(runs: list[Run], measure: Measure) -> float | None:
    """Of all rounds: the median step after the warm-up, the median reference pass, the highest peak."""
    if measure == "step":
        return float(statistics.median(second for run in runs for second in run["steps"][WARM_UP:]))
    if measure == "memory":
        return float(max(run["memory"] for run in runs)) / 1e9
    found = [run[measure] for run in runs if run.get(measure) is not None]
    return float(statistics.median(found)) if found else None


def rows(case: Case, ours: list[Run], theirs: list[Run]) -> Iterator[Row]:
    noisy = max(run["others"] for run in ours + theirs)
    for measure, unit in UNITS.items():
        own, other = figure(ours, measure), figure(theirs, measure)
        if own is None or other is None or (measure == "tokens" and measure not in case.asked):
            continue
        asked = case.asked.get(measure)
        said = "" if asked is None else f"{asked.least:g}" + (f" (aim {asked.aim:g})" if asked.aim else "")
        verdict = "" if asked is None else "reached" if other / own >= asked.least else "missed"
        if noisy > BUSY and measure in ("step", "reference"):
            verdict = f"{verdict} (noisy: others used {noisy:.0%} of the machine)".strip()
        yield Row(case.name, unit, own, other, said, verdict)


def loss_gap(ours: list[Run], theirs: list[Run]) -> float:
    """The largest difference of any step's loss, in nats."""
    pairs = zip(ours, theirs, strict=True)
    return max(float(abs(a - b)) for one, other in pairs for a, b in zip(one["losses"], other["losses"], strict=True))


def check_line(case: Case, ours: list[Run], theirs: list[Run]) -> str:
    """Whether both sides did the same: of samples their lengths, else the losses; of these in bf16 nothing is asked."""
    if case.stage == "grpo":
        lengths = {length for run in ours + theirs for length in run["lengths"]}
        said = f"{case.name}: the samples have {', '.join(f'{length:g}' for length in sorted(lengths))} tokens"
        return f"{said}, asked for {NEW_TOKENS}: {'reached' if lengths == {NEW_TOKENS} else 'MISSED'}"
    gap = loss_gap(ours, theirs)
    said = f"{case.name}: the losses of a step differ by at most {gap:.1e}"
    if case.dtype != "float32":
        return said
    return f"{said}, asked for {LOSS_GAP:g}: {'reached' if gap < LOSS_GAP else 'MISSED'}"


def memory_line(name: str, run: Run) -> str:
    """Where the peak comes from: resident now / highest so far, in MB, at the marks of a run."""
    shown = {"start", "imports", "model loaded", "start-up comparison", "reference pass", "step 1", "step 2", "end"}
    marks = [mark for mark in run["marks"] if mark["at"] in shown]
    return f"{name}: " + ", ".join(f"{m['at']} {m['now'] / 1e6:.0f}/{m['peak'] / 1e6:.0f}" for m in marks)


def markdown(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def layout_table(grid: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Seconds and peak memory of each layout, and how far the choice is from the best."""
    layouts = ("tree", "cache", "rows")
    head = ["prompt", "K", "completion", "groups", *(f"{name}, s" for name in layouts)]
    head += [*(f"{name}, MB" for name in layouts), "chosen", "over the best"]
    body = []
    for row in grid["rows"]:
        shape = [str(row[name]) for name in ("prompt", "count", "completion", "groups")]
        times = [f"{row[name]['seconds']:.3f}" for name in layouts]
        sizes = [f"{row[name]['memory'] / 1e6:.0f}" for name in layouts]
        body.append([*shape, *times, *sizes, row["chosen"], f"{row['over_best'] - 1:.0%}"])
    return head, body


def layout_lines(grid: dict[str, Any]) -> list[str]:
    """What the table says in short, and what is not in it."""
    worst = max(grid["rows"], key=lambda row: float(row["over_best"]))
    where = f"prompt {worst['prompt']}, K {worst['count']}, completion {worst['completion']}"
    best = f"The choice takes at most {worst['over_best'] - 1:.0%} more than the best of the three ({where})."
    left = [f"Left out, as rows of one group would be too many tokens: {shape}." for shape in grid["left_out"]]
    return [best, *left]


DATA_ASKED = {  # figure -> (limit, whether more is better, unit)
    "reading": (20.0, True, "MB/s"),
    "memory": (1.2, False, "times that of a tenth of the groups"),
    "check": (60.0, False, "s"),
    "second start": (5.0, False, "s"),
}


def data_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, each figure beside what is asked for."""
    large, tenth = found["read"]["large"], found["read"]["tenth"]
    groups = f"{found['groups']:,} groups"
    size = f"{large['size'] / 1e6:,.0f} MB"
    figures = {
        "reading": (f"reading {groups}, {size}", large["size"] / 1e6 / large["seconds"]),
        "memory": (
            f"memory of that, {large['memory'] / 1e6:.0f} MB for {groups}, {tenth['memory'] / 1e6:.0f} MB for a tenth",
            large["memory"] / tenth["memory"],
        ),
        "check": (f"accord check of {found['check']['groups']:,} groups with a tokenizer", found["check"]["seconds"]),
        "second start": (
            f"second accord sft on {groups}: from the start of the process to its data "
            f"(first: {found['first']['data']:.1f} s; step 1 ends at {found['second']['step']:.1f} s)",
            found["second"]["data"],
        ),
    }
    return judged(figures, DATA_ASKED)


SAVING_ASKED = {
    "saving": (5.0, False, "% more"),
    "verification": (1.0, True, "GB/s"),
    "resumed start": (1.5, False, "times as long"),
}


def saving_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, each figure beside what is asked for."""
    figures = {
        "saving": (
            f"a step of {found['step']:.3f} s, when every {found['every']}th is saved: the steps during a save take "
            f"{found['extra']:.2f} s more in all (means of whole runs: {found['step']:.3f} and {found['means']:.3f} s)",
            100 * found["extra"] / (found["every"] * found["step"]),
        ),
        "verification": (
            f"verification of a checkpoint of {found['size'] / 1e6:,.0f} MB",
            found["size"] / 1e9 / found["verified"],
        ),
        "resumed start": (
            f"a resumed run from the start of the process to the end of its first step: {found['resumed']:.1f} s, "
            f"a fresh one {found['fresh']:.1f} s",
            found["resumed"] / found["fresh"],
        ),
    }
    return judged(figures, SAVING_ASKED)


ROLES_ASKED = {"roles on one base": (130.0, False, "% of it")}


def roles_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, each figure beside what is asked for."""
    mega = {name: found[name] / 1e6 for name in ("sft", "one_base", "own_bases")}
    what = (
        f"peak memory of accord ppo, {found['dtype']}, micro-batches of {found['max_tokens']:,} tokens, with policy, "
        f"reference, reward model and critic on one base: {mega['one_base']:,.0f} MB; accord sft with the same adapter "
        f"{mega['sft']:,.0f} MB; with a reward model and a critic that have base weights of their own, all "
        f"of the critic's trained, {mega['own_bases']:,.0f} MB"
    )
    return judged({"roles on one base": (what, 100 * found["one_base"] / found["sft"])}, ROLES_ASKED)


SAMPLING_ASKED = {"samples": (2.5, True, "times"), "drawing": (4.0, True, "times")}


def sampling_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, each figure beside what is asked for."""
    what = (
        f"{found['samples']} samples of {found['new']} tokens of each of {found['prompts']} prompts of "
        f"{found['length']} tokens, {found['dtype']}: {found['ours rate']:,.0f} tokens/s, `transformers.generate` "
        f"{found['theirs rate']:,.0f} (a second of the processor: {found['ours processor']:,.0f} and "
        f"{found['theirs processor']:,.0f})"
    )
    took, rows = found["drawing"], found["prompts"] * found["samples"]
    drawn = f"a token drawn for each of {rows} rows: {took['ours']:.0f} ms, `torch.multinomial` {took['theirs']:.0f} ms"
    figures = {"samples": (what, found["ratio"]), "drawing": (drawn, took["theirs"] / took["ours"])}
    return judged(figures, SAMPLING_ASKED)


ITERATION_ASKED = {
    "trunk": (1.3, False, "times DPO's"),
    "own": (2.0, False, "times DPO's"),
}


def iteration_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: seconds a token of PPO's steps over those of DPO's, beside what is asked for."""
    dpo, where = found["dpo"], {"trunk": "the value head on the policy's trunk", "own": "a critic of its own"}
    figures = {}
    for name, words in where.items():
        what = (
            f"learning from samples with {words}: {found[name]['step']:.3f} s a step of {found[name]['tokens']:,.0f} "
            f"tokens, accord dpo {dpo['step']:.3f} s of {dpo['tokens']:,.0f}; the cost of a token"
        )
        figures[name] = (what, found[name]["token"] / dpo["token"])
    return judged(figures, ITERATION_ASKED)


def iteration_lines(found: dict[str, Any]) -> list[str]:
    """Where the time of an iteration goes."""
    lines = []
    for name, words in {"trunk": "the value head on the trunk", "own": "a critic of its own"}.items():
        split = found[name]["split"]
        whole = sum(split.values())
        parts = ", ".join(
            f"{key.replace('_', ' ')} {value:.2f} s ({value / whole:.0%})" for key, value in split.items()
        )
        lines.append(
            f"An iteration with {words} ({found['shape']}, 4 epochs, {found['dtype']}): {whole:.2f} s: {parts}."
        )
    return lines


STRENGTHS_ASKED = {
    "fit seconds": (10.0, False, "s"),
    "fit memory": (1.0, False, "GB"),
    "command seconds": (10.0, False, "s"),
    "command memory": (1.0, False, "GB"),
}


def strengths_table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows, each figure beside what is asked for."""
    what = f"{found['comparisons']:,} comparisons of {found['models']} models"
    names = {
        "fit": f"strengths with Davidson's ties, errors by prompt and ranks of {what}",
        "command": f"`accord leaderboard` of the same, {found['size'] / 1e6:.0f} MB of JSON lines, whole process",
    }
    figures = {}
    for key, name in names.items():
        one = found[key]
        miss = f"root mean square of the error: {one['miss']:.2f} standard errors"
        figures[f"{key} seconds"] = (f"{name} ({one['processor']:.1f} s of the processor; {miss})", one["seconds"])
        figures[f"{key} memory"] = ("memory of that", one["memory"] / 1e9)
    return judged(figures, STRENGTHS_ASKED)


def judged(
    figures: dict[str, tuple[str, float]], asked: dict[str, tuple[float, bool, str]]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows. figures: name -> (what it is, its value). asked: name -> (limit, whether more is better, unit)."""
    body = []
    for name, (words_of_it, value) in figures.items():
        limit, more, unit = asked[name]
        verdict = "reached" if (value >= limit if more else value <= limit) else "missed"
        body.append([words_of_it, f"{value:.1f} {unit}", f"{'at least' if more else 'at most'} {limit:g}", verdict])
    return ["figure", "Accord", "asked for", "verdict"], body


def put(page: Path, block: str, name: str = "bench") -> None:
    """Writes `block` between the page's markers of this name."""
    text = page.read_text(encoding="utf-8")
    first, last = f"<!-- {name}: begin, written by make bench -->", f"<!-- {name}: end -->"
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"bench: {page} has no lines {first} and {last}; put them where the tables go")
    page.write_text(f"{before}{first}\n\n{block}\n\n{last}{after}", encoding="utf-8")
