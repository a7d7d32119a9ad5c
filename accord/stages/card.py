"""README.md of a trained model: what it was made from, how, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord import __version__
from accord.data.take import Kind
from accord.stages.config import DpoConfig, TrainingConfig
from accord.stages.losses import kind_of, names_of
from accord.stages.online_config import OnlineDpoConfig
from accord.stages.resolve import dump
from accord.stages.rl_names import ALGORITHMS

WORDS: dict[str, str] = {
    "pretrain": "pre-trained on texts",
    "sft": "fine-tuned on demonstrations",
    "dpo": "aligned with comparisons by direct preference optimisation",
    "online-dpo": "aligned with judgements of its own samples by direct preference optimisation",
    "reward": "reward model of comparisons",
    "classify": "classifier of labelled texts",
    **{name: f"aligned with rewards by reinforcement learning ({name})" for name in ALGORITHMS},
}
SCORERS = ("reward", "classify")
SOURCES: dict[Kind, str] = {"pairs": "comparisons", "labels": "labelled completions", "rankings": "rankings"}


def model_card(
    command: str,
    config: TrainingConfig,
    summary: Mapping[str, Any],
    *,
    base: str | None = None,
    findings: Sequence[str] = (),
) -> str:
    """Markdown with the front matter that the Hugging Face hub reads. base: of an adapter, the model it belongs to.

    findings: lines of Markdown that the stage adds to the results.
    """
    data = summary["data"]
    return "\n".join(
        [
            "---",
            *_front(command, base),
            "---",
            "",
            f"# {_title(command, config)}",
            "",
            f"Made by Accord {__version__} with `accord {command}` from `{config.model.model}`.",
            *([] if base is None else [f"It is a LoRA adapter for the model `{base}`, which it does not contain."]),
            "",
            "## Data",
            "",
            f"`{config.data.data}`: {data['report']}. Trained on {summary['train_groups']} groups, "
            f"{summary['held_out_groups']} held out.",
            f"Fingerprint of the tokens: `{data['fingerprint']}`.",
            "",
            *_losses(summary),
            "## Results",
            "",
            *_results(summary),
            "",
            *([*findings, ""] if findings else []),
            *_warnings(summary),
            *_changes(summary),
            "## Use",
            "",
            "```python",
            *_use(_kind(command, summary), adapter=base is not None, labels=summary.get("labels")),
            "```",
            "",
            "## Configuration",
            "",
            "```yaml",
            dump(config).rstrip(),
            "```",
            "",
        ]
    )


def _kind(command: str, summary: Mapping[str, Any]) -> str:
    """Of the Auto classes, the one that loads it."""
    if command in SCORERS:
        return "SequenceClassification"
    return "Seq2SeqLM" if summary["layout"] == "encoder" else "CausalLM"


def _warnings(summary: Mapping[str, Any]) -> list[str]:
    """What was seen while it was trained, as of a reward that may be exploited: whoever uses it should know."""
    if not summary.get("warnings"):
        return []
    return ["## Warnings while it was trained", "", *(f"- {one}" for one in summary["warnings"]), ""]


def _changes(summary: Mapping[str, Any]) -> list[str]:
    """Options that did not hold from the first step on."""
    if not summary["changes"]:
        return []
    rows = [
        f"- after step {one['step']}: `{one['key']}` was {one['was']}, is {one['is']}" for one in summary["changes"]
    ]
    return ["## Changed while it was trained", "", *rows, ""]


def _title(command: str, config: TrainingConfig) -> str:
    """What was learnt from, and by which losses: DPO only where it was that."""
    if not isinstance(config, DpoConfig | OnlineDpoConfig) or (names := names_of(config.preference)) == ["sigmoid"]:
        return WORDS[command].capitalize()
    own = " of its own samples" if isinstance(config, OnlineDpoConfig) else ""
    return f"Aligned with {SOURCES[kind_of(names[0])]}{own} by {' + '.join(names)}"


def _losses(summary: Mapping[str, Any]) -> list[str]:
    """The losses with their numbers as they were used; the configuration has only what was given."""
    rows = summary.get("losses", ())
    if not rows:
        return []
    return ["## Loss", "", "; ".join(f"`{row['name']}` ({_numbers(row)})" for row in rows), ""]


def _numbers(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in row.items() if key != "name")


def _front(command: str, base: str | None) -> list[str]:
    """The hub takes only names of its own for `base_model`, and refuses a card that holds a path."""
    tags = ["accord", command, *(["lora"] if base is not None else [])]
    named = [f"base_model: {base}"] if base and not Path(base).is_absolute() else []
    library = "transformers" if base is None else "peft"
    task = "text-classification" if command in SCORERS else "text-generation"
    return [f"library_name: {library}", *named, f"pipeline_tag: {task}", f"tags: [{', '.join(tags)}]"]


def _use(kind: str, *, adapter: bool, labels: Sequence[str] | None) -> list[str]:
    """labels: of a classifier. peft makes the head anew, and has to be told how large it is."""
    package, name = ("peft", f"AutoPeftModelFor{kind}") if adapter else ("transformers", f"AutoModelFor{kind}")
    sized = f", num_labels={len(labels or ('reward',))}" if adapter and kind == "SequenceClassification" else ""
    imports = [f"from {package} import {name}", "from transformers import AutoTokenizer"]
    if not adapter:
        imports = [f"from {package} import {name}, AutoTokenizer"]
    return [
        *imports,
        "",
        f'model = {name}.from_pretrained("."{sized})',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        # The base may pad with the token that ends an answer, and stock looks for the last one that is no padding.
        *(["model.config.pad_token_id = tokenizer.pad_token_id"] if sized else []),
    ]


def _results(summary: Mapping[str, Any]) -> list[str]:
    done = f"{summary['steps']} steps in {summary['seconds']:.0f} s."
    if not summary["held_out"]:
        return [done, "", "No data was held out."]
    rows = ["| held out | before | after | 95 % interval |", "| --- | --- | --- | --- |"]
    for name, figures in summary["held_out"].items():
        before, after = figures["before"], figures["after"]
        ends = [end for end in after["interval"] if end is not None]
        interval = f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else "unknown"
        was = f"{before['mean']:.4f}" if before else ""
        rows.append(f"| {name} | {was} | {after['mean']:.4f} | {interval} |")
    return [done, "", *rows]
