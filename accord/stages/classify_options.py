"""The options of `accord classify` that say which labels, and which loss."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, Options


class ClassifyOptions(Options):
    """How labels become a loss."""

    panel: ClassVar[str] = "Classifier"
    labels: list[str] = Field(
        [],
        title="NAME[,NAME]",
        description="The labels, in the order of the classifier's numbers; not given: those of the data, sorted.",
    )
    loss_type: Literal["cross_entropy", "logistic", "hinge", "exponential"] = Field(
        "cross_entropy",
        description="The loss: of all labels together (cross_entropy), or a surrogate of the 0-1 loss for two labels, "
        "-1 and +1, or for each label by itself where several may hold.",
    )
    class_weight: Literal["none", "balanced"] = Field(
        "none", description="Count all texts alike, or so that rare labels weigh as much as frequent ones (balanced)."
    )
    lm_alpha: float = Field(
        0.0, ge=0, description="Weight of the auxiliary language-model loss on all tokens of the same texts; 0 = off."
    )

    @model_validator(mode="after")
    def labels_differ(self) -> Self:
        twice = [name for name in self.labels if self.labels.count(name) > 1]
        if twice:
            raise Conflict("labels", f"{twice[0]} is named twice", "name each label once")
        if not all(name.strip() for name in self.labels):
            raise Conflict("labels", "an empty name", "give names with commas between them, as fine,toxic")
        return self
