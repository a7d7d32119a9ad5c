"""What a run leaves behind to be continued by, and what it refuses to be continued with."""

from __future__ import annotations

import yaml

from accord.errors import InputError
from accord.stages.config import TrainingConfig
from accord.stages.resolve import flat
from accord.training.run import RunFolder

# Options that do not change what a run computes: they may differ when it is resumed.
FREE = {
    "output_dir", "push_to_hub", "resume", "allow_change", "longest_first", "logging_steps", "eval_steps",
    "save_steps", "save_total_limit", "report_to", "run_name", "project", "reference_cache", "token_cache", "samples",
    "sample_tokens", "threads", "dry_run",
}  # fmt: skip


def check_resumed(folder: RunFolder, config: TrainingConfig) -> None:
    """InputError where the run that is there was started with other options that change what is computed."""
    path = folder.path / "run.yaml"
    if not path.exists():
        return
    # Read as YAML, not as a config: an object that Python passed cannot be given in a file.
    before, now = yaml.safe_load(path.read_text(encoding="utf-8")), flat(config)
    schedule = now.get("lr_scheduler_type")
    # What is evaluated when, decides which step is best.
    fixed = {"eval_steps"} if config.best.wanted else set()
    free = FREE - fixed | ({"max_steps", "num_train_epochs"} if schedule in ("constant", "inverse_sqrt") else set())
    differ = [
        f"{key} was {_said(before.get(key))}, is {_said(now[key])}"
        for key in now
        if key not in free and before.get(key) != now[key]
    ]
    if differ:
        raise InputError(
            f"the run was started with other options: {'; '.join(differ)}",
            where=str(folder.path),
            fix="resume with the same options, or train anew in another --output_dir",
        )


def _said(value: object) -> object:
    return "not given" if value is None else value
