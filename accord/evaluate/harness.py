"""`accord harness`: the tasks of lm-evaluation-harness, by its own library, on any model or adapter of ours."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from scipy.special import ndtri
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.errors import AccordError, InputError, ran_out_of_memory
from accord.evaluate.inputs import check_outputs
from accord.stages.evaluation_configs import HarnessConfig
from accord.stages.harness_options import HarnessOptions
from accord.stages.resolve import nearest
from accord.stages.setup import Given, context, machine, moved, network_of, say, tokenizer_of
from accord.stages.tables import markdown_table, put, show, written

EXTRA = "pip install 'lm_eval[hf]'"
SHOWN = 5  # tasks that an error names


@dataclass
class HarnessResult:
    """What came of it. Python gets this. results: what the library gave, without its samples."""

    rows: list[dict[str, Any]]
    results: dict[str, Any]
    level: float

    def __repr__(self) -> str:
        """Short, as an interactive session shows it; all numbers are in `rows`."""
        return f"<HarnessResult: {len({row['task'] for row in self.rows})} tasks>"

    def cells(self) -> Iterator[dict[str, str]]:
        """The table as people read it."""
        for row in self.rows:
            better = {True: "higher", False: "lower"}.get(row["higher_is_better"], "")
            low, high = row["interval"] or (None, None)
            yield {
                "task": row["task"],
                "metric": row["metric"] + ("" if row["filter"] == "none" else f" ({row['filter']})"),
                "value": f"{row['value']:.4f}",
                "standard_error": "unknown" if row["stderr"] is None else f"{row['stderr']:.4f}",
                f"{100 * self.level:g} % interval": "unknown" if low is None else f"{low:.4f} to {high:.4f}",
                "better": better,
                "n": "" if row["n"] is None else f"{row['n']:,}",
                "few-shot": "" if row["num_fewshot"] is None else str(row["num_fewshot"]),
            }

    def markdown(self) -> str:
        return "\n".join(markdown_table(list(self.cells())))


def run(config: HarnessConfig, given: Given) -> HarnessResult:
    """Loads the model as every command does, asks, prints, and on request writes.

    InputError: the library is not installed, no such task, a task whose data cannot be had or that asks for more.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("lm_eval, the library of the tasks, is not installed", where="accord harness", fix=EXTRA)
    options = config.harness
    check_outputs((), (options.json, options.markdown, options.report), with_folder=(options.samples,))
    _prepare()
    tasks, manager = _tasks(options)
    place = machine(config.model, threads=options.threads, max_tokens=None)
    tokenizer = tokenizer_of(config.model, given)
    network = network_of(config.model.model, given.get("model"), tokenizer, config.model, place)
    if "model" not in given:
        moved(network, place.device, place.dtype)
    length = options.max_length or context(config.model, given)
    results = _asked(_wrapped(network, tokenizer, options, length), tasks, manager, options)
    samples = results.pop("samples", None) or {}
    found = HarnessResult(list(rows_of(results, config.model.model, options.level)), results, options.level)
    _write(found, samples, options)
    return found


def _prepare() -> None:
    """The library says little, and nobody is told that it runs."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


def _tasks(options: HarnessOptions) -> tuple[list[str], Any]:
    """The names that were asked for, patterns written out, and the library's table of all. InputError: no such task."""
    from lm_eval.tasks import TaskManager

    path = options.include_path
    if path is not None and not Path(path).is_dir():
        raise InputError("no such directory", where=path, fix="check --include_path")
    manager = TaskManager(include_path=path)
    known = list(manager.all_tasks)
    found: list[str] = []
    for name in options.tasks:
        matching = [name] if name in known else [one for one in known if fnmatch(one, name)]
        if not matching:
            near = nearest(name, known)
            fix = f"did you mean {near!r}?" if near else "lm_eval ls tasks lists all; --include_path adds your own"
            raise InputError("no such task", where=name, fix=fix)
        found += [one for one in matching if one not in found]
    return found, manager


def _wrapped(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: HarnessOptions, length: int | None
) -> Any:
    """The library's own model class around a network that is loaded: adapters are in it already."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=network, tokenizer=tokenizer, batch_size=options.batch_size, max_length=length)


def _asked(model: Any, tasks: Sequence[str], manager: Any, options: HarnessOptions) -> dict[str, Any]:
    from lm_eval import simple_evaluate

    seeds = {} if options.seed is None else _seeds(options.seed)
    limit = int(options.limit) if options.limit is not None and options.limit >= 1 else options.limit
    try:
        found = simple_evaluate(
            model=model,
            tasks=list(tasks),
            num_fewshot=options.num_fewshot,
            limit=limit,
            bootstrap_iters=options.bootstrap_iters,
            task_manager=manager,
            apply_chat_template=options.apply_chat_template,
            system_instruction=options.system_instruction,
            fewshot_as_multiturn=options.apply_chat_template,
            confirm_run_unsafe_code=options.confirm_run_unsafe_code,
            log_samples=True,
            **seeds,
        )
    except (AccordError, KeyboardInterrupt):
        raise
    except Exception as error:  # tasks are data and code of others, and fail in ways of their own
        if ran_out_of_memory(error):
            raise
        raise _failed(error, tasks) from error
    assert found is not None  # only ranks beyond the first get nothing
    return dict(found)


def _seeds(seed: int) -> dict[str, int]:
    return {f"{name}_seed": seed for name in ("random", "numpy_random", "torch_random", "fewshot_random")}


def _failed(error: Exception, tasks: Sequence[str]) -> InputError:
    line = " ".join(str(error).split())[:300]
    named = ", ".join(tasks[:SHOWN]) + (", ..." if len(tasks) > SHOWN else "")
    fix = (
        "data of tasks come from the Hugging Face hub once, unless HF_HUB_OFFLINE is set; --debug shows where it failed"
    )
    if "confirm_run_unsafe_code" in line:
        line, fix = "runs code that the model writes", "add --confirm_run_unsafe_code, on a machine that may be harmed"
        return InputError(line, where=named, fix=fix)
    return InputError(f"cannot be run ({type(error).__name__}: {line})", where=named, fix=fix)


def rows_of(results: Mapping[str, Any], model: str, level: float) -> Iterator[dict[str, Any]]:
    """A row for each metric of each task and group: the library's `"acc,none"` and `"acc_stderr,none"` put together."""
    for task, figures in {**results["results"], **results.get("groups", {})}.items():
        for key, value in figures.items():
            metric, _, kind = key.partition(",")
            if not kind or metric.endswith("_stderr") or not _is_number(value):
                continue
            error = figures.get(f"{metric}_stderr,{kind}")
            stderr = float(error) if _is_number(error) and math.isfinite(error) else None
            counted = results.get("n-samples", {}).get(task) or {}
            yield {
                "model": model,
                "task": task,
                "metric": metric,
                "filter": kind,
                "value": float(value),
                "stderr": stderr,
                "interval": _interval(float(value), stderr, level),
                "higher_is_better": (results.get("higher_is_better", {}).get(task) or {}).get(metric),
                "n": counted.get("effective"),
                "num_fewshot": results.get("n-shot", {}).get(task),
                "version": results.get("versions", {}).get(task),
                "group": task in results.get("groups", {}),
            }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _interval(value: float, stderr: float | None, level: float) -> list[float] | None:
    """Normal, as the library's errors are those of means of many questions. None where all answers score alike: the
    error is 0 then, which nobody can know from some questions."""
    if not stderr:
        return None
    reach = float(ndtri(0.5 + level / 2)) * stderr
    return [value - reach, value + reach]


def _write(found: HarnessResult, samples: Mapping[str, Any], options: HarnessOptions) -> None:
    if not found.rows:
        say("note: the tasks gave no number")
    if options.samples is not None:
        lines = ({"task": task, **one} for task, every in samples.items() for one in every)
        text = "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines)
        put(options.samples, text, with_folder=True)
    if options.report is not None:
        put(options.report, json.dumps(found.results, indent=2, ensure_ascii=False, default=str) + "\n")
    if options.markdown is not None and found.rows:
        put(options.markdown, found.markdown() + "\n")
    if written(found.rows, options.json) or not found.rows:
        return
    show(list(found.cells()), title=f"{found.rows[0]['model']}, by lm-evaluation-harness")
    if options.limit is not None:
        print("a part of the questions only (--limit): numbers to try with, not to report")
