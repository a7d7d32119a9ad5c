"""From the config of a frontier to its points: a checked config for each run, before any of them begins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.errors import InputError
from accord.evaluate.frontier.methods import BEST_OF_N, Method, methods_of
from accord.stages.config import TrainingConfig
from accord.stages.evaluation_configs import FrontierConfig
from accord.stages.flat_yaml import Given
from accord.stages.judge_options import changed_in
from accord.stages.options import Options
from accord.stages.resolve import resolved
from accord.stages.resuming import differences, started_with
from accord.stages.setup import say
from accord.stages.sweep_report import plain
from accord.training.run import RunFolder


class Files(NamedTuple):
    """Where a frontier keeps what it makes."""

    root: Path

    @property
    def prompts(self) -> Path:
        """That are learnt from."""
        return self.root / "prompts.jsonl"

    @property
    def held_out(self) -> Path:
        """That all is measured on."""
        return self.root / "held_out.jsonl"

    @property
    def comparisons(self) -> Path:
        return self.root / "comparisons.jsonl"

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / name

    def kept(self, kind: str, name: str) -> Path:
        """What was measured of a policy."""
        return self.root / kind / f"{name}.json"


class Planned(NamedTuple):
    """A point. config: of the run that trains it; None for the best of n."""

    name: str
    method: Method
    value: float
    config: TrainingConfig | None

    @property
    def is_trained(self) -> bool:
        """Whether its run came to its end; the summary is written last but for the model card."""
        return self.config is None or (Path(self.config.run.output_dir) / "summary.json").exists()


class Plan(NamedTuple):
    """All points, method by method, as they were asked for. pool: answers of the model itself to each prompt."""

    methods: list[Method]
    points: list[Planned]
    pool: int

    @property
    def trained(self) -> list[Planned]:
        """The points that a run is behind."""
        return [one for one in self.points if one.config is not None]

    @property
    def makes_comparisons(self) -> bool:
        """Whether a method learns from comparisons."""
        return any(method.offline for method in self.methods)


def planned(config: FrontierConfig) -> Plan:
    """InputError: no such method, an option that is none, a value out of range; all before anything is computed."""
    options, files = config.plan, Files(Path(config.plan.output_dir))
    methods = methods_of(options.methods, options.options, options.betas, options.n)
    _check_used(config, methods)
    told: set[str] = set()
    points = [_point(method, value, config, files, told) for method in methods for value in method.values]
    return Plan(methods, points, _pool(config, methods))


def _check_used(config: FrontierConfig, methods: Sequence[Method]) -> None:
    """InputError: an option of methods of which there is none."""
    offline = any(method.offline for method in methods)
    trained = any(method.command != BEST_OF_N for method in methods)
    sampled = any(method.command == BEST_OF_N for method in methods)
    needs = {
        "comparisons": (offline, "dpo"), "comparison_samples": (offline, "dpo"), "draw_ranks": (offline, "dpo"),
        "betas": (trained, "dpo or ppo"), "n": (sampled, BEST_OF_N), "n_samples": (sampled, BEST_OF_N),
    }  # fmt: skip
    for group in (config.plan, config.figures):
        for key in changed_in(group):
            used, which = needs.get(key, (True, ""))
            if not used:
                fix = f"leave it out, or add {which} to --methods"
                raise InputError("would not be used by these methods", where=key, fix=fix)


def _pool(config: FrontierConfig, methods: Sequence[Method]) -> int:
    most = max((int(n) for method in methods if method.command == BEST_OF_N for n in method.values), default=0)
    given = config.figures.n_samples
    if given is not None and given < most:
        raise InputError(f"the best of {most} cannot be told from {given}", where="n_samples", fix="at least as many")
    return max(config.figures.samples, given or 2 * most)


def _point(method: Method, value: float, config: FrontierConfig, files: Files, told: set[str]) -> Planned:
    name = f"{method.name},{method.setting}={plain(value)}"
    if method.command == BEST_OF_N:
        return Planned(name, method, value, None)

    def tell_once(note: str) -> None:
        if note not in told:
            told.add(note)
            say(note)

    known = method.known()
    given = {key: Given(held) for key, held in _shared(config).items() if key in known} | dict(method.options)
    data = (config.plan.comparisons or files.comparisons) if method.offline else files.prompts
    of_run = {"data": str(data), "output_dir": str(files.run(name)), method.key: value}
    found = resolved(
        method.config, given | {key: Given(held) for key, held in of_run.items()}, where="", tell=tell_once
    )
    return Planned(name, method, value, found)


def _shared(config: FrontierConfig) -> dict[str, Any]:
    """What the frontier says for all its runs; what is as it is by default is left to each command."""
    shared = {key: getattr(config.figures, key) for key in ("seed", "threads", "max_new_tokens")}
    groups: Sequence[Options] = (config.model, config.reward_sources)
    for group in groups:
        fields = type(group).model_fields
        shared |= {key: getattr(group, key) for key, field in fields.items() if getattr(group, key) != field.default}
    return shared


def check_begun(one: Planned, made_of: dict[str, str], files: Files) -> bool:
    """Whether the run of a point was begun before. InputError: with other options, or from something else.

    made_of: what it is made from, by name, as digests; kept beside the run when it begins.
    """
    assert one.config is not None
    folder, note = files.run(one.name), files.kept("runs", one.name)
    if not (folder / "run.json").exists():
        return False
    fix = f"remove {folder} to train it anew, or take another --output_dir"
    if (before := started_with(RunFolder(folder))) is not None and (changed := differences(before, one.config)):
        raise InputError(f"it was trained otherwise: {'; '.join(map(str, changed))}", where=one.name, fix=fix)
    held = json.loads(note.read_text(encoding="utf-8")) if note.exists() else made_of
    if others := [key for key, digest in made_of.items() if held.get(key) != digest]:
        what = f"what it was trained from is not what it was: {others[0]}"
        raise InputError(what, where=one.name, fix=fix)
    return True
