"""`accord demo`: every stage in a small written world, offline, and what it changed.

The world knows the sentiment of every text, so that each claim about the trained models is measured against the truth.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from accord.demo import table, world
from accord.demo.answers import answer_logprobs, answers
from accord.demo.figures import Answers, Outcome, compared, examples, judged, recorded
from accord.errors import StorageError
from accord.stages.commands import dpo, init, pretrain, sft
from accord.stages.config import DemoConfig
from accord.stages.outcome import Result
from accord.stages.resolve import dump
from accord.stages.setup import say
from accord.training.run import RunFolder

OWN = ("data", "new", "base", "tuned", "aligned", "summary.json")  # what a run of the demo makes, and a rerun replaces


class Sizes(NamedTuple):
    """How much of everything. As it stands: less than two minutes on one core, of which pre-training takes half."""

    texts: int = 8000
    demonstrations: int = 2000  # questions, as the next two: each has its own
    ranked: int = 1000
    held_out: int = 200
    answers_each: int = 4
    longest: int = 96  # tokens of a sampled answer
    context: int = 256
    vocab_size: int = 1024
    hidden_size: int = 128
    layers: int = 2
    pretrain_steps: int = 800
    sft_epochs: float = 2.0
    dpo_epochs: float = 2.0
    examples: int = 3


FULL = Sizes()


class Questions(NamedTuple):
    """The world's questions, dealt out: nothing is asked twice."""

    demonstrated: list[world.Prompt]
    ranked: list[world.Prompt]
    held_out: list[world.Prompt]


class Chapters:
    """Says before each part of the demo what happens and why, and takes its time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seconds: dict[str, float] = {}
        self.console = Console(stderr=True)

    def open(self, folder: Path) -> None:
        """What is to come."""
        self.console.print(
            "[bold]From random weights to an aligned model[/bold], in a written world so small that the truth about "
            f"every text is known. It takes about two minutes; everything goes to {folder}.",
            highlight=False,
        )

    @contextmanager
    def chapter(self, name: str, text: str) -> Iterator[None]:
        """One part of the demo."""
        place = f"{len(self.seconds) + 1}/{self.count}"
        self.console.print(f"\n[bold]{place} {name}[/bold]: {text}", highlight=False)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def run(config: DemoConfig, given: Mapping[str, object], sizes: Sizes = FULL) -> Outcome:
    """Carries it all out, prints the table and writes summary.json; an earlier demo's output is replaced."""
    with RunFolder(config.demo.output_dir) as folder:
        if folder.claim("demo", resume=True):
            remove(folder.path)
        folder.write_text("run.yaml", dump(config))
        outcome = Demo(config, sizes, folder.path).run()
        folder.write_json("summary.json", {"sizes": sizes._asdict(), **outcome.to_json()})
    table.show(outcome, folder.path, Console())
    return outcome


def remove(folder: Path) -> None:
    """Removes what an earlier demo made in a folder, and nothing else."""
    for path in (folder / name for name in OWN):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot be removed ({error.strerror})", where=str(path), fix="remove it by hand"
            ) from error


class Demo:
    """One run of the demo, in its folder."""

    def __init__(self, config: DemoConfig, sizes: Sizes, folder: Path) -> None:
        self.seed, self.sizes, self.folder = config.demo.seed, sizes, folder
        self.chapters = Chapters(7)
        # So small a model needs no second thread, which waits for the first at every operation: with other work on two
        # cores, 60 steps of pre-training took 3 to 4 s with one thread and 10 to 29 s with two.
        self.always = {"seed": self.seed, "threads": config.demo.threads, "max_length": sizes.context}

    def run(self) -> Outcome:
        """The stages in order, then what they changed."""
        self.chapters.open(self.folder)
        questions = self.deal()
        self.write_texts(questions)
        self.initialise()
        self.pretrained()
        tuned = self.tuned()
        ceiling = self.collect(tuned, questions)
        aligned = self.aligned()
        return self.measure(tuned, aligned, questions.held_out, ceiling)

    def deal(self) -> Questions:
        """The questions for each purpose."""
        sizes, every = self.sizes, iter(world.prompts(self.seed))
        counts = (sizes.demonstrations, sizes.ranked, sizes.held_out)
        return Questions(*(list(islice(every, count)) for count in counts))

    def write_texts(self, questions: Questions) -> None:
        """data/texts.jsonl and data/demonstrations.jsonl."""
        sizes = self.sizes
        with self.chapters.chapter(
            "world",
            f"Writing {sizes.texts:,} short reviews of films, books, restaurants, hotels and albums, and "
            f"{sizes.demonstrations:,} questions with good answers. A grammar makes them, so how much a text likes its "
            "subject (its sentiment, from -1 to 1) is known exactly.",
        ):
            self.write("texts", [{"text": text} for text in world.documents(sizes.texts, self.seed)])
            self.write("demonstrations", world.demonstrations(questions.demonstrated, self.seed))

    def initialise(self) -> None:
        """new/"""
        sizes = self.sizes
        with self.chapters.chapter("init", "Making a new language model. Its weights are random: it knows nothing."):
            init(
                data=self.data("demonstrations"),
                output_dir=self.folder / "new",
                vocab_size=sizes.vocab_size,
                hidden_size=sizes.hidden_size,
                layers=sizes.layers,
                context=sizes.context,
                seed=self.seed,
            )

    def pretrained(self) -> None:
        """base/"""
        with self.chapters.chapter("pretrain", "The model reads the reviews and learns to guess each next word."):
            pretrain(
                model=self.folder / "new",
                data=self.data("texts"),
                output_dir=self.folder / "base",
                validation=0.02,
                batch_size=4,
                max_steps=self.sizes.pretrain_steps,
                learning_rate=1e-2,
                adam_beta2=0.95,
                weight_decay=0.1,
                logging_steps=max(1, self.sizes.pretrain_steps // 4),
                **self.always,
            )

    def tuned(self) -> Result:
        """tuned/, the model before."""
        with self.chapters.chapter("sft", "It learns from the good answers to answer a question, then to stop."):
            result: Result = sft(
                model=self.folder / "base",
                data=self.data("demonstrations"),
                output_dir=self.folder / "tuned",
                validation=0.05,
                learning_rate=3e-3,
                num_train_epochs=self.sizes.sft_epochs,
                logging_steps=50,
                **self.always,
            )
        return result

    def collect(self, tuned: Result, questions: Questions) -> float:
        """data/comparisons.jsonl and data/held_out.jsonl; the accuracy on the latter that nobody can expect to beat."""
        sizes = self.sizes
        with self.chapters.chapter(
            "compare",
            f"The model answers {sizes.ranked + sizes.held_out:,} new questions, {sizes.answers_each} times each. "
            "Simulated annotators, who like friendly reviews, rank the answers to a question. They err, as people do.",
        ):
            self.write("comparisons", self.rankings(tuned, questions.ranked, "ranked"))
            held_out = self.rankings(tuned, questions.held_out, "held out")
            self.write("held_out", held_out)
        return world.best_accuracy(held_out)

    def rankings(self, tuned: Result, asked: list[world.Prompt], purpose: str) -> list[dict[str, Any]]:
        """Rows of comparisons. An answer that was cut, or is empty, is not shown to the annotators."""
        answered = self.answers(tuned, asked, purpose)
        shown = [[answer.text for answer in given if answer.ended and answer.text.strip()] for given in answered]
        rows = world.comparisons(asked, shown, seed=f"{self.seed} {purpose}")
        made, left_out = sum(map(len, answered)), sum(map(len, answered)) - sum(map(len, shown))
        say(f"{purpose}: {made:,} answers, {left_out} left out (cut or empty); {len(rows):,} rankings")
        return rows

    def aligned(self) -> Result:
        """aligned/, the model after."""
        with self.chapters.chapter(
            "dpo",
            "The model learns from the rankings: of each two answers to a question, to make the one ranked higher more "
            "probable, without going far from what it was.",
        ):
            result: Result = dpo(
                model=self.folder / "tuned",
                data=self.data("comparisons"),
                eval_data=self.data("held_out"),
                output_dir=self.folder / "aligned",
                beta=0.3,
                learning_rate=1e-3,
                num_train_epochs=self.sizes.dpo_epochs,
                logging_steps=20,
                **self.always,
            )
        return result

    def measure(self, tuned: Result, aligned: Result, asked: list[world.Prompt], ceiling: float) -> Outcome:
        """Fresh answers of both models to questions that nothing was trained on."""
        with self.chapters.chapter(
            "measure", "Both models, before and after the rankings, answer questions that neither was trained on."
        ):
            before, after = self.answers(tuned, asked, "before"), self.answers(aligned, asked, "after")
            flat = [answer for given in after for answer in given]
            policy, reference = answer_logprobs(aligned.model, flat), answer_logprobs(tuned.model, flat)
            accuracy = aligned.summary["held_out"]["rewards/accuracies"]
            counts = {"held_out_questions": len(asked), "answers_each": self.sizes.answers_each}
        return Outcome(
            judged(before, recorded(accuracy["before"])),
            judged(after, recorded(accuracy["after"])),
            compared(before, after, policy, reference),
            ceiling,
            examples(asked, before, after, self.sizes.examples),
            counts,
            self.chapters.seconds,
        )

    def answers(self, result: Result, asked: list[world.Prompt], purpose: str) -> Answers:
        """Each purpose has draws of its own."""
        sizes = self.sizes
        return answers(
            result.model,
            result.tokenizer,
            asked,
            each=sizes.answers_each,
            longest=sizes.longest,
            seed=f"{self.seed} {purpose}",
        )

    def data(self, name: str) -> Path:
        return self.folder / "data" / f"{name}.jsonl"

    def write(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """A file of data."""
        path = self.data(name)
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        except OSError as error:
            fix = "free some space, or take another --output_dir"
            raise StorageError(f"cannot be written ({error.strerror})", where=str(path), fix=fix) from error
