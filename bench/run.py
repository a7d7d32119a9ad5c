"""`make bench`: Accord beside TRL on the same model, data and machine; the table goes to docs/benchmarks.md.

python bench/run.py [--only CASE ...] [--steps N] [--rounds N] [--wait SECONDS] [--profile]. Each measurement is a
process of its own, ours and theirs in turn, when the machine is quiet. This process imports nothing large: on Linux a
child's peak memory counts from its parent's.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import collect_report
import report
from cases import BATCH, BLOCKS, CASES, PROFILED, RANKED, SHAPES, WARM_UP, Case, K
from environment import machine, multiplies_bf16, peer_python
from quiet import BUSY, wait_until_quiet, watch
from rich.console import Console
from rich.table import Table
from samples import NEW_TOKENS, SAMPLES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HOME = ROOT / ".bench"
DATA = ROOT.parent / "shared" / "data" / "hh_harmless.jsonl.gz"
RANKINGS = DATA.with_name("alpacaeval_k_way.jsonl.gz")
PAGE = ROOT / "docs" / "benchmarks.md"
LAYOUTS = "layouts"  # the costs of the layouts: needs neither data nor the other side
LARGE = "data"  # reading, checking and tokenising large data: needs no other side
STRENGTHS = "strengths"  # of many models from many comparisons: needs neither data nor the other side
SAVING = "saving"  # saving, verifying and resuming: needs no other side
PPO = "ppo"  # an iteration of PPO, and its training beside DPO's: needs no other side
SAMPLING = "sampling"  # beside transformers.generate: needs neither data nor the other side
ROLES = "roles"  # the memory of four roles on one base: needs no other side
COLLECT = "collect"  # the labelling site with 200 annotators: needs neither data nor the other side
COLLECT_LARGE = "collect_large"  # and with 100,000 groups
COLLECT_PEER = "collect_peer"  # and beside Label Studio
ALONE = (LAYOUTS, LARGE, SAVING, STRENGTHS, SAMPLING, PPO, ROLES, COLLECT, COLLECT_LARGE, COLLECT_PEER)
COUNTED = 5  # steps that a figure for the page needs at least
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}

console = Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=140, soft_wrap=True)
Runs = dict[str, list[dict[str, Any]]]  # "ours", "theirs" -> one a round


TABLES = {
    LAYOUTS: report.layout_table,
    LARGE: report.data_table,
    SAVING: report.saving_table,
    STRENGTHS: report.strengths_table,
    SAMPLING: report.sampling_table,
    PPO: report.iteration_table,
    ROLES: report.roles_table,
    COLLECT: collect_report.load_table,
    COLLECT_LARGE: collect_report.large_table,
    COLLECT_PEER: collect_report.peer_table,
}


def arguments() -> argparse.Namespace:
    names = [*(case.name for case in CASES), *ALONE]
    parser = argparse.ArgumentParser(description="Measures Accord beside TRL.")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CASE", help=", ".join(names))
    parser.add_argument("--steps", type=int, default=8, help=f"steps of a process, {WARM_UP} not counted (8)")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each side, in turn (2)")
    parser.add_argument("--wait", type=float, default=300, help="seconds to wait for a quiet machine (300)")
    parser.add_argument("--profile", action="store_true", help="profile a step of ours instead of measuring")
    asked = parser.parse_args()
    if asked.steps <= WARM_UP or asked.rounds < 1:
        parser.error(f"--steps must be more than {WARM_UP}, --rounds at least 1")
    if asked.profile and asked.steps < PROFILED:
        parser.error(f"--profile looks at step {PROFILED}: --steps at least that")
    return asked


def process(name: str, command: list[object], log: Path) -> None:
    """Runs a child of bench/ to its end; its words go to a log file."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"} | OFFLINE
    environment["PYTHONPATH"] = str(ROOT)
    with log.open("w", encoding="utf-8") as words:
        ended = subprocess.run(list(map(str, command)), stdout=words, stderr=subprocess.STDOUT, env=environment)
    if ended.returncode:
        console.print("\n".join(log.read_text(encoding="utf-8").splitlines()[-15:]), markup=False, highlight=False)
        sys.exit(f"bench: {name} failed ({ended.returncode}); all it said: {log}")


def measured(case: Case, side: str, python: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """One process of one side."""
    script = HERE / ("ours.py" if side == "ours" else "peer.py")
    out, log = HOME / f"{case.name}-{side}.json", HOME / f"{case.name}-{side}.log"
    data = HOME / case.data(side, asked.steps)
    command = [python, script, case.stage, HOME / case.start, data, asked.steps, case.dtype, out]
    before = wait_until_quiet(asked.wait)
    with watch() as found:
        process(f"{case.name}, {side}", [*command, *(["--profile"] if asked.profile else [])], log)
    run: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    run["others"] = max(before, found.others)
    return run


def compare(case: Case, peer: Path, asked: argparse.Namespace) -> Runs:
    """All rounds of a case, ours and theirs in turn."""
    runs: Runs = {"ours": [], "theirs": []}
    for number in range(asked.rounds):
        for side, python in (("ours", Path(sys.executable)), ("theirs", peer)):
            runs[side].append(measured(case, side, python, asked))
            step = report.figure(runs[side][-1:], "step")
            others = runs[side][-1]["others"]
            noise = f", noisy: others used {others:.0%}" if others > BUSY else ""
            console.print(f"{case.name}, round {number + 1}, {side}: {step:.3f} s a step{noise}", highlight=False)
    return runs


def alone(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """What is measured of us alone, by a script of its own."""
    out, count = HOME / f"{name}.json", BATCH * asked.steps
    comparisons, demonstrations, prompts, stretches = (
        HOME / f"{kind}-{count}.jsonl" for kind in ("comparisons", "demonstrations", "prompts", "stretches")
    )
    rounds = ["--rounds", asked.rounds]
    commands: dict[str, list[object]] = {
        LAYOUTS: ["layouts.py"],
        LARGE: ["data.py", DATA, HOME / LARGE],
        SAVING: ["saving.py", HOME / "39m", demonstrations, HOME / SAVING, *rounds],
        STRENGTHS: ["strengths.py", HOME / STRENGTHS],
        SAMPLING: ["sampling.py", *rounds],
        PPO: ["iteration.py", HOME / "12m", HOME / "12m-reward", prompts, stretches, HOME / PPO, *rounds],
        ROLES: ["roles.py", HOME / "39m", comparisons, demonstrations, HOME / ROLES],
        COLLECT: ["collect_load.py", HOME],
        COLLECT_LARGE: ["collect_large.py", HOME],
        COLLECT_PEER: ["label_studio.py", HOME, *rounds],
    }
    script, *options = commands[name]
    before = wait_until_quiet(asked.wait)
    with watch() as found:
        process(name, [sys.executable, HERE / str(script), *options, "--out", out], HOME / f"{name}.log")
    figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return figures | {"others": max(before, found.others)}


def able(cases: list[Case]) -> list[Case]:
    """Those that this processor computes at all fast: without instructions for it bf16 is a loop over numbers."""
    return [case for case in cases if case.dtype != "bf16" or multiplies_bf16()]


def has_data() -> None:
    if not DATA.exists():
        sys.exit(f"bench: no {DATA}: the measurements are on its comparisons (anthropics/hh-rlhf, harmless-base, test)")
    if not RANKINGS.exists():
        sys.exit(f"bench: no {RANKINGS}: rankings are measured on its groups (tatsu-lab/alpaca_eval)")


def prepare(asked: argparse.Namespace) -> None:
    """The data and the models."""
    process("prepare", [sys.executable, HERE / "prepare.py", DATA, RANKINGS, HOME, asked.steps], HOME / "prepare.log")


def profiles(cases: list[Case], asked: argparse.Namespace) -> None:
    """The operations of one step of ours that take most time."""
    for case in cases:
        run = measured(case, "ours", Path(sys.executable), asked)
        console.print(f"{case.name}\n{run['operations']}", markup=False, highlight=False, soft_wrap=True)


def show(title: str, head: list[str], body: list[list[str]]) -> None:
    table = Table(*head, title=title)
    for line in body:
        table.add_row(*line)
    console.print(table)


def conditions(asked: argparse.Namespace, runs: dict[str, Runs], block: str) -> str:
    """Machine, versions and what was done, as a list."""
    some = next(iter(runs.values()))
    versions = some["theirs"][0]["versions"] | some["ours"][0]["versions"]
    counted = (asked.steps - WARM_UP) * asked.rounds
    sizes = "; ".join(
        f"{name}: hidden size {s.hidden_size}, {s.layers} layers, {s.heads} heads, {s.kv_heads} key-value heads, "
        f"{s.vocab_size:,} words"
        for name, s in SHAPES.items()
    )
    of_rewards = [
        f"Rankings: the first {RANKED * asked.steps} groups of `{RANKINGS.name}` with {K} different answers, each cut "
        f"to its first 1,000 letters; ties are broken by place: {K * (K - 1) // 2} pairs a group. The "
        f"other side gets these as pairs; a step has {RANKED} groups on both sides.",
        "Both sides begin with the same head.",
    ]
    of_samples = [
        f"A step takes {SAMPLES} samples of {NEW_TOKENS} tokens of each of {BATCH} prompts (those of the comparisons), "
        "gives each a reward by the same Python function, computes the reference's log-probabilities, and learns from "
        "them once, with rewards divided by their group's spread and a mean over tokens; all of that is timed.",
        "The random model would end one sample in 500: the other side draws no end (`min_new_tokens`), and on ours "
        "none ends a sample, so that all have the same length.",
    ]
    own = {"rewards": of_rewards, "grpo": of_samples}.get(block, [])
    lines = [
        f"Machine: {machine()}; all cores on both sides. {datetime.date.today()}.",
        f"Versions: {', '.join(f'{name} {number}' for name, number in sorted(versions.items()))}.",
        f"Models: Llama-like, random weights, tied embeddings ({sizes}).",
        f"Data: the first {BATCH * asked.steps} comparisons of `{DATA.name}` that have no flags (both sides are one "
        "assistant turn, not empty) and at most 1,024 tokens, in the file's order.",
        *own,
        *([] if multiplies_bf16() else ["Not in bf16, for which this processor has no instructions."]),
        f"A step: {BATCH} comparisons, demonstrations or prompts, AdamW, learning rate 1e-4. Seconds are medians of "
        f"{counted} steps ({asked.rounds} x {asked.steps}, the first {WARM_UP} of each process not counted), collating "
        "counted on our side and left out on theirs.",
        "Peak memory is that of the whole process (`ru_maxrss`), saving included on our side, which cannot be "
        "switched off, and not done on theirs.",
        f"Repeat: `make bench`; one case: `python bench/run.py --only {next(iter(runs))}`.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def page(asked: argparse.Namespace, runs: dict[str, Runs], cases: list[Case]) -> str:
    """A block of docs/benchmarks.md beside TRL."""
    own = {case.name: runs[case.name] for case in cases}
    checks = "\n".join(f"- {line}" for line in check_lines(runs, cases))
    return "\n\n".join(
        [conditions(asked, own, cases[0].block), report.markdown(report.HEAD, table_rows(runs, cases)), checks]
    )


def check_lines(runs: dict[str, Runs], cases: list[Case]) -> list[str]:
    return [report.check_line(case, runs[case.name]["ours"], runs[case.name]["theirs"]) for case in cases]


def table_rows(runs: dict[str, Runs], cases: list[Case]) -> list[list[str]]:
    sides = [(case, runs[case.name]["ours"], runs[case.name]["theirs"]) for case in cases]
    return [row.cells() for case, ours, theirs in sides for row in report.rows(case, ours, theirs)]


def layouts_page(grid: dict[str, Any]) -> str:
    """The block of docs/benchmarks.md on layouts."""
    noise = f" Noisy: others used {grid['others']:.0%} of the machine." if grid["others"] > BUSY else ""
    words = f"- Machine: {machine()}; torch {grid['torch']}, {grid['dtype']}. {datetime.date.today()}.{noise}\n"
    words += "".join(f"- {line}\n" for line in report.layout_lines(grid))
    return f"{words}\n{report.markdown(*report.layout_table(grid))}"


def alone_page(name: str, found: dict[str, Any]) -> str:
    """A block of docs/benchmarks.md on what is measured of us alone."""
    noise = f" Noisy: others used {found['others']:.0%} of the machine." if found["others"] > BUSY else ""
    lines = [f"Machine: {machine()}. {datetime.date.today()}.{noise}"]
    lines += report.iteration_lines(found) if name == PPO else []
    words = "".join(f"- {line}\n" for line in lines)
    return f"{words}\n{report.markdown(*TABLES[name](found))}"


def main() -> None:
    asked = arguments()
    cases = able([case for case in CASES if case.name in asked.only])
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n", encoding="utf-8")
    of_data = bool(cases) or not {SAVING, PPO, ROLES}.isdisjoint(asked.only)
    if of_data or LARGE in asked.only:
        has_data()
    if of_data:
        prepare(asked)
    if asked.profile:
        return profiles(cases, asked)
    peer = peer_python(HOME, ROOT / "requirements.lock") if cases else Path()
    runs = {case.name: compare(case, peer, asked) for case in cases}
    of_us = {name: alone(name, asked) for name in ALONE if name in asked.only}
    results = {"machine": machine(), "time": datetime.datetime.now().isoformat(), "runs": runs, **of_us}
    (HOME / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    tell(cases, runs)
    for name, found in of_us.items():
        show(name.capitalize(), *TABLES[name](found))
        report.put(PAGE, layouts_page(found) if name == LAYOUTS else alone_page(name, found), name)
    write_tables(cases, runs, asked)
    console.print(f"the page: {PAGE}")


def write_tables(cases: list[Case], runs: dict[str, Runs], asked: argparse.Namespace) -> None:
    """The tables beside TRL into the page, those of which all cases were measured often enough."""
    enough = (asked.steps - WARM_UP) * asked.rounds >= COUNTED
    for block in BLOCKS:
        every = able([case for case in CASES if case.block == block])
        if enough and all(case in cases for case in every):
            report.put(PAGE, page(asked, runs, every), block)
        elif any(case in cases for case in every):
            what = f"all of its cases with {COUNTED} counted steps or more"
            console.print(f"the table with {every[0].name} is written by a run of {what} only")


def tell(cases: list[Case], runs: dict[str, Runs]) -> None:
    """All of it in the terminal."""
    if cases:
        show("Accord beside TRL", report.HEAD, table_rows(runs, cases))
    for line in check_lines(runs, cases):
        console.print(line, highlight=False)
    for case in cases:
        for side, found in runs[case.name].items():
            console.print(report.memory_line(f"MB now/peak, {case.name}, {side}", found[0]), highlight=False)


if __name__ == "__main__":
    main()
