"""The runs behind docs/rl.md: every way of reinforcement learning in the demo's world, whose true reward is known.

python docs/rl_study.py                            what is missing, one run after the other: an hour on a quiet core
python docs/rl_study.py --seeds 100 --methods ppo  some of it

Everything goes to runs/rl_study. What was stopped goes on where it was; what was measured is not measured again. Each
seed has a world, a tuned model and a reward model of its own, from which all methods begin. The settings were chosen on
seed 100, which is not reported. docs/rl_page.py makes the tables and the picture.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # before torch is imported
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from rl_answers import MAX_TOKENS, Answer, Answers, answers, judged  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase  # noqa: E402

from accord.data.dialogue import Dialogue, TokenCompletion, TokenGroup  # noqa: E402
from accord.data.packing import pack  # noqa: E402
from accord.data.read import read_groups  # noqa: E402
from accord.demo import world  # noqa: E402
from accord.demo.annotators import best_accuracy  # noqa: E402
from accord.demo.course import Demo, Questions  # noqa: E402
from accord.demo.sizes import FULL  # noqa: E402
from accord.maths.divergence import k1, k3  # noqa: E402
from accord.maths.likelihood import sum_by_owner  # noqa: E402
from accord.maths.statistics import Estimate, mean_interval  # noqa: E402
from accord.models.logprobs import LanguageModel  # noqa: E402
from accord.models.reference import ReferenceLogprobs, reference_logprobs  # noqa: E402
from accord.records import Completion, Group, Message  # noqa: E402
from accord.stages import commands  # noqa: E402
from accord.stages.config import DemoConfig  # noqa: E402
from accord.stages.outcome import Result  # noqa: E402
from accord.stages.resolve import load  # noqa: E402

ROOT = HERE.parent / "runs" / "rl_study"
SEEDS = (0, 1, 2)
SAMPLES, ROUNDS = 64, 40  # of a round; of a run
PLACES = {"aligned": "dpo"}  # what the demo calls it
TEXTS = 500  # fresh ones, whose likelihood says what was forgotten
Options = Mapping[str, Any]


class Method(NamedTuple):
    """A command with its own options. steps: of a round of samples."""

    command: str
    steps: int
    options: Options = MappingProxyType({})


ALONE = {"batch_size": 64, "num_generations": 1}
BY_FOUR = {"batch_size": 16, "num_generations": 4}
HELD = {"kl_coef": 0.1, "learning_rate": 1e-3}
METHODS = {
    "ppo": Method("ppo", 4, {**ALONE, **HELD}),
    "ppo-ptx": Method("ppo", 4, {**ALONE, **HELD, "ptx": "texts", "ptx_coef": 0.05, "ptx_batch_size": 4}),
    "reinforce": Method("reinforce", 1, {**ALONE, **HELD}),
    "rloo": Method("rloo", 1, {**BY_FOUR, **HELD}),
    "grpo": Method("grpo", 1, {**BY_FOUR, **HELD}),
    "online-dpo": Method("online-dpo", 1, {**BY_FOUR, "beta": 0.3, "learning_rate": 1e-3}),
}


def liking(groups: Sequence[Group]) -> list[float]:
    """The true reward, as `--watch_reward docs/rl_study.py:liking`: looked at, and not learnt from."""
    return [world.sentiment(text_of(group)) for group in groups]


def text_of(group: Group) -> str:
    content = group.completions[0].content
    return content if isinstance(content, str) else content[0].content


class World:
    """One seed: its folder, its questions, and the models that all methods begin from."""

    def __init__(self, seed: int, root: Path = ROOT) -> None:
        self.seed, self.folder = seed, root / f"seed{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        config = load(DemoConfig, arguments={"output_dir": str(self.folder), "seed": seed, "threads": 1})
        self.demo = Demo(config, FULL, self.folder)
        self.questions: Questions = self.demo.deal()

    def prepare(self) -> None:
        """As the demo does up to its dpo, which is kept too; then a reward model of the same rankings, longer trained.

        The runs that are shown were judged by one annotator who sees no order; the demo has several since, who do.
        """
        done = self.folder / "prepared.json"
        if done.exists():
            return
        demo = self.demo
        demo.write_texts(self.questions)
        demo.initialised()
        demo.pretrained()
        demo.tuned()
        demo.compared()
        held_out = read_groups(demo.data("held_out"))
        ceiling = best_accuracy(held_out, demo.weights)
        demo.preferred()
        scorer: Result = commands.reward(
            model=self.folder / "tuned",
            data=demo.data("comparisons"),
            eval_data=demo.data("held_out"),
            output_dir=self.folder / "reward",
            learning_rate=2e-3,
            num_train_epochs=3,
            logging_steps=50,
            **demo.always,
        )
        accuracy = scorer.summary["held_out"]["rewards/accuracies"]["after"]
        write(done, {"reward_accuracy": accuracy, "ceiling": ceiling})

    def train(self, name: str) -> float:
        """One run, or the rest of it; seconds of training."""
        method = METHODS[name]
        options = {**method.options, "max_steps": ROUNDS * method.steps, "logging_steps": method.steps}
        if "ptx" in options:
            options["ptx"] = self.demo.data(options["ptx"])
        result: Result = getattr(commands, method.command.replace("-", "_"))(
            model=self.folder / "tuned",
            reward=str(self.folder / "reward"),
            watch_reward=f"{__file__}:liking",
            data=self.demo.data("questions"),
            output_dir=self.folder / name,
            max_new_tokens=FULL.longest,
            lr_scheduler_type="constant",
            save_steps=10 * method.steps,
            resume=True,
            report_to="none",
            samples=0,
            **options,
            **self.demo.always,
        )
        return float(result.summary["seconds"])

    def measure(self, name: str) -> dict[str, Any]:
        """Fresh answers to the held-out questions: name -> estimate over the questions."""
        network, tokenizer = loaded(self.folder / PLACES.get(name, name))
        asked = self.questions.held_out
        found = answers(network, tokenizer, asked, each=4, longest=FULL.longest, seed=f"{self.seed} study")
        figures = {
            **judged(found),
            **self.strayed(network, found),
            "proxy": self.scored(found),
            "texts": self.likelihood(network, tokenizer),
        }
        return {key: (estimate.mean, estimate.standard_error) for key, estimate in figures.items()}

    def strayed(self, network: PreTrainedModel, found: Answers) -> dict[str, Estimate]:
        """KL from the tuned model in nats an answer, by k1 and by k3 of every token, which have the same mean."""
        groups = [tokens_of(answer) for given in found for answer in given]
        policy, reference = (logprobs_of(one, groups) for one in (network, loaded(self.folder / "tuned")[0]))
        question = [place for place, given in enumerate(found) for _ in given]
        owner = policy.ranges.owner
        terms = {name: estimator(policy.token.double(), reference.token.double()) for name, estimator in KL.items()}
        return {
            name: mean_interval(sum_by_owner(each, owner, len(groups)).numpy(), question)
            for name, each in terms.items()
        }

    def scored(self, found: Answers) -> Estimate:
        """What the reward model makes of them; an empty answer has no score."""
        pairs = zip(self.questions.held_out, found, strict=True)
        groups = [
            Group(str(i), (Message("user", prompt.text),), tuple(map(completion, given)))
            for i, (prompt, given) in enumerate(pairs)
        ]
        rows = commands.score(
            model=self.folder / "reward", data=groups, output=self.folder / "scores.jsonl", on_bad_row="drop", threads=1
        )
        rows = list(rows)
        return mean_interval([row["score"] for row in rows], [row["id"] for row in rows])

    def likelihood(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Estimate:
        """Nats per token of texts as they were pre-trained on, and other ones."""
        texts = world.documents(TEXTS, self.seed + 5000)
        groups = (Group(str(place), "", (Completion(text),)) for place, text in enumerate(texts))
        tokens = [one for _, one in Dialogue(tokenizer).stream_documents(groups)]
        found = logprobs_of(network, pack(tokens, FULL.context))
        return mean_interval((-found.token.double()).numpy())


KL = {"k1": k1, "k3": k3}


def loaded(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder).eval()
    return network, AutoTokenizer.from_pretrained(folder)


def tokens_of(answer: Answer) -> TokenGroup:
    made = TokenCompletion(answer.ids, ((0, len(answer.ids)),))
    return TokenGroup(Group("", "", ()), answer.prompt, (made,))


def completion(answer: Answer) -> Completion:
    return Completion((Message("assistant", answer.text),))


def logprobs_of(network: PreTrainedModel, groups: Sequence[TokenGroup]) -> ReferenceLogprobs:
    return reference_logprobs(LanguageModel(network), groups, max_tokens=MAX_TOKENS)


def write(path: Path, value: object) -> None:
    """Whole or not at all."""
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(value, indent=1), encoding="utf-8")
    aside.rename(path)


def study(seed: int, names: Sequence[str]) -> None:
    """What is missing of one seed."""
    here = World(seed)
    here.prepare()
    for name in ("base", "tuned", "aligned", *names):
        path = here.folder / f"{name}.json"
        if not path.exists():
            seconds = here.train(name) if name in METHODS else 0.0
            write(path, {"seconds": seconds, **here.measure(name)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=tuple(METHODS))
    given = parser.parse_args()
    for seed in given.seeds:
        study(seed, given.methods)
