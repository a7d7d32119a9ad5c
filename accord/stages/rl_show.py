"""What a person sees of the rounds of a run: how far sampling is, and now and then samples with their rewards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from accord.records import Text
from accord.stages.online_config import SampledConfig
from accord.stages.rl_rollouts import Answers, Made
from accord.stages.session import Session
from accord.training.progress import Screen, printable
from accord.training.rollout import Rollout
from accord.training.stop import Left

SHORT = 160  # characters of a sample in the table
PROMPT = 60
SHOWN = {"score": ("score", ".3f"), "kl": ("KL", ".2f")}  # numbers of samples in the table: heading, format


class Show:
    """Of one run; `session` is set once it is known."""

    def __init__(self, config: SampledConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self.every, self.count, self.tokenizer = config.rollout.sample_steps, config.sampling.samples, tokenizer
        self.a_round = config.epochs * config.rollout.num_mini_batches  # steps
        self.session: Session | None = None
        self._latest = ""

    def latest(self) -> str:
        """The last round in a few words; nothing before the first one of this process."""
        return self._latest

    def tell(self, what: str, done: int, total: int) -> None:
        """On the progress bar, where there is one. Left where the run is to stop: what is half done is done again."""
        if self.session is not None and self.session.stop.signal is not None:
            raise Left
        if self.session is not None and self.session.progress is not None:
            self.session.progress.note(f"{what} {done:,}/{total:,}")

    def round(self, step: int, rollout: Rollout, made: Made) -> None:
        """The first samples of a round. step: steps done before it."""
        samples = rollout.samples
        numbers = {"score": samples.score, "kl": samples.kl}
        self.samples(step, Answers(made.groups, made.texts, made.samples), numbers, rollout.sources)

    def samples(
        self, step: int, answers: Answers, numbers: Mapping[str, Tensor], sources: Mapping[str, Tensor]
    ) -> None:
        """The first ones, in the terminal and in samples.jsonl, where that is due. numbers, sources: name -> (C,)."""
        means = {name: float(numbers[name].double().mean()) for name in SHOWN if name in numbers}
        self._latest = "  ".join(f"{SHOWN[name][0]} {format(mean, SHOWN[name][1])}" for name, mean in means.items())
        is_due = self.every and (step == 0 or step // self.every > (step - self.a_round) // self.every)
        if not is_due or not self.count or self.session is None:
            return
        rows = self._rows(answers, numbers, sources)
        self.session.folder.add_samples(step, rows)
        asked = [_said(group.prompt) for group in answers.texts[: len(rows)]]
        self._print(f"samples after step {step}", asked, rows, numbers)

    def _rows(
        self, answers: Answers, numbers: Mapping[str, Tensor], sources: Mapping[str, Tensor]
    ) -> list[dict[str, object]]:
        """One sample each of the first prompts."""
        each = len(answers.samples) // len(answers.groups)
        found: list[dict[str, object]] = []
        for place in range(min(self.count, len(answers.groups))):
            at = place * each
            found.append(
                {
                    "prompt": str(self.tokenizer.decode(answers.groups[place].prompt)),
                    "completion": _said(answers.texts[place].completions[0].content),
                    "tokens": len(answers.samples[at].ids),
                    "ended": answers.samples[at].ended,
                    **{name: float(column[at]) for name, column in numbers.items()},
                    "rewards": {name: float(column[at]) for name, column in sources.items()},
                }
            )
        return found

    def _print(
        self, title: str, asked: Iterable[str], rows: Iterable[Mapping[str, object]], numbers: Iterable[str]
    ) -> None:
        """asked: the prompts without what the chat template puts around them."""
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_lines=True)
        for name in ("prompt", "sample"):
            table.add_column(name, overflow="fold")
        shown = [name for name in SHOWN if name in numbers]
        for name in shown:
            table.add_column(SHOWN[name][0], justify="right", overflow="fold")
        for prompt, row in zip(asked, rows, strict=True):
            sample = _short(str(row["completion"]), SHORT) + ("" if row["ended"] else " [cut]")
            said = [format(row[name], SHOWN[name][1]) for name in shown]
            table.add_row(escape(_short(prompt, PROMPT, end=True)), escape(sample), *said)
        console: Console = self.session.progress.console if self.session and self.session.progress else Screen()
        console.print(table)


def _said(text: Text) -> str:
    """A plain text, or what the last turn says."""
    return text if isinstance(text, str) else text[-1].content


def _short(text: str, most: int, *, end: bool = False) -> str:
    """On one line, its beginning or its end."""
    line = printable(" ".join(text.split()))
    if len(line) <= most:
        return line
    return f"... {line[-most:]}" if end else f"{line[:most]} ..."
