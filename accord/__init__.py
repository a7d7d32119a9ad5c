"""Accord brings a language model into accord with what people prefer.

Each stage is a function with the options of its command: `accord.dpo(model=..., data=..., output_dir=..., beta=0.1)`,
and so is each loss: `accord.kto(...)`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.errors import AccordError, Diverged, InputError, IntegrityError, ServiceError, Stopped, StorageError
    from accord.records import Completion, Group, Judgement, Message, Origin, RecordError
    from accord.stages.commands import (
        agreement,
        check,
        classify,
        compare,
        convert,
        dpo,
        frontier,
        grpo,
        harness,
        init,
        leaderboard,
        logprobs,
        merge,
        online_dpo,
        perplexity,
        ppo,
        pretrain,
        reinforce,
        report,
        reward,
        reward_bench,
        rl,
        rloo,
        runs,
        safety,
        sample,
        scaling,
        score,
        sft,
        theory,
        verify,
        winrate,
    )

__version__ = "0.1.0"

__all__ = [
    "AccordError",
    "Completion",
    "Diverged",
    "Group",
    "InputError",
    "IntegrityError",
    "Judgement",
    "Message",
    "Origin",
    "RecordError",
    "ServiceError",
    "Stopped",
    "StorageError",
    "__version__",
    "agreement",
    "check",
    "classify",
    "compare",
    "convert",
    "dpo",
    "frontier",
    "grpo",
    "harness",
    "init",
    "leaderboard",
    "logprobs",
    "merge",
    "online_dpo",
    "perplexity",
    "ppo",
    "pretrain",
    "reinforce",
    "report",
    "reward",
    "reward_bench",
    "rl",
    "rloo",
    "runs",
    "safety",
    "sample",
    "scaling",
    "score",
    "sft",
    "theory",
    "verify",
    "winrate",
]

# Where each name lives. It is imported when it is first used, so that `import accord` is light and needs no torch.
HOMES = {
    "AccordError": "accord.errors",
    "Completion": "accord.records",
    "Diverged": "accord.errors",
    "Group": "accord.records",
    "InputError": "accord.errors",
    "IntegrityError": "accord.errors",
    "Judgement": "accord.records",
    "Message": "accord.records",
    "Origin": "accord.records",
    "RecordError": "accord.records",
    "ServiceError": "accord.errors",
    "Stopped": "accord.errors",
    "StorageError": "accord.errors",
    "agreement": "accord.stages.commands",
    "check": "accord.stages.commands",
    "classify": "accord.stages.commands",
    "compare": "accord.stages.commands",
    "convert": "accord.stages.commands",
    "dpo": "accord.stages.commands",
    "frontier": "accord.stages.commands",
    "init": "accord.stages.commands",
    "leaderboard": "accord.stages.commands",
    "grpo": "accord.stages.commands",
    "harness": "accord.stages.commands",
    "perplexity": "accord.stages.commands",
    "ppo": "accord.stages.commands",
    "reinforce": "accord.stages.commands",
    "report": "accord.stages.commands",
    "rl": "accord.stages.commands",
    "rloo": "accord.stages.commands",
    "logprobs": "accord.stages.commands",
    "merge": "accord.stages.commands",
    "online_dpo": "accord.stages.commands",
    "pretrain": "accord.stages.commands",
    "reward": "accord.stages.commands",
    "reward_bench": "accord.stages.commands",
    "runs": "accord.stages.commands",
    "safety": "accord.stages.commands",
    "sample": "accord.stages.commands",
    "scaling": "accord.stages.commands",
    "score": "accord.stages.commands",
    "sft": "accord.stages.commands",
    "theory": "accord.stages.commands",
    "verify": "accord.stages.commands",
    "winrate": "accord.stages.commands",
}


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(importlib.import_module(HOMES[name]), name)
    if not name.startswith("_") and name in importlib.import_module("accord.stages.loss_names").COMMANDS:
        return getattr(importlib.import_module("accord.stages.commands"), name)
    raise AttributeError(f"module 'accord' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
