"""docs/rl.md names options that there are, and the runs behind it can be begun."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from accord.stages.commands import COMMANDS
from accord.stages.config import Config
from accord.stages.leaves import leaves
from accord.stages.resolve import load

DOCS = Path(__file__).resolve().parent.parent / "docs"
SAMPLED = ("ppo", "reinforce", "rloo", "grpo", "rl", "online-dpo")


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_every_option_of_the_page_is_there() -> None:
    known = {key for name in COMMANDS for key in leaves(COMMANDS[name].config)}
    of_samples = {key for name in SAMPLED for key in leaves(COMMANDS[name].config)}
    text = (DOCS / "rl.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--([a-z][a-z_]+)", text))
    assert len(named) > 30 and named <= known | {"help"}
    table = text.split("## Options that matter")[1].split("`accord ppo --help`")[0]
    assert set(re.findall(r"--([a-z][a-z_]+)", table)) <= of_samples


def test_the_studys_settings_are_options_of_their_commands() -> None:
    study = module("rl_study")
    assert len(study.METHODS) == 6
    for method in study.METHODS.values():
        needed = {"model": "tuned", "reward": "reward", "data": "prompts.jsonl", "output_dir": "run"}
        config: Config = load(COMMANDS[method.command].config, arguments={**needed, **method.options})
        rollout = config.rollout  # type: ignore[attr-defined]
        assert config.train.batch_size * rollout.num_generations == study.SAMPLES  # type: ignore[attr-defined]
        assert config.epochs * rollout.num_mini_batches == method.steps  # type: ignore[attr-defined]
