"""The options of LoRA adapters: making, training and merging them."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from accord.stages.options import Conflict, Options


class AdapterOptions(Options):
    """A LoRA adapter instead of the whole model: a few small matrices are trained, the model itself is frozen."""

    panel: ClassVar[str] = "Adapter"
    lora_r: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Rank of a new LoRA adapter, which alone is trained; not given: the whole model is.",
    )
    lora_alpha: int = Field(
        32, ge=1, le=1_000_000, description="The adapter's part is multiplied by lora_alpha / lora_r."
    )
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout of the adapter's input while it is trained, of a continued one too."
    )
    lora_target_modules: str | list[str] = Field(
        "all-linear",
        title="NAME[,NAME]",
        description="The layers that get an adapter: the ends of their names, or all-linear: every linear layer but "
        "the output layer.",
    )
    use_rslora: bool = Field(False, description="Multiply by lora_alpha / sqrt(lora_r) instead (rank-stabilised).")
    use_dora: bool = Field(False, description="Train the magnitudes of the adapted weights as well (DoRA).")
    load_in_4bit: bool = Field(
        False, description="Keep the frozen model in 4-bit NF4 (QLoRA); needs an adapter, and bitsandbytes installed."
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """`lora_target_modules`, name by name."""
        given = self.lora_target_modules
        words = given.split(",") if isinstance(given, str) else given
        return tuple(word.strip() for word in words if word.strip())

    @model_validator(mode="after")
    def with_a_rank(self) -> Self:
        for key in ("lora_alpha", "lora_target_modules", "use_rslora", "use_dora"):
            if self.lora_r is None and getattr(self, key) != type(self).model_fields[key].default:
                what = "would not be used: it is of a new adapter, and lora_r is not given"
                raise Conflict(key, what, "give lora_r too (16 is usual), or leave it out")
        if not self.targets or ("all-linear" in self.targets and len(self.targets) > 1):
            what = "all-linear beside other names" if self.targets else "names no layer"
            raise Conflict("lora_target_modules", what, "all-linear alone, or names such as q_proj,v_proj")
        return self


class MergeOptions(Options):
    """An adapter and what it is merged into."""

    panel: ClassVar[str] = "Merge"
    adapter: str = Field(title="DIR_OR_NAME", description="The LoRA adapter.")
    base_model: str | None = Field(
        None, title="DIR_OR_NAME", description="The model it belongs to; not given: the one that its config names."
    )
    output_dir: str = Field(title="DIR", description="Where the merged model is written.")
    dtype: Literal["float32", "bf16"] | None = Field(
        None, description="Number type of the merged weights; not given: that of the model it belongs to."
    )
    trust_remote_code: bool = Field(False, description="Run Python code that lies in the model directory.")
