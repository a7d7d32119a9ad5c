"""The options of the commands beside training."""

import warnings
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, Data, ImplicitPrompt, MaxTokens, OnBadRow, Options, Seed, Split, Threads

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "json"')  # pydantic's own `json` is deprecated, and not used here

    class TableOptions(Options):
        """Where a table goes besides the terminal."""

        panel: ClassVar[str] = "Output"
        json: str | None = Field(  # type: ignore[assignment]
            None, title="FILE|-", description="Write the table as JSON to this file too; - for standard output instead."
        )


class SweepOptions(Options):
    """Which runs, and whether they are only listed."""

    panel: ClassVar[str] = "Sweep"
    file: str = Field(
        title="FILE.yaml", description="A stage's options and its `command:`; a list stands for values to try."
    )
    dry_run: bool = Field(False, description="Only list the runs, and which are done.")


class NewModelOptions(Options):
    """The shape of a new model and the data of its tokenizer."""

    panel: ClassVar[str] = "New model"
    data: Data
    split: Split = "train"
    on_bad_row: OnBadRow = "error"
    implicit_prompt: ImplicitPrompt = False
    output_dir: str = Field(title="DIR", description="Where the new model directory is written.")
    vocab_size: int = Field(
        8192, ge=264, le=1_000_000, description="Rows of the embedding; the 256 bytes and the control tokens are in it."
    )
    hidden_size: int = Field(256, ge=2, le=65_536, description="Width of the model.")
    layers: int = Field(4, ge=1, le=1_000, description="Number of layers.")
    heads: int = Field(4, ge=1, le=1_024, description="Attention heads of a layer; hidden_size is a multiple.")
    kv_heads: int | None = Field(
        None, ge=1, le=1_024, description="Key-value heads, a divisor of heads; not given: heads / 2."
    )
    intermediate_size: int | None = Field(
        None, ge=1, le=1_000_000, description="Width of the feed-forward layers; not given: chosen from hidden_size."
    )
    context: int = Field(2048, ge=2, le=10_000_000, description="Longest text that the model takes, in tokens.")
    seed: Seed = 0

    @property
    def key_value_heads(self) -> int:
        """`kv_heads`, or half the heads where it is not given."""
        return self.kv_heads if self.kv_heads is not None else max(1, self.heads // 2)

    @model_validator(mode="after")
    def heads_fit(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            what = f"{self.hidden_size} does not give {self.heads} heads of an even width each"
            raise Conflict("hidden_size", what, f"hidden_size must be a multiple of {2 * self.heads} (2 x heads)")
        if self.heads % self.key_value_heads:
            what = f"{self.key_value_heads} does not divide {self.heads} heads"
            raise Conflict("kv_heads", what, "kv_heads must be a divisor of heads")
        return self


class ScoreOptions(Options):
    """Where log-probabilities go."""

    panel: ClassVar[str] = "Output"
    output: str = Field(title="FILE", description="The .jsonl file to write: one line a completion.")
    max_tokens: MaxTokens = None
    threads: Threads = None


class CacheOptions(Options):
    """What is listed, and whether it is removed."""

    panel: ClassVar[str] = "Cache"
    reference_cache: str = Field(
        "auto", title="DIR", description="Which directory; auto: ACCORD_CACHE, else ~/.cache/accord."
    )
    clear: bool = Field(False, description="Remove what is listed.")
    older_than: float | None = Field(
        None, ge=0, title="DAYS", description="List only what was not used for so many days; not given: all."
    )


class DemoOptions(Options):
    """The demo, offline."""

    panel: ClassVar[str] = "Demo"
    output_dir: str = Field("runs/demo", title="DIR", description="Where its models, data, and report.html go.")
    world: Literal["sentiment", "polite", "brief"] = Field(
        "sentiment",
        description="What people want of a text: that it likes its subject; that it is polite, or brief, too.",
    )
    seed: Seed = 0
    threads: int = Field(1, ge=1, description="CPU threads; its models are so small that more seldom help.")


class RunsOptions(Options):
    """Where runs are looked for."""

    panel: ClassVar[str] = "Runs"
    directory: str = Field(".", title="DIR", description="The directory in which, and below which, runs are listed.")


class VerifyOptions(Options):
    """What is verified."""

    panel: ClassVar[str] = "Verify"
    directory: str = Field(
        title="DIR",
        description="A run, a checkpoint, a model that Accord wrote, the cache, or a directory that such are in or "
        "below.",
    )
