"""Every loss on the same real comparisons from the same fine-tuned model: what each does to it, in one table.

    python bench/losses.py --data ../shared/data/hh_harmless.jsonl.gz [--device cuda] [--only simpo kto]

A small model is pre-trained on the texts, fine-tuned on the chosen answers, and then trained with every loss of the
tables at the loss's own defaults, all with one learning rate and one pass. All figures are measured the same way,
whatever the loss reports of itself. Prompts held out are the same everywhere. Results: .bench/losses/ and
docs/benchmarks.md. Seconds are the processor's, of the whole command: data, start-up, training, two evaluations.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report import put

import accord
from accord.data.dialogue import Dialogue, TokenCompletion, TokenGroup
from accord.data.length import fit_groups
from accord.data.order import split
from accord.data.read import read_groups
from accord.data.report import DataReport
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.models.load import load_network, load_tokenizer
from accord.models.logprobs import LanguageModel
from accord.models.reference import reference_logprobs
from accord.models.sample import sample
from accord.records import Group, Message
from accord.stages.loss_names import NAMES

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 256  # tokens of prompt and completion together; of longer ones the prompt's start is cut
ANSWER = 64  # tokens of a sampled answer
HELD = 0.25


class Bench:
    """The model that every loss starts from, and the held-out data all are measured on."""

    def __init__(self, data: Path, place: Path, device: str | None, threads: int | None) -> None:
        self.data, self.place, self.tuned = data, place, place / "sft"
        # Answers of hh-rlhf that are empty are dropped and counted.
        fitting = {"max_length": LONGEST, "on_long": "truncate_prompt", "on_bad_row": "drop", "device": device}
        self.train = {**fitting, "threads": threads, "report_to": "none", "samples": 0, "validation": HELD}

    def begin(self) -> None:
        """Makes the starting model, unless it is there."""
        new, base = self.place / "new", self.place / "base"
        if (self.tuned / "summary.json").exists():
            return
        shape = {"vocab_size": 4096, "hidden_size": 192, "layers": 3, "heads": 4, "context": 512}
        accord.init(data=self.data, output_dir=new, on_bad_row="drop", **shape)
        rest = {key: value for key, value in self.train.items() if key != "on_long"}
        texts = {**rest, "data": self.data, "num_train_epochs": 6.0, "batch_size": 8}
        accord.pretrain(model=new, output_dir=base, learning_rate=2e-3, **texts)
        shown = {**self.train, "data": self.data, "num_train_epochs": 1.0, "batch_size": 16}
        accord.sft(model=base, output_dir=self.tuned, learning_rate=1e-4, **shown)
        # The reference is computed once, here: what a loss takes is the same then whichever comes first.
        shutil.rmtree(self.place / "first", ignore_errors=True)
        accord.dpo(model=self.tuned, data=self.data, output_dir=self.place / "first", max_steps=1, **self.train)

    def look(self) -> None:
        """Reads the held-out comparisons and what the starting model gives them."""
        self.tokenizer = load_tokenizer(str(self.tuned))
        self.end = int(self.tokenizer.eos_token_id)
        self.held = self._held()
        self.before = self.sums(self.network(self.tuned), self.held)
        self.prompts = [group.prompt for group in self.held if len(group.prompt) + ANSWER <= LONGEST]

    def network(self, directory: Path) -> Any:
        return load_network(str(directory), device=self.train["device"] or "cpu")

    def sums(self, network: Any, groups: Sequence[TokenGroup]) -> np.ndarray:
        return reference_logprobs(LanguageModel(network), groups, max_tokens=8192).sum.numpy()

    def _held(self) -> list[TokenGroup]:
        """The comparisons that `validation` holds out, within the longest length, as the stages have them."""
        groups = list(read_groups(str(self.data), on_bad_row="drop", report=DataReport()))
        dialogue = Dialogue(self.tokenizer)
        made = dialogue.many(split(groups, HELD)[1])
        return fit_groups(made, dialogue, max_length=LONGEST, on_long="truncate_prompt", max_dropped=1.0)

    def judged(self, name: str) -> dict[str, Any]:
        """Trains with one loss; the row of the table."""
        began = time.process_time()
        folder = self.place / f"{name}-{time.time_ns()}"
        result = accord.dpo(
            model=self.tuned, data=self.data, output_dir=folder, loss_type=name, learning_rate=5e-5, batch_size=16,
            **self.train,
        )  # fmt: skip
        seconds = time.process_time() - began
        network = result.model.to(self.train["device"] or "cpu")
        shutil.rmtree(folder)
        return {"loss": name, **self.figures(network), "seconds": seconds}

    def figures(self, network: Any) -> dict[str, Any]:
        """Of one model: comparisons guessed by the log-ratio, its gap, the KL of its answers, their length."""
        ratio = (self.sums(network, self.held) - self.before).reshape(-1, 2)
        gap = ratio[:, 0] - ratio[:, 1]
        made = sample(LanguageModel(network), self.prompts, max_new_tokens=ANSWER, ends={self.end}, seed=1)
        drawn = [one.ids for (one,) in made]
        said = [
            TokenGroup(Group(str(i), (Message("user", "."),), ()), prompt, (TokenCompletion(ids, ((0, len(ids)),)),))
            for i, (prompt, ids) in enumerate(zip(self.prompts, drawn, strict=True))
        ]
        kl = self.sums(network, said) - self.sums(self.network(self.tuned), said)
        return {
            "accuracy": proportion_interval((gap > 0) + 0.5 * (gap == 0)),
            "margin": mean_interval(gap),
            "chosen": mean_interval(ratio[:, 0]),
            "kl": mean_interval(kl),
            "length": mean_interval([len(ids) for ids in drawn]),
        }


def cell(estimate: Estimate, digits: int, factor: float = 1.0) -> str:
    low, high = (factor * end for end in estimate.interval)
    return f"{factor * estimate.mean:z.{digits}f} ({low:z.{digits}f} to {high:z.{digits}f})"


def table(rows: Sequence[dict[str, Any]]) -> str:
    names = ["loss", "held-out accuracy, %", "margin, nats", "log-ratio of the chosen", "KL, nats an answer"]
    head = [*names, "answer, tokens", "CPU seconds"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        figures = [cell(row["accuracy"], 1, 100), cell(row["margin"], 2), cell(row["chosen"], 2), cell(row["kl"], 2)]
        lines.append(" | ".join([f"| {row['loss']}", *figures, cell(row["length"], 0), f"{row['seconds']:.1f} |"]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", nargs="+", default=list(NAMES))
    parser.add_argument("--place", type=Path, default=ROOT / ".bench" / "losses")
    asked = parser.parse_args()
    with gzip.open(asked.data) as file:
        print(f"{sum(1 for _ in file)} comparisons", flush=True)
    bench = Bench(asked.data, asked.place, asked.device, asked.threads)
    bench.begin()
    bench.look()
    rows = [{"loss": "(sft)", **bench.figures(bench.network(bench.tuned)), "seconds": 0.0}]
    for name in asked.only:
        rows.append(bench.judged(name))
        (asked.place / "losses.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    text = f"{len(bench.held)} held-out comparisons, answers to {len(bench.prompts)} prompts.\n\n{table(rows)}"
    print(text)
    if set(asked.only) == set(NAMES):
        put(ROOT / "docs" / "benchmarks.md", text, "losses")


if __name__ == "__main__":
    main()
