"""`accord sweep`: one stage, run once for every combination of values, one after the other.

The file is a stage's own, with `command:` beside its options. A list stands for the values to try. Of an option that
takes a list itself (report_to, lora_target_modules, a combined loss_type), a plain list is one value as ever, and a
list of lists stands for the values to try.
"""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.errors import AccordError, InputError, Stopped
from accord.stages.commands import COMMANDS, execute
from accord.stages.config import SweepConfig, TrainingConfig
from accord.stages.flat_yaml import Given, read_yaml
from accord.stages.leaves import leaves
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.resolve import flat, nearest, resolved
from accord.stages.resuming import check_resumed
from accord.stages.setup import say
from accord.stages.sweep_report import Row, listing, plain, write
from accord.stages.translate import takes_list, target_of
from accord.training.run import RunFolder

SHORT = {"learning_rate": "lr"}
LONGEST_NAME = 120  # characters; a file system takes 255 bytes


class Planned(NamedTuple):
    """One run: its name, what varies of it, its config."""

    name: str
    varied: dict[str, object]
    config: TrainingConfig

    @property
    def is_done(self) -> bool:
        """Whether it has been run to its end; the summary is written last but for the model card."""
        return (Path(self.config.run.output_dir) / "summary.json").exists()


class Sweep(NamedTuple):
    """The runs of a file, in its order: the last option with a list varies fastest."""

    command: str
    folder: Path
    runs: list[Planned]


class Outcome(NamedTuple):
    """What the sweep gives back: the rows of its table, and 0 or the exit code of the first run that failed."""

    rows: list[Row]
    exit_code: int


def run(config: SweepConfig, given: Mapping[str, object]) -> Outcome:
    """Runs what is not done yet and compares all. A run that fails is a row of the table; the others are run."""
    sweep = plan(config.sweep.file)
    if config.sweep.dry_run:
        listing(sweep.folder, [(one.name, "done" if one.is_done else "to run") for one in sweep.runs])
        return Outcome([], 0)
    rows, code = [], 0
    for number, one in enumerate(sweep.runs, 1):
        say(f"run {number} of {len(sweep.runs)}: {one.name}")
        row, failed = _carry_out(sweep.command, one)
        rows.append(row)
        code = code or failed
        gc.collect()  # a network is freed before the next one is loaded
    write(rows, sweep.folder, f"accord sweep {sweep.command}: {sweep.folder.name}")
    return Outcome(rows, code)


def plan(file: str) -> Sweep:
    """The runs that a file asks for, each with a checked config. InputError for a file that is no sweep."""
    given = read_yaml(file)
    command = _command(given, file)
    weighted = "loss_weights" in given
    axes = {key: values for key, held in given.items() if (values := _values(key, held, command, weighted)) is not None}
    if not axes:
        fix = "give an option a list of values; one that takes a list itself (report_to ...) needs a list of lists"
        raise InputError("nothing varies", where=file, fix=fix)
    folder = given.get("output_dir", Given(None)).value
    if not isinstance(folder, str):
        raise InputError("required, and one folder", where=f"{file}: output_dir", fix="the folder of the whole sweep")
    told: set[str] = set()
    configs = [_config(command, combination, told) for combination in _combinations(given, axes)]
    order = [target_of(key, leaves(COMMANDS[command].config)) for key in axes]
    return Sweep(command, Path(folder), _named(configs, order, Path(folder), file))


def _command(given: dict[str, Given], file: str) -> str:
    trains = [name for name, row in COMMANDS.items() if issubclass(row.config, TrainingConfig)]
    held = given.pop("command", None)
    if held is None:
        raise InputError("no command", where=file, fix="a line such as `command: dpo` says which stage")
    if held.value not in trains:
        near = nearest(str(held.value), trains)
        fix = f"did you mean {near!r}?" if near else f"one of {', '.join(trains)}"
        raise InputError(f"{held.value!r} is no stage that trains", where=f"{held.place}: command", fix=fix)
    for key in ("resume", "resume_from_checkpoint", "dry_run", "config"):
        if key in given:
            what = "not in a sweep, which resumes by itself" if key.startswith("resume") else "not in a sweep's file"
            raise InputError(what, where=given[key].at(key, ""), fix="leave it out; --dry_run lists the runs")
    return str(held.value)


def _values(key: str, held: Given, command: str, weighted: bool) -> list[object] | None:
    """The values to try; None where the option does not vary. weighted: loss_type is a sum, as weights are given."""
    if not isinstance(held.value, list):
        return None
    # Names of losses are losses to try: who writes them in a sweep's file seldom means their sum.
    losses = key == "loss_type" and not weighted and not any(isinstance(item, dict) for item in held.value)
    if not losses and takes_list(key, leaves(COMMANDS[command].config)):
        lists = [isinstance(item, list) for item in held.value]
        if any(lists) and not all(lists):
            raise InputError("lists and single values", where=held.at(key, ""), fix="write every value as a list")
        if not any(lists):
            return None
    if not held.value:
        raise InputError("no value in the list", where=held.at(key, ""), fix="give the values to try")
    return list(held.value)


def _combinations(given: Mapping[str, Given], axes: Mapping[str, Sequence[object]]) -> Iterator[dict[str, Given]]:
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        yield {key: held._replace(value=chosen.get(key, held.value)) for key, held in given.items()}


def _config(command: str, given: Mapping[str, Given], told: set[str]) -> TrainingConfig:
    def tell_once(note: str) -> None:
        if note not in told:
            told.add(note)
            say(note)

    config = resolved(COMMANDS[command].config, given, where="", tell=tell_once)
    assert isinstance(config, TrainingConfig)
    if isinstance(config, OnlineDpoConfig) and config.by_people:
        raise InputError("a sweep cannot wait for people", where="judge", fix="let sources of reward judge")
    if config.data.validation == 0 and config.data.eval_data is None:
        what = "a sweep compares held-out figures, and nothing is held out"
        raise InputError(what, where="validation", fix="give validation, for example 0.1, or eval_data")
    return config


def _named(configs: Sequence[TrainingConfig], order: Sequence[str], folder: Path, file: str) -> list[Planned]:
    """Each run with the values in which it differs from the others, and a folder named after them."""
    table = [flat(config) for config in configs]
    keys = dict.fromkeys([*(key for key in order if key in table[0]), *table[0]])
    varied = [key for key in keys if key in order or any(row[key] != table[0][key] for row in table)]
    named: dict[str, Planned] = {}
    for number, (row, config) in enumerate(zip(table, configs, strict=True), 1):
        values = {key: row[key] for key in varied}
        name = ",".join(f"{SHORT.get(key, key)}={plain(value)}" for key, value in values.items())
        if any(other.varied == values for other in named.values()):
            raise InputError(f"two runs are the same ({name or 'all of them'})", where=file, fix="give each value once")
        if name in named or len(name) > LONGEST_NAME:
            name = f"{number:03},{name}"[:LONGEST_NAME]
        own = config.run.model_copy(update={"output_dir": str(folder / name), "resume": True})
        named[name] = Planned(name, values, config.model_copy(update={"run": own}))
    return list(named.values())


def _carry_out(command: str, one: Planned) -> tuple[Row, int]:
    """The row of a run, and its exit code: run now, or read where it is done."""
    folder = Path(one.config.run.output_dir)
    try:
        if one.is_done:
            check_resumed(RunFolder(folder), one.config)
            say(f"done before: {folder}")
        else:
            begun = (folder / "run.json").exists()  # else there is nothing to resume, and nothing to be said of it
            own = one.config.run.model_copy(update={"resume": begun})
            execute(command, one.config.model_copy(update={"run": own}), {})
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except Stopped:
        raise
    except Exception as error:  # one failing run does not lose the others
        code = error.code if isinstance(error, AccordError) else 1
        what = str(error) if isinstance(error, AccordError) else f"{type(error).__name__}: {error}"
        say(f"failed: {what}")
        return Row(one.name, one.varied, str(folder), what.replace("\n", " "), None), code
    return Row(one.name, one.varied, str(folder), "", summary), 0
