"""The options that say which step of a run was best, and what follows from it."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, Options

# Held-out figures whose direction is known: True where more is better.
DIRECTIONS = {
    "loss": False, "bits_per_token": False, "mean_token_accuracy": True, "rewards/accuracies": True,
    "rewards/margins": True, "accuracy": True, "zero_one_loss": False, "all_right": True,
    "objective/scores": True, "objective/rlhf_reward": True,
}  # fmt: skip


class BestOptions(Options):
    """Which step was best on the held-out data, and what follows from it. Needs eval_steps and held-out data."""

    panel: ClassVar[str] = "Best step"
    metric_for_best_model: str | None = Field(
        None,
        title="NAME",
        description="The held-out figure that says which step was best, as rewards/accuracies; not given: loss, where "
        "one of the next two asks for it.",
    )
    greater_is_better: bool | None = Field(
        None, description="The figure's direction; not given: accuracies and margins up, losses down."
    )
    load_best_model_at_end: bool = Field(
        False, description="Keep the weights of the best step, and save them in the end instead of the last ones."
    )
    early_stopping_patience: int | None = Field(
        None, ge=1, description="Stop after so many evaluations in a row without a better figure."
    )
    early_stopping_threshold: float = Field(
        0.0, ge=0, description="By how much a figure must be better to start the patience anew."
    )

    @property
    def wanted(self) -> bool:
        """Whether the best step is looked for at all."""
        return bool(self.metric_for_best_model or self.load_best_model_at_end or self.early_stopping_patience)

    @model_validator(mode="after")
    def of_something(self) -> Self:
        if self.greater_is_better is not None and not self.wanted:
            what = "the direction of nothing, as no metric_for_best_model is given"
            raise Conflict("greater_is_better", what, "give metric_for_best_model too")
        metric = (self.metric_for_best_model or "loss").removeprefix("eval_")
        known = DIRECTIONS.get(metric)
        if self.wanted and known is None and self.greater_is_better is None:
            raise Conflict("metric_for_best_model", f"which direction of {metric} is better?", "give greater_is_better")
        if None not in (known, self.greater_is_better) and known != self.greater_is_better:
            what = f"{metric} is better the {'greater' if known else 'smaller'} it is"
            raise Conflict("greater_is_better", what, "leave it out")
        if self.early_stopping_threshold > 0 and self.early_stopping_patience is None:
            raise Conflict("early_stopping_threshold", "without early_stopping_patience", "give both, or leave it out")
        return self
