"""Answers as AlpacaEval's files of what a model answered."""

from __future__ import annotations

from collections.abc import Sequence

from accord.data.model_outputs import Output, is_instruction, output_row
from accord.data.write import row_writer
from accord.evaluate.answers import Answers, Asked

AtLevels = Sequence[tuple[float | None, Answers]]  # what one model answered, at each temperature


def write_answers(paths: Sequence[str], prompts: Sequence[Asked], answers: Sequence[AtLevels]) -> None:
    """The answers of each model into the file of its place, prompt by prompt. StorageError: it cannot be written."""
    simple = all(is_instruction(prompt.prompt) for prompt in prompts)
    for path, levels in zip(paths, answers, strict=False):
        with row_writer(path) as writer:
            for level, one in levels:
                for prompt in prompts:
                    if (answer := one.of.get(prompt.id)) is not None:
                        said = Output(
                            prompt.prompt, answer.text, answer.model, answer.ended, prompt.category, prompt.id
                        )
                        at = {} if level is None else {"temperature": level}
                        writer.add(output_row(said, simple=simple) | at)
