"""The options of `accord dpo` and `accord online-dpo` that say which loss, and how the reference comes into it."""

from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from accord.stages.options import Options, ReferenceCache


class LossOptions(Options):
    """How comparisons become a loss, wherever they come from."""

    panel: ClassVar[str] = "Preference"
    loss_type: str | list[str | dict[str, JsonValue]] = Field(
        title="NAME",
        description="The loss (accord losses lists them all), several by commas, or in YAML a list of "
        "{name: sigmoid, weight: 1.0, ...}.",
    )
    reference: str | None = Field(
        None, title="DIR_OR_NAME", description="The frozen reference model; not given: the starting model itself."
    )
    beta: float | None = Field(
        None,
        gt=0,
        description="Strength of the pull to the reference: small beta, far from the reference; not given: the loss's "
        "own default, for most 0.1.",
    )
    label_smoothing: float | None = Field(
        None, ge=0, lt=0.5, description="The share of labels taken to be flipped (sigmoid, robust, exo_pair, ...)."
    )
    gamma_beta_ratio: float | None = Field(None, ge=0, description="SimPO's margin over beta [simpo: 0.5].")
    cpo_alpha: float | None = Field(None, ge=0, description="Weight of the likelihood in CPO [cpo: 1].")
    discopop_tau: float | None = Field(None, gt=0, description="Temperature of DiscoPOP's blend [discopop: 0.05].")
    desirable_weight: float | None = Field(None, ge=0, description="Weight of good completions [kto: 1].")
    undesirable_weight: float | None = Field(None, ge=0, description="Weight of bad completions [kto: 1].")
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = Field(
        "reverse_kl", description="The divergence that holds policy and reference together (f-DPO)."
    )
    f_alpha_divergence_coef: float | None = Field(
        None, description="The coefficient of alpha_divergence: 1 is the reverse KL, 0 the forward one [0.5]."
    )
    ld_alpha: float = Field(
        1.0, ge=0, le=1, description="Weight of the tokens by which one completion is longer (LD-DPO); 1 = off."
    )
    use_weighting: bool = Field(False, description="Weigh a pair by how likely the policy is to have written it (WPO).")
    nll_weight: float = Field(
        0.0, ge=0, description="Weight of the chosen completion's mean negative log-likelihood (RPO); 0 = off."
    )

    @model_validator(mode="after")
    def losses_fit(self) -> Self:
        from accord.stages.losses import chosen_loss  # here, not above: it imports torch, and help must not

        chosen_loss(self)
        return self


class PreferenceOptions(LossOptions):
    """The same of comparisons that are there before the first step, so that a reference can be computed before it."""

    reference_cache: ReferenceCache = "auto"
    sync_reference: Literal["none", "soft", "hard"] = Field(
        "none", description="Move the reference to the policy while training (TR-DPO): by sync_alpha, or wholly."
    )
    sync_steps: int = Field(512, ge=1, description="Move the reference every so many steps.")
    sync_alpha: float = Field(0.6, gt=0, le=1, description="How far a soft reference moves to the policy.")
