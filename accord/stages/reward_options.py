"""The options of `accord reward` that say which loss, and what becomes of ties, ratings and margins."""

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from accord.stages.options import Conflict, Options


class RewardOptions(Options):
    """How judgements become a loss of scores."""

    panel: ClassVar[str] = "Reward"
    loss_type: Literal["bradley_terry", "hinge", "exponential", "plackett_luce"] = Field(
        "bradley_terry",
        description="The loss: of all pairs of a group (the first three), or of its whole ranking; docs/losses.md.",
    )
    ties: Literal["none", "half", "davidson"] = Field(
        "none",
        description="Tied completions: no pair, a pair of which either is better half of the time, or an outcome of "
        "its own (Davidson's model).",
    )
    tie_strength: float | None = Field(
        None, gt=0, le=1e6, description="Davidson's nu: equal scores tie with probability nu / (2 + nu) [davidson: 1]."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="The share of judgements taken to be the wrong way round."
    )
    soft_labels: bool = Field(
        False,
        description="Learn from ratings how likely one completion is better: sigma(rating_scale x their difference).",
    )
    rating_scale: float | None = Field(
        None, gt=0, le=1e6, description="What soft_labels multiply differences of ratings by [1]."
    )
    use_margin: bool | None = Field(
        None, description="Scores of a pair are to differ by its margin at least; not given: where the data have some."
    )
    center_coefficient: float = Field(
        0.0, ge=0, description="Times (the sum of a pair's scores)^2, which holds scores around 0; 0.01 is usual."
    )
    demonstrations: str | None = Field(
        None,
        title="FILE_OR_NAME",
        description="Demonstrations, whose scores are to have mean 0 when normalised; not given: the chosen sides.",
    )

    @field_validator("loss_type", mode="before")
    @classmethod
    def of_pairs_or_rankings(cls, value: object) -> object:
        if value == "davidson":
            what = "davidson is what becomes of ties, beside the loss bradley_terry"
            raise Conflict("loss_type", what, "give ties davidson in its place")
        return value

    @model_validator(mode="after")
    def losses_fit(self) -> Self:
        from accord.stages.reward_losses import reward_term  # here, not above: it imports torch, and help must not

        reward_term(self)
        return self
