"""Writes the tables and the picture of docs/rl.md anew, from what docs/rl_study.py measured: python docs/rl_page.py

--check only says whether the page is as it would be written, by its exit code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import numpy as np  # noqa: E402
import rl_study  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

PAGE, PICTURE = HERE / "rl.md", HERE / "images" / "rl_curves.png"
BEGUN = {"tuned": "the SFT model itself", "aligned": "DPO on the comparisons"}
COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "reward": ("true reward", "{:z.2f}".format),
    "proxy": ("score, gained", "{:z.2f}".format),
    "k1": ("KL, nats", "{:z.1f}".format),
    "k3": ("KL by k3", "{:z.1f}".format),
    "ended": ("ended", "{:.0%}".format),
    "grammatical": ("grammatical", "{:.0%}".format),
    "length": ("tokens", "{:.0f}".format),
}
TEXTS = {"base": "after pre-training", "tuned": "after SFT", "ppo": "after PPO", "ppo-ptx": "after PPO-ptx"}
SMOOTH = 3  # rounds


class Line(NamedTuple):
    """How a method is drawn. Colours of Okabe and Ito 2008: told apart by colour-blind people."""

    colour: str
    style: str


LINES = {
    "ppo": Line("#0072B2", "-"),
    "ppo-ptx": Line("#56B4E9", "--"),
    "reinforce": Line("#000000", ":"),
    "rloo": Line("#009E73", "-"),
    "grpo": Line("#E69F00", "--"),
    "online-dpo": Line("#D55E00", "-."),
}
PANELS = {
    "rewards/watched/liking": "true reward of the samples",
    "objective/scores": "score by the reward model, gained",
    "objective/kl": "KL to the SFT model (nats a sample)",
}


def measured(name: str) -> list[Mapping[str, Any]]:
    """Of each seed."""
    paths = [rl_study.ROOT / f"seed{seed}" / f"{name}.json" for seed in rl_study.SEEDS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def proxy(seed: int) -> float:
    """The mean score of the SFT model's answers: where a reward model's scale begins is of no meaning."""
    return number(json.loads((rl_study.ROOT / f"seed{seed}" / "tuned.json").read_text(encoding="utf-8")), "proxy")


def cell(values: Sequence[float], show: Callable[[float], str]) -> str:
    """The mean over the seeds, and the least and the largest."""
    least, mean, most = show(min(values)), show(float(np.mean(values))), show(max(values))
    return mean if least == most else f"{mean} ({least} to {most})"


def number(found: Mapping[str, Any], key: str) -> float:
    value = found[key]
    return float(value[0] if isinstance(value, list) else value)


def results() -> str:
    """The table: a row a method."""
    head = ["", *(title for title, _ in COLUMNS.values()), "seconds"]
    rows = [head, ["---"] * len(head)]
    for name in (*BEGUN, *rl_study.METHODS):
        runs = measured(name)
        less = [{"proxy": proxy(seed)} for seed in rl_study.SEEDS]
        cells = [
            cell([number(run, key) - own.get(key, 0.0) for run, own in zip(runs, less, strict=True)], show)
            for key, (_, show) in COLUMNS.items()
        ]
        least = min(number(run, "seconds") for run in runs)  # the machine had other work, too
        rows.append([BEGUN.get(name, f"`{name}`"), *cells, f"{least:.0f}" if least else ""])
    return table(rows)


def forgotten() -> str:
    """What became of the texts of pre-training."""
    rows = [["", "nats a token of fresh texts"], ["---", "---"]]
    for name, title in TEXTS.items():
        rows.append([title, cell([number(run, "texts") for run in measured(name)], "{:.3f}".format)])
    return table(rows)


def table(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def course(name: str, figure: str) -> np.ndarray:
    """(seeds, rounds) of one figure, each a mean over some rounds."""
    folders = [rl_study.ROOT / f"seed{seed}" / name for seed in rl_study.SEEDS]
    rows = [[json.loads(line) for line in (one / "metrics.jsonl").read_text().splitlines()] for one in folders]
    values = np.array([[row[figure] for row in run if figure in row] for run in rows])
    if figure == "objective/scores":
        values = values - np.array([[proxy(seed)] for seed in rl_study.SEEDS])
    return np.stack([smoothed(run) for run in values])


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean with the rounds beside it, of which there are fewer at the ends."""
    reach = SMOOTH // 2
    return np.array([values[max(0, i - reach) : i + reach + 1].mean() for i in range(len(values))])


def picture() -> None:
    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained")
    grid = figure.subplots(1, len(PANELS))
    for axes, (key, title) in zip(grid, PANELS.items(), strict=True):
        for name, line in LINES.items():
            draw(axes, course(name, key), name, line)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(f"rounds of {rl_study.SAMPLES} samples")
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(LINES), frameon=False, fontsize=11)
    figure.savefig(PICTURE)


def draw(axes: Axes, runs: np.ndarray, name: str, line: Line) -> None:
    rounds = np.arange(1, runs.shape[1] + 1)
    axes.fill_between(rounds, runs.min(0), runs.max(0), color=line.colour, alpha=0.12, linewidth=0)
    axes.plot(rounds, runs.mean(0), color=line.colour, linestyle=line.style, linewidth=1.8, label=name)


SECTIONS: dict[str, Callable[[], str]] = {"results": results, "forgotten": forgotten}


def renewed(text: str) -> str:
    """The page with its sections as they are now."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- {name}: python docs/rl_page.py -->\n", f"<!-- end of {name} -->\n"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    new = renewed(old)
    if "--check" in sys.argv:
        sys.exit(new != old)
    PAGE.write_text(new, encoding="utf-8")
    picture()
