"""README.md of a trained model: what it was made from, how, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord import __version__
from accord.stages.config import TrainingConfig
from accord.stages.resolve import dump

WORDS = {
    "pretrain": "pre-trained on texts",
    "sft": "fine-tuned on demonstrations",
    "dpo": "aligned with comparisons by direct preference optimisation",
}


def model_card(command: str, config: TrainingConfig, summary: Mapping[str, Any]) -> str:
    """Markdown with the front matter that the Hugging Face hub reads."""
    data = summary["data"]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            f"tags: [accord, {command}]",
            "---",
            "",
            f"# {WORDS[command].capitalize()}",
            "",
            f"Made by Accord {__version__} with `accord {command}` from `{config.model.model}`.",
            "",
            "## Data",
            "",
            f"`{config.data.data}`: {data['report']}. Trained on {summary['train_groups']} groups, "
            f"{summary['held_out_groups']} held out.",
            f"Fingerprint of the tokens: `{data['fingerprint']}`.",
            "",
            "## Results",
            "",
            *_results(summary),
            "",
            "## Use",
            "",
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = AutoModelForCausalLM.from_pretrained(".")',
            'tokenizer = AutoTokenizer.from_pretrained(".")',
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
