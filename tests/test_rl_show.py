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
from accord.stages.rl_findings import findings, panels
from accord.stages.rl_rollouts import Answers
from accord.stages.rl_show import Show
from accord.stages.session import Findings
from accord.training.curves import PANELS

IDS = np.array([3, 4], dtype=np.int32)
TEMPLATE = "<|im_start|>user\nIs it any good?<|im_end|>\n<|im_start|>assistant\n"


class Folder:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add_samples(self, step: int, rows: list[dict[str, Any]]) -> None:
        self.rows += rows


def show(said: str, *, ended: bool = True, step: int = 0) -> tuple[list[dict[str, Any]], str]:
    """Shows one sample; what samples.jsonl gets, and what a progress line says."""
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
    assert shown.latest() == ""
    shown.samples(step, Answers((tokens,), (text,), [made]), numbers, {"reward": torch.tensor([1.5])})
    return folder.rows, shown.latest()


def test_a_prompt_is_shown_without_the_template(capsys: pytest.CaptureFixture[str]) -> None:
    (row,), _ = show("It is.")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split() for line in lines if "It is." in line] == [
        ["Is", "it", "any", "good?", "It", "is.", "1.500", "0.25"]
    ]
    assert not any("<|im_start|>" in line for line in lines)
    assert (row["prompt"], row["completion"]) == (TEMPLATE, "It is.")


def test_a_sample_cannot_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by control characters nor by markup; the file has it as it is."""
    (row,), _ = show("\x1b[2J[red]no[/red]\x07", ended=False)
    shown = capsys.readouterr().err
    assert "\N{REPLACEMENT CHARACTER}[2J[red]no[/red]\N{REPLACEMENT CHARACTER} [cut]" in shown
    assert "\x1b" not in shown and "\x07" not in shown
    assert row["completion"] == "\x1b[2J[red]no[/red]\x07"


def test_a_progress_line_has_the_score_of_every_round(capsys: pytest.CaptureFixture[str]) -> None:
    """Also of those whose samples are not shown."""
    rows, said = show("It is.", step=4)
    assert (rows, capsys.readouterr().err, said) == ([], "", "score 1.500  KL 0.25")


def test_the_end_holds_the_last_samples_against_the_first() -> None:
    lines = [
        {"step": 0, "eval_objective/kl": 0.5},
        {"step": 4, "objective/kl": 0.0, "objective/scores": -0.8},
        {"step": 8, "objective/kl": 2.0, "objective/scores": None},
        {"step": 9, "objective/kl": 4.0, "objective/scores": 0.25},
    ]

    def found(held: list[int]) -> Findings:
        begun = SimpleNamespace(data=SimpleNamespace(held=held))
        folder = SimpleNamespace(metrics=lambda: lines)
        return findings(SimpleNamespace(folder=folder, begun=begun), (), "ppo; rewards: reward.")  # type: ignore[arg-type]

    assert list(found([]).lines) == [
        "samples' objective/scores: -0.8000 -> 0.2500 (steps to 4 -> to 9)",
        "samples' objective/kl: 0.0000 -> 4.0000 (steps to 4 -> to 9)",
    ]
    assert found([7]).lines == []  # whose figures are said
    assert "| objective/kl | 0.0000 | 4.0000 |" in found([7]).card
    assert found([7]).card[0] == "ppo; rewards: reward."


def test_what_is_watched_has_a_picture_and_a_loss_that_says_nothing_has_none() -> None:
    names = [panel.metric for panel in panels(("watched/liking",), losses_tell=False)]
    place = names.index("rewards/watched/liking")
    assert names[place - 1] == "objective/scores" and "loss" not in names
    assert len(names) == len(PANELS)
    assert panels((), losses_tell=True) == PANELS
