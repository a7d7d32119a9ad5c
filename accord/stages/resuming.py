"""What a run may be continued with: the options that it was trained with, and changes that were asked for."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from accord.errors import InputError
from accord.stages.config import TrainingConfig
from accord.stages.leaves import leaves
from accord.stages.resolve import flat, unknown
from accord.stages.setup import say
from accord.training.run import RunFolder

# Options that do not change what a run computes: they may differ when it is resumed.
FREE = {
    "output_dir", "push_to_hub", "resume", "allow_change", "longest_first", "logging_steps", "eval_steps",
    "save_steps", "save_total_limit", "report_to", "run_name", "project", "reference_cache", "token_cache", "samples",
    "sample_tokens", "threads", "dry_run", "sample_steps", "reward_timeout", "reward_retries", "reward_backoff",
    "reward_groups", "reward_token",
}  # fmt: skip
OF_THIS_START = {"resume", "allow_change"}  # and not of the run: run.yaml has neither
LENGTH = {"max_steps", "num_train_epochs"}
ORDER = {
    "batch_size", "seed", "shuffle", "data", "validation", "eval_data", "mix", "mix_fraction", "num_mini_batches",
    "num_ppo_epochs", "num_epochs", "ptx", "ptx_kind", "ptx_batch_size",
}  # fmt: skip
# What of a checkpoint no other value could go on with.
STAYS = {
    "optimizer": "the checkpoint holds the state of the other one",
    "average": "the checkpoint does not hold this average",
    "lora_r": "the checkpoint holds other matrices",
    "lora_target_modules": "the checkpoint holds other matrices",
    "use_dora": "the checkpoint holds other matrices",
    "critic": "the checkpoint holds a critic in the other place",
    "critic_model": "the checkpoint holds the critic that began as the other one",
    "sync_reference": "the checkpoint holds no reference that moved like this",
    "metric_for_best_model": "the best step so far was chosen by the other one",
    "greater_is_better": "the best step so far was chosen the other way",
    "load_best_model_at_end": "the best step's weights were not kept so far",
}
# Options that make other tokens of the same files.
OF_DATA = {
    "data", "split", "on_bad_row", "implicit_prompt", "max_length", "on_long", "validation", "eval_data", "eval_split",
    "turns", "mix", "model", "base_model", "chat_template", "chat_template_kwargs", "loss_type", "num_generations",
    "max_new_tokens", "ptx", "ptx_kind",
}  # fmt: skip
CONTENT = "data"  # as a key of allow_change: also other content under the same name
VALUES = "reference"  # as a key of allow_change: also other values of the same reference


class Change(NamedTuple):
    """An option, or what stands behind it, that is not what it was."""

    key: str
    was: object
    now: object

    def __str__(self) -> str:
        return f"{self.key} was {_said(self.was)}, is {_said(self.now)}"


Entry = dict[str, Any]  # of "changes" in run.json: step (steps done then), key, was, is, time (seconds since 1970)


def options_of(config: TrainingConfig) -> dict[str, object]:
    """All that a run is started with, by flat names."""
    return {key: value for key, value in flat(config).items() if key not in OF_THIS_START}


def computing(config: TrainingConfig) -> dict[str, object]:
    """The options that have a part in what is computed."""
    return {key: value for key, value in flat(config).items() if key not in _free(config, {})}


def check_resumed(folder: RunFolder, config: TrainingConfig) -> None:
    """InputError where the run that is there was started with other options that change what is computed."""
    if (before := started_with(folder)) is None:
        return
    if found := differences(before, config):
        raise refused(found, config, str(folder.path))


def started_with(folder: RunFolder) -> dict[str, Any] | None:
    """The options of run.yaml; None where there is none."""
    path = folder.path / "run.yaml"
    if not path.exists():
        return None
    # Read as YAML, not as a config: an object that Python passed cannot be given in a file.
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        held = None
    if not isinstance(held, dict):
        raise InputError("not Accord's", where=str(path), fix="take another --output_dir")
    return held


def differences(before: Mapping[str, Any], config: TrainingConfig) -> list[Change]:
    """What would be computed with other options than `before`; one that is missing there had its default."""
    known, now, free = leaves(type(config)), flat(config), _free(config, before)
    return [
        Change(key, was, value)
        for key, value in now.items()
        if key not in free and (was := before.get(key, known[key].default)) != value
    ]


def refused(found: Sequence[Change], config: TrainingConfig, where: str) -> InputError:
    """The error that shows every difference, and what to type."""
    train = config.train
    what = "; ".join(map(str, found))
    if LENGTH.intersection(change.key for change in found):
        reason = f"{train.lr_scheduler_type}, warmup_steps {train.warmup_steps:g}"
        what += f" (the learning rates of this schedule follow the number of steps: {reason})"
    keys = ",".join(change.key for change in found)
    return InputError(
        f"the run was trained with other options: {what}",
        where=where,
        fix=f"resume with the same, or with --allow_change {keys} to go on with these, or take another --output_dir",
    )


def check_keys(config: TrainingConfig) -> None:
    """InputError where one of allow_change is no option."""
    known = leaves(type(config))
    for key in config.run.allow_change:
        if key not in known:
            raise unknown(key, known, f"allow_change: {key}")


def check_changes(
    found: Sequence[Change], config: TrainingConfig, step: int, entries: Sequence[Entry], where: str, *, kept: bool
) -> None:
    """InputError where options differ that must not, or were not allowed to: now, or at this step before.

    kept: whether the run has a checkpoint.
    """
    stay = [change for change in found if change.key in STAYS and not leaves_best(change)]
    if kept and stay:
        reasons = "; ".join(f"{change}: {STAYS[change.key]}" for change in stay)
        fix = "resume with the same, or begin another run from the model of this one"
        raise InputError(f"no run goes on with this changed: {reasons}", where=where, fix=fix)
    most = config.train.max_steps
    if most is not None and most < step:
        fix = "resume with more, or begin another run for a shorter one"
        raise InputError(f"{step} steps are done, and max_steps is {most}", where=where, fix=fix)
    if left := not_allowed(found, config, step, entries):
        raise refused(left, config, where)


def leaves_best(change: Change) -> bool:
    """Whether the last step's weights are to be saved instead of the best one's: a checkpoint has those."""
    return change.key == "load_best_model_at_end" and change.now is False


def not_allowed(found: Sequence[Change], config: TrainingConfig, step: int, entries: Sequence[Entry]) -> list[Change]:
    """Those of the changes that were not asked for: now, or when the run was last continued from this step."""
    known = [(entry["key"], entry["is"]) for entry in entries if entry["step"] == step]
    return [one for one in found if one.key not in config.run.allow_change and (one.key, one.now) not in known]


def tell_changes(found: Sequence[Change], allowed: Collection[str], step: int) -> None:
    """What goes on changed, and which permissions were not needed."""
    keys = {change.key for change in found}
    for change in found:
        say(f"changed after step {step}: {change}")
    if keys & ORDER:
        say("note: steps are counted on, and go by the new order: groups may come again, or be left out")
    for key in sorted(set(allowed) - keys):
        why = "may always differ" if key in FREE else "does not differ"
        say(f"note: {key} {why}: --allow_change {key} does nothing here")


def tell_undone(found: Sequence[Change], entries: Sequence[Entry], step: int) -> None:
    """Says which changes of an earlier try from this step, which saved nothing, are not made this time."""
    keys = {change.key for change in found}
    for entry in entries:
        if step and entry["step"] == step and entry["key"] not in keys:
            say(f"note: {entry['key']} is {_said(entry['was'])} again, as it was up to step {step}")


def entries_of(found: Sequence[Change], step: int) -> list[Entry]:
    """For run.json."""
    now = time.time()
    return [{"step": step, "key": one.key, "was": one.was, "is": one.now, "time": now} for one in found]


def _free(config: TrainingConfig, before: Mapping[str, Any]) -> set[str]:
    train = config.train
    # What is evaluated when, decides which step is best.
    free = FREE - ({"eval_steps"} if config.best.wanted else set())
    if train.lr_scheduler_type in ("constant", "inverse_sqrt") and not 0 < train.warmup_steps < 1:
        return free | LENGTH
    if train.max_steps is not None and before.get("max_steps") is not None:
        return free | {"num_train_epochs"}  # max_steps decides
    return free


def _said(value: object) -> object:
    return "not given" if value is None else value
