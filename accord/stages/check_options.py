"""The options of `accord check`."""

import warnings
from typing import ClassVar, Self

from pydantic import Field, JsonValue, model_validator

from accord.data.findings import Stage
from accord.stages.options import Conflict, Data, ImplicitPrompt, Options, Split

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class CheckOptions(Options):
        """Which data, for which stage, and what is made of the findings."""

        panel: ClassVar[str] = "Data"
        data: Data
        split: Split = "train"
        stage: Stage | None = Field(
            None,
            description="The stage that the data are for, as it decides what is an error; not given: what they hold "
            "(comparisons dpo, labels kto, demonstrations sft, texts pretrain, prompts rl).",
        )
        implicit_prompt: ImplicitPrompt = False
        eval_data: str | None = Field(
            None, title="FILE_OR_NAME", description="Held-out data: prompts that are in both are found."
        )
        eval_split: str | None = Field(
            None, title="NAME", description="Which split of a named eval_data; not given: the one of split."
        )
        near: bool = Field(True, description="Look for rows of nearly the same text, too; false is faster.")
        json: str | None = Field(  # type: ignore[assignment]
            None, title="FILE|-", description="Write all findings and figures as JSON; - for standard output instead."
        )
        plot: str | None = Field(
            None, title="FILE.png", description="Draw the lengths and findings; .pdf and .svg too."
        )
        fix: str | None = Field(
            None,
            title="OUT",
            description="Write the rows that can be used, as they stand, to this file, and what was left out and why "
            "to another one beside it. Left out are rows with errors, and all but the first of equal rows.",
        )

        @model_validator(mode="after")
        def a_split_of_something(self) -> Self:
            if self.eval_split is not None and self.eval_data is None:
                raise Conflict("eval_split", "a split of nothing, as no eval_data is given", "give eval_data too")
            return self


class CheckTokensOptions(Options):
    """The tokenizer, for what only tokens show."""

    panel: ClassVar[str] = "Tokens"
    model: str | None = Field(
        None,
        title="DIR_OR_NAME",
        description="A model whose tokenizer and chat template the data are for; its weights are not read.",
    )
    base_model: str | None = Field(
        None,
        title="DIR_OR_NAME",
        description="If model is an adapter: the model it belongs to; not given: the one that its config names.",
    )
    trust_remote_code: bool = Field(False, description="Run Python code that lies in the model directory.")
    chat_template: str | None = Field(
        None, title="FILE", description="A Jinja chat template to use instead of the tokenizer's own."
    )
    chat_template_kwargs: dict[str, JsonValue] = Field(
        {}, title="JSON", description="Variables for the chat template, as '{\"enable_thinking\": false}'."
    )
    max_length: int | None = Field(
        None, ge=2, description="Longest prompt and completion together, in tokens; not given: as in training, 1024."
    )
    show: int = Field(0, ge=0, description="Print so many groups token by token: who says it, and what carries loss.")

    @model_validator(mode="after")
    def a_model_for_tokens(self) -> Self:
        for key, value in type(self).model_fields.items():
            if self.model is None and getattr(self, key) != value.default:
                raise Conflict(key, "is about tokens, and no model is given", "give model too, or leave it out")
        return self
