"""The options of `accord frontier`: which policies, on which prompts, and what is measured of them."""

from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from accord.stages.options import Conflict, Data, OnBadRow, Options, Seed, Split, Threads

HELD_OUT = 0.2  # of the prompts, where no others are given to measure on


class FrontierPromptOptions(Options):
    """Which prompts are learnt from, and on which all is measured."""

    panel: ClassVar[str] = "Data"
    data: Data
    prompts: str | None = Field(
        None,
        title="FILE_OR_NAME",
        description="Other prompts, on which all is measured; not given: a share of data's, which is not learnt from.",
    )
    validation: float | None = Field(
        None, gt=0, lt=1, description="That share, chosen by a hash of the prompt; not given: 0.2."
    )
    split: Split = "train"
    on_bad_row: OnBadRow = "error"

    @model_validator(mode="after")
    def held_out_once(self) -> Self:
        if self.prompts is not None and self.validation is not None:
            raise Conflict("validation", "not together with prompts", "give one of the two")
        return self


class PolicyPlanOptions(Options):
    """Which policies the frontier is made of."""

    panel: ClassVar[str] = "Policies"
    methods: list[str] = Field(
        ["dpo", "ppo", "best_of_n"],
        min_length=1,
        title="NAME,...",
        description="dpo or any of its losses (accord losses), ppo, reinforce, rloo, grpo, online-dpo, best_of_n, or a "
        "name of one's own from the file of options.",
    )
    betas: list[float] = Field(
        [0.03, 0.1, 0.3, 1.0],
        min_length=1,
        title="NUMBERS",
        description="Of each method that trains a run for each: its beta, or kl_coef.",
    )
    n: list[int] = Field(
        [1, 2, 4, 8, 16, 32], min_length=1, title="NUMBERS", description="Of best_of_n a point for each."
    )
    options: str | None = Field(
        None,
        title="FILE.yaml",
        description="Options of the runs: at its top for all that have them, under the name of a method its own, as in "
        "the config of its command (docs/frontier.md).",
    )
    comparisons: str | None = Field(
        None,
        title="FILE_OR_NAME",
        description="What dpo and its losses learn from; not given: samples of the model, ordered by the reward.",
    )
    comparison_samples: int = Field(4, ge=2, le=4096, description="Of each prompt, for these comparisons.")
    draw_ranks: bool = Field(
        True,
        description="Draw their order as judges would whose Bradley-Terry rewards the scores are, of which sigmoid has "
        "the optimum of ppo at the same beta; false: by score.",
    )
    output_dir: str = Field(title="DIR", description="Where runs, answers, frontier.json and frontier.png go.")
    dry_run: bool = Field(False, description="Only list the points, and which are done.")

    @model_validator(mode="after")
    def each_once(self) -> Self:
        for key in ("methods", "betas", "n"):
            values = getattr(self, key)
            if twice := [one for one in values if values.count(one) > 1]:
                raise Conflict(key, f"names {twice[0]} twice", "name each once")
        if wrong := [one for one in self.betas if not one > 0]:
            raise Conflict("betas", f"{wrong[0]:g} is not above 0", "give numbers above 0")
        if fewer := [one for one in self.n if one < 1]:
            raise Conflict("n", f"the best of {fewer[0]} is none", "give numbers of at least 1")
        return self

    @model_validator(mode="after")
    def made_or_given(self) -> Self:
        if self.comparisons is not None:
            for key in ("comparison_samples", "draw_ranks"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise Conflict(key, "comparisons are given, and none are made", "give one of the two")
        return self


class FrontierFiguresOptions(Options):
    """What is measured of every policy, and how sure it is."""

    panel: ClassVar[str] = "Figures"
    gold: str | list[str | dict[str, JsonValue]] | None = Field(
        None,
        title="SOURCE",
        description="What was meant, in the forms of reward: a second score of all answers, not learnt from.",
    )
    samples: int = Field(4, ge=1, le=4096, description="Answers of each policy to each prompt.")
    n_samples: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Answers of the model to each prompt that the best of n is estimated from; not given: twice the "
        "largest n.",
    )
    max_new_tokens: int = Field(
        128, ge=1, description="The most tokens of an answer, also where runs and comparisons sample."
    )
    kl: Literal["k3", "k1"] = Field(
        "k3", description="The estimator of the KL that points are drawn at; the table has both (docs/frontier.md)."
    )
    level: float = Field(0.95, gt=0, lt=1, description="Of the intervals.")
    rounds: int = Field(1000, ge=50, le=100_000, description="Resamples of the prompts.")
    seed: Seed = 0
    threads: Threads = None
