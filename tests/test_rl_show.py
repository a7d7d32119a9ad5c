"""What a person sees of samples: the prompt as it was asked, and nothing that a terminal would obey."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.models.sample import Sampled
from accord.records import Completion, Group, Message
from accord.stages.commands import COMMANDS
from accord.stages.resolve import load
from accord.stages.rl_rollouts import Answers
from accord.stages.rl_show import Show

IDS = np.array([3, 4], dtype=np.int32)
TEMPLATE = "<|im_start|>user\nIs it any good?<|im_end|>\n<|im_start|>assistant\n"


class Folder:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add_samples(self, step: int, rows: list[dict[str, Any]]) -> None:
        self.rows += rows


def show(said: str, *, ended: bool = True) -> list[dict[str, Any]]:
    """Shows one sample; what samples.jsonl gets."""
    asked = (Message("user", "Is it any good?"),)
    text = Group("", asked, (Completion((Message("assistant", said),)),))
    tokens = TokenGroup(text, IDS, (TokenCompletion(IDS, ((0, 2),)),))
    made = Sampled(IDS, np.zeros(2, dtype=np.float32), ended)
    needed = {"model": "tuned", "reward": "reward", "data": "prompts.jsonl", "output_dir": "run"}
    shown = Show(
        load(COMMANDS["ppo"].config, arguments=needed),  # type: ignore[arg-type]
        SimpleNamespace(decode=lambda ids: TEMPLATE),  # type: ignore[arg-type]
    )
    folder = Folder()
    shown.session = SimpleNamespace(folder=folder, progress=None)  # type: ignore[assignment]
    numbers = {"score": torch.tensor([1.5]), "kl": torch.tensor([0.25])}
    shown.samples(0, Answers((tokens,), (text,), [made]), numbers, {"reward": torch.tensor([1.5])})
    return folder.rows


def test_a_prompt_is_shown_without_the_template(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = show("It is.")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split() for line in lines if "It is." in line] == [
        ["Is", "it", "any", "good?", "It", "is.", "1.500", "0.25"]
    ]
    assert not any("<|im_start|>" in line for line in lines)
    assert (row["prompt"], row["completion"]) == (TEMPLATE, "It is.")


def test_a_sample_cannot_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by control characters nor by markup; the file has it as it is."""
    (row,) = show("\x1b[2J[red]no[/red]\x07", ended=False)
    shown = capsys.readouterr().err
    assert "\N{REPLACEMENT CHARACTER}[2J[red]no[/red]\N{REPLACEMENT CHARACTER} [cut]" in shown
    assert "\x1b" not in shown and "\x07" not in shown
    assert row["completion"] == "\x1b[2J[red]no[/red]\x07"
