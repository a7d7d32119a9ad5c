"""The options of `accord harness`. Their names and meanings are those of lm-evaluation-harness."""

import warnings
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, Options, Threads

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class HarnessOptions(Options):
        """Which tasks, how they are asked, and where the results go."""

        panel: ClassVar[str] = "Harness"
        tasks: list[str] = Field(
            title="TASK,...",
            description="Tasks and groups of lm-evaluation-harness, or of include_path, as truthfulqa_mc2,mmlu; * and "
            "? stand for any letters.",
        )
        include_path: str | None = Field(
            None, title="DIR", description="A directory with tasks of your own: YAML, which may name Python code."
        )
        num_fewshot: int | None = Field(
            None, ge=0, description="Solved examples before each question; not given: as each task has it."
        )
        limit: float | None = Field(
            None,
            gt=0,
            description="Questions of each task, or a share of them if below 1: for trying, not for numbers.",
        )
        batch_size: int | Literal["auto"] = Field(
            8, description="Texts computed together, or auto: as many as fit, found by trying."
        )
        max_length: int | None = Field(
            None, ge=2, description="Tokens of a text, longer ones lose their start; not given: the model's context."
        )
        apply_chat_template: bool = Field(False, description="Ask in the model's chat template, not as plain text.")
        system_instruction: str | None = Field(None, title="TEXT", description="A system turn before every question.")
        confirm_run_unsafe_code: bool = Field(
            False, description="Allow tasks that run on this machine the code that the model writes."
        )
        seed: int | None = Field(
            None,
            ge=0,
            le=2**32 - 1,
            description="Of the choice of solved examples; not given: the harness's own, as in published numbers.",
        )
        bootstrap_iters: int = Field(
            100_000,
            ge=0,
            le=10_000_000,
            description="Resamples for the error of what is no mean, as BLEU; 0: no error.",
        )
        level: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")
        json: str | None = Field(  # type: ignore[assignment]
            None, title="FILE|-", description="Write the table as JSON to this file too; - for standard output instead."
        )
        markdown: str | None = Field(None, title="FILE", description="Write the table as Markdown.")
        report: str | None = Field(
            None, title="FILE", description="Write all that the harness says as JSON: configs, versions, seeds."
        )
        samples: str | None = Field(
            None, title="FILE", description="Write every question, the model's answer and its score, as .jsonl."
        )
        threads: Threads = None

        @model_validator(mode="after")
        def of_use(self) -> Self:
            if not self.tasks or not all(self.tasks):
                raise Conflict("tasks", "names nothing", "name tasks, as truthfulqa_mc2")
            if isinstance(self.batch_size, int) and self.batch_size < 1:
                raise Conflict("batch_size", f"{self.batch_size} is out of range", "at least 1, or auto")
            if self.limit is not None and self.limit > 1 and not self.limit.is_integer():
                raise Conflict(
                    "limit", f"{self.limit:g} is neither a number of questions nor a share", "as 100, or 0.1"
                )
            if self.system_instruction is not None and not self.apply_chat_template:
                what = "a system turn, and questions are plain text"
                raise Conflict("system_instruction", what, "give apply_chat_template too, or leave it out")
            return self
