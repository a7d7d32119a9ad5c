"""The options of `accord sample` and `accord chat`."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, MaxTokens, Options, Seed, Threads


class DrawingOptions(Options):
    """How a text is drawn from the model, and where it ends."""

    panel: ClassVar[str] = "Sampling"
    max_new_tokens: int = Field(256, ge=1, description="The most tokens of a sample; longer ones are cut.")
    temperature: float = Field(
        1.0, ge=0, le=100, description="1: as the model has it; below, likely words are likelier; 0: the likeliest."
    )
    top_k: int = Field(0, ge=0, description="Draw from so many most probable tokens only; 0 = from all.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Draw from the fewest most probable tokens that together have this probability."
    )
    min_p: float = Field(
        0.0, ge=0, lt=1, description="Draw from tokens that have this share of the most probable one's probability."
    )
    stop: list[str] = Field([], title="TEXT", description="Texts that end a sample, besides EOS; not part of it.")
    seed: Seed = 0
    threads: Threads = None

    @property
    def cut(self) -> tuple[str, ...]:
        """The options that change the model's own distribution."""
        return tuple(key for key in ("top_k", "top_p", "min_p") if getattr(self, key) != DEFAULTS[key])

    @model_validator(mode="after")
    def drawn_from_what_is_left(self) -> Self:
        if self.temperature == 0 and self.cut:
            what = "temperature 0 takes the most probable token, which is never cut off"
            raise Conflict(self.cut[0], what, "leave it out, or give a temperature above 0")
        if "" in self.stop:
            raise Conflict("stop", "an empty text, which stands everywhere", "leave it out")
        return self


DEFAULTS = {key: field.default for key, field in DrawingOptions.model_fields.items()}


class SamplesOptions(Options):
    """How many samples there are, which of them are kept, and where."""

    panel: ClassVar[str] = "Samples"
    output: str = Field(
        title="FILE",
        description="The .jsonl file to write, one line a prompt; packed if its name ends in .gz or .zst.",
    )
    n: int = Field(1, ge=1, le=100_000, description="Samples of each prompt.")
    beams: int = Field(
        1, ge=1, le=10_000, description="More than 1: the n best of a beam search of this width, nothing is drawn."
    )
    length_penalty: float = Field(
        1.0, ge=-100, le=100, description="Beams are ranked by log-probability / length ** this."
    )
    score: str | None = Field(
        None, title="SOURCE", description="Score every sample: a single source, in any form that reward takes."
    )
    keep: Literal["all", "best", "pairs"] | None = Field(
        None,
        description="With scores: write all samples with their ratings, the best as a demonstration, or the best and "
        "the worst as a comparison; not given: all.",
    )
    on_cut: Literal["keep", "drop"] = Field(
        "keep", description="A sample that was cut: write it, marked as not ended, or leave it out and count it."
    )
    sample_rows: int = Field(256, ge=1, description="Samples that are made at the same time: bounds the memory.")
    max_tokens: MaxTokens = None

    @model_validator(mode="after")
    def beams_for_all(self) -> Self:
        if 1 < self.beams < self.n:
            raise Conflict("n", f"{self.n} of {self.beams} beams", "at most as many as beams")
        if self.beams == 1 and self.length_penalty != 1.0:
            raise Conflict("length_penalty", "without beams nothing is ranked", "give beams too, or leave it out")
        return self

    @model_validator(mode="after")
    def two_for_a_pair(self) -> Self:
        if self.keep == "pairs" and self.n < 2:
            raise Conflict("n", "a comparison is of two samples", "at least 2, or another keep")
        return self


class ChatOptions(Options):
    """What a conversation begins with."""

    panel: ClassVar[str] = "Conversation"
    system: str | None = Field(None, title="TEXT", description="The system turn; /system TEXT changes it.")
