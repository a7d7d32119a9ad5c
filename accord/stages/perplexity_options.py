"""The options of `accord perplexity`."""

import warnings
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, MaxTokens, ModelOptions, OnBadRow, Options, Split, Threads


class SeveralModelsOptions(ModelOptions):
    """As for one model; what is said of loading holds for each."""

    model: list[str] = Field(  # type: ignore[assignment]
        title="DIR,...", description="The model, or several with commas: a directory, name or LoRA adapter each."
    )

    def each(self) -> list[ModelOptions]:
        """The options of every model by itself."""
        rest = self.model_dump(exclude={"model"})
        return [ModelOptions(model=name, **rest) for name in self.model]

    @model_validator(mode="after")
    def some_model(self) -> Self:
        if not self.model or not all(self.model):
            raise Conflict("model", "names nothing", "give a directory or name, or several with commas")
        if len(set(self.model)) < len(self.model):
            raise Conflict("model", "names one model twice", "name each once")
        return self


class TextOptions(Options):
    """Which texts."""

    panel: ClassVar[str] = "Data"
    data: list[str] = Field(
        title="FILE,...",
        description="Text files (.txt, a folder of them), or documents in any format of docs/data.md; several with "
        "commas.",
    )
    unit: Literal["file", "line"] = Field("file", description="What of a text file is one document.")
    split: Split = "train"
    on_bad_row: OnBadRow = "error"


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class PerplexityOptions(Options):
        """How texts are read by the model, what the intervals go by, and where the figures go."""

        panel: ClassVar[str] = "Perplexity"
        max_length: int | None = Field(
            None, ge=2, description="Tokens of a window; not given: the context of each model."
        )
        stride: int | None = Field(
            None,
            ge=1,
            description="Tokens from one window to the next: each token is predicted once, with at least max_length - "
            "stride of the text before it; not given: half of max_length.",
        )
        first: Literal["auto", "bos", "eos", "nothing"] = Field(
            "auto",
            description="What stands before a plain text, so that its first token is predicted, too; auto: what the "
            "tokenizer puts there, else its BOS, else nothing.",
        )
        ends: bool = Field(
            False, description="Predict EOS after every plain text, too, as the held-out loss of accord pretrain does."
        )
        cluster: Literal["auto", "document", "block"] = Field(
            "auto",
            description="Tokens that may depend on each other: those of a document, or of a stretch of it; auto: "
            "documents, if there are 30 or more.",
        )
        block: int | None = Field(
            None, ge=1, description="Characters of a block; not given: a hundredth of all, at least 1000."
        )
        level: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")
        output: str | None = Field(
            None, title="FILE", description="Write the figures of every document, as .jsonl, a line for each model."
        )
        json: str | None = Field(  # type: ignore[assignment]
            None, title="FILE|-", description="Write the table as JSON to this file too; - for standard output instead."
        )
        markdown: str | None = Field(None, title="FILE", description="Write the table and how it was made as Markdown.")
        max_tokens: MaxTokens = None
        threads: Threads = None

        @model_validator(mode="after")
        def blocks_of_use(self) -> Self:
            if self.block is not None and self.cluster == "document":
                raise Conflict("block", "belongs to blocks, and cluster is document", "leave one of the two out")
            return self
