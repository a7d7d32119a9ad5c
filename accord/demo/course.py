"""The stages of the demo in their order, each by the command that a user would type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from accord.data.formats import FORMATS, to_rows
from accord.data.read import read_groups
from accord.data.write import row_writer
from accord.demo import annotators, truth, world
from accord.demo.answers import finished, scored
from accord.demo.axes import WORLDS
from accord.demo.chapters import Chapters
from accord.demo.frontier import Bought, bought
from accord.demo.judged import Judged, truly
from accord.demo.measured import Measured, measured
from accord.demo.sizes import SECONDS, Sizes
from accord.errors import StorageError
from accord.records import Group
from accord.stages import commands
from accord.stages.config import DemoConfig

PPO_EPOCHS = 4  # steps from one round of samples
ROUNDS = 200  # resamples for the intervals of agreement


class Questions(NamedTuple):
    """The world's questions, dealt out: nothing is asked twice."""

    demonstrated: list[world.Prompt]
    ranked: list[world.Prompt]
    held_out: list[world.Prompt]
    evaluated: list[world.Prompt]


class Demo:
    """One run of the demo, in its folder."""

    def __init__(self, config: DemoConfig, sizes: Sizes, folder: Path) -> None:
        self.seed, self.sizes, self.folder, self.world = config.demo.seed, sizes, folder, config.demo.world
        self.weights = WORLDS[config.demo.world]
        self.chapters = Chapters(SECONDS)
        # So small a model needs no second thread, which waits for the first at every operation: with other work on two
        # cores, 60 steps of pre-training took 3 to 4 s with one thread and 10 to 29 s with two.
        self.threads = {"threads": config.demo.threads}
        self.always = {"seed": self.seed, "max_length": sizes.context, **self.threads}

    def deal(self) -> Questions:
        """The questions for each purpose."""
        sizes, every = self.sizes, iter(world.prompts(self.seed))
        counts = (sizes.demonstrations, sizes.ranked, sizes.held_out, sizes.evaluated)
        return Questions(*(list(islice(every, count)) for count in counts))

    def write_texts(self, questions: Questions) -> None:
        """data/: texts, demonstrations, and the questions that models are asked."""
        sizes, style = self.sizes, self.weights.style
        with self.chapters.chapter(
            "world",
            f"Writing {sizes.texts:,} short reviews of films, books, restaurants, hotels and albums, and "
            f"{sizes.demonstrations:,} questions with good answers. A grammar makes them, so what every text is worth "
            f"({self.weights.in_words()}, from -1 to 1) is known exactly.",
        ):
            self.write("texts", [{"text": text} for text in world.documents(sizes.texts, self.seed, style)])
            self.write("demonstrations", world.demonstrations(questions.demonstrated, self.seed, style))
            asked = {"questions": questions.ranked, "held_out_questions": questions.held_out}
            for name, prompts in {**asked, "evaluation": questions.evaluated}.items():
                self.write(name, [{"prompt": prompt.turns} for prompt in prompts])

    def initialised(self) -> None:
        """new/"""
        sizes = self.sizes
        with self.chapters.chapter("init", "Making a new language model. Its weights are random: it knows nothing."):
            commands.init(
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
            commands.pretrain(
                model=self.folder / "new",
                data=self.data("texts"),
                output_dir=self.folder / "base",
                validation=0.02,
                batch_size=4,
                max_steps=self.sizes.pretrain_steps,
                learning_rate=1e-2,
                adam_beta2=0.95,
                weight_decay=0.1,
                logging_steps=max(1, self.sizes.pretrain_steps // 16),
                **self.always,
            )

    def tuned(self) -> None:
        """tuned/, the model before anybody says what is better."""
        with self.chapters.chapter("sft", "It learns from the good answers to answer a question, then to stop."):
            commands.sft(
                model=self.folder / "base",
                data=self.data("demonstrations"),
                output_dir=self.folder / "tuned",
                validation=0.05,
                learning_rate=3e-3,
                num_train_epochs=self.sizes.sft_epochs,
                logging_steps=20,
                **self.always,
            )

    def compared(self) -> tuple[int, int]:
        """data/comparisons.jsonl and data/held_out.jsonl; how many answers there were, and how many were left out."""
        sizes = self.sizes
        with self.chapters.chapter(
            "compare",
            f"The model answers {sizes.ranked + sizes.held_out:,} new questions, {sizes.answers_each} times each. "
            f"Of {len(annotators.ANNOTATORS)} simulated annotators {sizes.annotators_each} rank the answers to each "
            "question. They err, and they like what they see first, as people do.",
        ):
            counts = [self.ranked("questions", "comparisons"), self.ranked("held_out_questions", "held_out")]
        return sum(made for made, _ in counts), sum(left_out for _, left_out in counts)

    def ranked(self, asked: str, name: str) -> tuple[int, int]:
        """Samples answers and has them ranked. An answer that was cut, or says nothing, is shown to nobody."""
        made = commands.sample(
            model=self.folder / "tuned",
            data=self.data(asked),
            output=self.data(f"{name}_answers"),
            n=self.sizes.answers_each,
            max_new_tokens=self.sizes.longest,
            seed=self.seed,
            **self.threads,
        )
        groups = [finished(row, place) for place, row in enumerate(made)]
        each = self.sizes.annotators_each
        judged = annotators.asked(groups, self.weights, f"{self.seed} {name}", each=each)
        self.write_groups(name, judged)
        count = len(groups) * self.sizes.answers_each
        return count, count - sum(len(group.completions) for group in groups)

    def rewarded(self, answers: tuple[int, int]) -> Judged:
        """reward/, the reward model, and what it has learnt."""
        with self.chapters.chapter(
            "reward",
            "A copy of the model learns to give each answer a number, so that the answers ranked higher get more.",
        ):
            commands.reward(
                model=self.folder / "tuned",
                data=self.data("comparisons"),
                eval_data=self.data("held_out"),
                output_dir=self.folder / "reward",
                learning_rate=2e-3,
                num_train_epochs=self.sizes.reward_epochs,
                logging_steps=20,
                **self.always,
            )
            return self.judged(answers)

    def judged(self, answers: tuple[int, int]) -> Judged:
        """The reward model held against annotators and truth on answers to questions that it was not trained on."""
        held_out = list(read_groups(self.data("held_out")))
        self.write_groups("held_out_truth", (truly(group, self.weights) for group in held_out))
        with redirect_stdout(StringIO()):  # the page shows its table
            agreement = commands.agreement(
                data=[str(self.data("comparisons")), str(self.data("held_out"))], rounds=ROUNDS, seed=self.seed
            )
        by_people, by_truth = (self.scored(name) for name in ("held_out", "held_out_truth"))
        ceiling = annotators.best_accuracy(held_out, self.weights)
        return Judged(agreement.to_json(), by_people, by_truth, ceiling, answers)

    def scored(self, name: str) -> dict[str, Any]:
        """accord score's report on judged data."""
        with redirect_stdout(StringIO()):
            found = commands.score(
                model=self.folder / "reward", data=self.data(name), output=self.data(f"{name}_scores"), **self.threads
            )
        report: dict[str, Any] = found.report.to_json()
        return report

    def preferred(self) -> None:
        """dpo/"""
        with self.chapters.chapter(
            "dpo",
            "The model learns from the rankings directly: of each two answers, to make the one ranked higher more "
            "probable, without going far from what it was.",
        ):
            commands.dpo(
                model=self.folder / "tuned",
                data=self.data("comparisons"),
                eval_data=self.data("held_out"),
                output_dir=self.folder / "dpo",
                beta=0.3,
                learning_rate=1e-3,
                num_train_epochs=self.sizes.dpo_epochs,
                logging_steps=10,
                **self.always,
            )

    def reinforced(self) -> None:
        """ppo/"""
        sizes = self.sizes
        with self.chapters.chapter(
            "ppo",
            "The other way: the model answers, the reward model scores, and what scores better than expected is made "
            f"more probable; {sizes.ppo_rounds} rounds of {sizes.ppo_samples} answers.",
        ):
            commands.ppo(
                model=self.folder / "tuned",
                reward=str(self.folder / "reward"),
                watch_reward=f"{truth.__name__}:{self.world}",
                data=self.data("questions"),
                output_dir=self.folder / "ppo",
                learning_rate=1e-3,
                lr_scheduler_type="constant",
                kl_coef=0.1,
                batch_size=sizes.ppo_samples,
                num_ppo_epochs=PPO_EPOCHS,
                max_steps=sizes.ppo_rounds * PPO_EPOCHS,
                max_new_tokens=sizes.longest,
                logging_steps=PPO_EPOCHS,
                **self.always,
            )

    def best(self) -> Bought:
        """data/best_of_n.jsonl: many answers of the model itself to each question, scored by the reward model."""
        sizes = self.sizes
        with self.chapters.chapter(
            "best_of_n",
            f"The simplest way: the model itself answers {sizes.evaluated} new questions {sizes.best_of} times each, "
            "and the answer that the reward model likes best is taken.",
        ):
            made = commands.sample(
                model=self.folder / "tuned",
                data=self.data("evaluation"),
                output=self.data("best_of_n"),
                n=sizes.best_of,
                score=str(self.folder / "reward"),
                max_new_tokens=sizes.longest,
                seed=self.seed,
                **self.threads,
            )
            return bought(scored(made, sizes.best_of, self.weights))

    def evaluated(self) -> Measured:
        """Fresh answers of every model to questions that none was trained on, held against each other and the truth."""
        names = {"tuned": "sft", "dpo": "dpo", "ppo": "ppo"}
        models = {str(self.folder / place): name for place, name in names.items()}
        models[str(self.data("best_of_n"))] = f"best of {self.sizes.best_of}"
        with self.chapters.chapter(
            "measure", "All models answer questions that none was trained on, and are compared."
        ):
            with redirect_stdout(StringIO()):  # the page shows its tables
                found = commands.compare(
                    model=list(models),
                    reference=self.folder / "tuned",
                    prompts=str(self.data("evaluation")),
                    judge=truth.judge(self.weights),
                    answers=[str(self.data(f"answers_{place}")) for place in (*names, "best_of_n")],
                    max_new_tokens=self.sizes.longest,
                    length_control=False,
                    samples=self.sizes.evaluated,
                    seed=self.seed + 1,  # other draws than those that the best of n is taken from
                    **self.threads,
                )
            return measured(found, models, self.weights, self.proxy)

    def proxy(self, groups: list[Group]) -> list[float]:
        """The reward model's score of every completion, in order."""
        with redirect_stdout(StringIO()):
            found = commands.score(
                model=self.folder / "reward", data=groups, output=self.data("scores"), report="none", **self.threads
            )
        return [row["score"] for row in found]

    def data(self, name: str) -> Path:
        return self.folder / "data" / f"{name}.jsonl"

    def write(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """A file of data."""
        path = self.data(name)
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            fix = "free some space, or take another --output_dir"
            raise StorageError(f"cannot be written ({error.strerror})", where=str(path.parent), fix=fix) from error
        with row_writer(str(path)) as writer:
            for row in rows:
                writer.add(row)

    def write_groups(self, name: str, groups: Iterable[Group]) -> None:
        """The same, of groups."""
        self.write(name, (row for group in groups for row in to_rows(FORMATS["group"], group)[0]))
