"""What is measured, and what is asked of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

BATCH = 8  # groups of a step
WARM_UP = 1  # steps at the start of each process that are not counted
PROFILED = 3  # the step that --profile looks at, counted from 1
PEER = "trl==1.16.0"
PEER_TORCH = "torch==2.13.0"

Measure = Literal["step", "memory", "reference", "tokens"]
RANKED, K = 4, 6  # groups of a step of rankings, completions of each


class Shape(NamedTuple):
    """A Llama-like model with random weights and 32,000 words."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    vocab_size: int = 32_000
    context: int = 1024


class Asked(NamedTuple):
    """theirs / ours: at least this, and what would be liked."""

    least: float
    aim: float | None = None


class Case(NamedTuple):
    """One stage on one model in one precision, ours and theirs."""

    stage: Literal["dpo", "sft", "reward", "rankings", "grpo"]  # rankings: reward models of K completions a prompt
    model: str
    dtype: Literal["float32", "bf16"]
    asked: dict[Measure, Asked]

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.model}-{self.dtype}"

    @property
    def block(self) -> str:
        """The block of docs/benchmarks.md that it stands in; each is written by a run of all its cases."""
        return {"reward": "rewards", "rankings": "rewards", "grpo": "grpo"}.get(self.stage, "bench")

    @property
    def start(self) -> str:
        """The directory of the model that both sides begin with: a reward model has its new head already."""
        return f"{self.model}-reward" if self.stage in ("reward", "rankings") else self.model

    @property
    def groups(self) -> int:
        """Groups of a step."""
        return RANKED if self.stage == "rankings" else BATCH

    def data(self, side: str, steps: int) -> str:
        """The name of its file. Rankings are pairs for the other side, in the same order."""
        names = {"dpo": "comparisons", "sft": "demonstrations", "reward": "comparisons", "grpo": "prompts"}
        ranked = "rankings" if side == "ours" else "ranked-pairs"
        return f"{names.get(self.stage, ranked)}-{self.groups * steps}.jsonl"


SHAPES = {"12m": Shape(256, 6, 4, 2), "39m": Shape(512, 8, 8, 4)}

CASES = [
    Case("dpo", "12m", "float32", {"step": Asked(12, 15), "memory": Asked(5), "reference": Asked(12)}),
    Case("dpo", "12m", "bf16", {"step": Asked(12, 20), "memory": Asked(4.5), "reference": Asked(10)}),
    Case("dpo", "39m", "bf16", {"step": Asked(10), "memory": Asked(3)}),
    Case("sft", "12m", "float32", {"step": Asked(7)}),
    Case("sft", "12m", "bf16", {"step": Asked(7)}),
    Case("reward", "12m", "float32", {"step": Asked(2.6, 3.5), "memory": Asked(2)}),
    Case("reward", "12m", "bf16", {"step": Asked(2, 3.5), "memory": Asked(2)}),
    Case("rankings", "12m", "float32", {"step": Asked(5), "tokens": Asked(4)}),
    Case("grpo", "12m", "float32", {"step": Asked(8)}),
    Case("grpo", "12m", "bf16", {"step": Asked(8)}),
]

BLOCKS = list(dict.fromkeys(case.block for case in CASES))
LOSS_GAP = 1e-3  # nats: largest difference of a step's loss from theirs, in float32
