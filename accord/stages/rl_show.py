"""What a person sees of the rounds of a run: how far sampling is, and now and then samples with their rewards."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import PreTrainedTokenizerBase

from accord.stages.config import RlConfig
from accord.stages.rl_rollouts import Made
from accord.stages.session import Session
from accord.training.progress import Screen
from accord.training.rollout import Rollout

SHORT = 160  # characters of a sample in the table
PROMPT = 60


class Show:
    """Of one run; `session` is set once it is known."""

    def __init__(self, config: RlConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self.every, self.count, self.tokenizer = config.rollout.sample_steps, config.sampling.samples, tokenizer
        self.a_round = config.epochs * config.rollout.num_mini_batches  # steps
        self.session: Session | None = None

    def tell(self, what: str, done: int, total: int) -> None:
        """On the progress bar, where there is one."""
        if self.session is not None and self.session.progress is not None:
            self.session.progress.note(f"{what} {done:,}/{total:,}")

    def round(self, step: int, rollout: Rollout, made: Made) -> None:
        """The first samples of a round: in the terminal, and in samples.jsonl. step: steps done before it."""
        is_due = self.every and (step == 0 or step // self.every > (step - self.a_round) // self.every)
        if not is_due or not self.count or self.session is None:
            return
        rows = self._rows(rollout, made)
        self.session.folder.add_samples(step, rows)
        self._print(step, rows)

    def _rows(self, rollout: Rollout, made: Made) -> list[dict[str, object]]:
        """One sample each of the first prompts."""
        each = len(made.samples) // len(made.groups)
        found: list[dict[str, object]] = []
        for place in range(min(self.count, len(made.groups))):
            at, text = place * each, made.texts[place].completions[0].content
            found.append(
                {
                    "prompt": str(self.tokenizer.decode(made.groups[place].prompt)),
                    "completion": text if isinstance(text, str) else text[0].content,
                    "tokens": len(made.samples[at].ids),
                    "ended": made.samples[at].ended,
                    "score": float(rollout.samples.score[at]),
                    "kl": float(rollout.samples.kl[at]),
                    "rewards": {name: float(column[at]) for name, column in rollout.sources.items()},
                }
            )
        return found

    def _print(self, step: int, rows: list[dict[str, object]]) -> None:
        table = Table(title=f"samples after step {step}", title_justify="left")
        for name, how in (("prompt", "left"), ("sample", "left"), ("score", "right"), ("KL", "right")):
            table.add_column(name, justify=how, overflow="fold")  # type: ignore[arg-type]
        for row in rows:
            sample = _short(str(row["completion"]), SHORT) + ("" if row["ended"] else " [cut]")
            numbers = (f"{row['score']:.3f}", f"{row['kl']:.2f}")
            table.add_row(escape(_short(str(row["prompt"]), PROMPT, end=True)), escape(sample), *numbers)
        console: Console = self.session.progress.console if self.session and self.session.progress else Screen()
        console.print(table)


def _short(text: str, most: int, *, end: bool = False) -> str:
    """On one line, its beginning or its end."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    return f"... {line[-most:]}" if end else f"{line[:most]} ..."
