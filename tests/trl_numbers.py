"""Asks TRL's own trainers for the loss of given log-probabilities. Run by an interpreter that has TRL, not by ours.

Standard input: JSON, a list of requests. Standard output: JSON, for each its loss and the loss's gradient with respect
to the policy's token log-probabilities. The trainers are TRL's, made without their __init__, which would load models
and data; the model is a stand-in that answers with the given log-probabilities.
"""

import json
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
import trl
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

PROMPT = 1  # one token before each completion: ORPO's likelihood then has no prompt in it


class Answering(torch.nn.Module):
    """Says the same log-probabilities of whatever it is asked."""

    is_gradient_checkpointing = False

    def __init__(self, **answers: torch.Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, *args: Any, **kwargs: Any) -> SimpleNamespace:
        return SimpleNamespace(**self.answers)


def padded(rows: list[list[float]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [0.0] * (width - len(row)) for row in rows])


def inputs(rows: list[list[float]]) -> dict[str, torch.Tensor]:
    """Ids (all 0, padding too), attention and completion masks of rows of so many tokens behind a prompt."""
    width = PROMPT + max(map(len, rows))
    attention = torch.tensor([[1] * (PROMPT + len(row)) + [0] * (width - PROMPT - len(row)) for row in rows])
    completion = attention.clone()
    completion[:, :PROMPT] = 0
    return {"input_ids": torch.zeros_like(attention), "attention_mask": attention, "completion_mask": completion}


def figures(token: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the trainers report beside the loss."""
    zero = torch.zeros_like(token)
    return {"entropy": zero, "mean_logits": zero, "is_top1": zero.bool()}


def accelerator() -> SimpleNamespace:
    return SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x)


def made(trainer: type, request: dict[str, Any], **more: Any) -> Any:
    one = object.__new__(trainer)
    common = {
        "accelerator": accelerator(),
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "aux_loss_enabled": False,
        "precompute_ref_logps": False,
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    for name, value in {**common, **more, **request["settings"]}.items():
        setattr(one, name, value)
    return one


def of_dpo(request: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    token = padded(request["policy"]).requires_grad_()
    collision = padded(request.get("log_collision", request["policy"]))
    policy = Answering(log_probs=token, log_sum_sq_probs=collision, **figures(token))
    reference = Answering(log_probs=padded(request["reference"]))
    settings = {
        "beta": 0.1,
        "label_smoothing": 0.0,
        "loss_weights": [1.0],
        "ld_alpha": None,
        "use_weighting": False,
        "f_divergence_type": "reverse_kl",
        "f_alpha_divergence_coef": 0.5,
    }
    args = SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=request.get("discopop_tau", 0.05))
    trainer = made(
        DPOTrainer, request, **(settings | request["settings"]), args=args, model=policy, ref_model=reference
    )
    return trainer._compute_loss(policy, inputs(request["policy"]), False), token


def of_kto(request: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    token = padded(request["policy"]).requires_grad_()
    mismatched = request["mismatched"]

    class Both(Answering):
        """Answers about the completions, or about those of other prompts."""

        def __init__(self, own: torch.Tensor, other: torch.Tensor) -> None:
            super().__init__(**figures(own))
            self.own, self.other = own, other

        def forward(self, *, input_ids: torch.Tensor, **kwargs: Any) -> SimpleNamespace:
            asked = self.own if len(input_ids) == len(self.own) else self.other
            return SimpleNamespace(log_probs=asked, **self.answers)

    policy = Both(token, padded(mismatched["policy"]))
    reference = Both(padded(request["reference"]), padded(mismatched["reference"]))
    other = {f"KL_{name}": value for name, value in inputs(mismatched["policy"]).items()}
    batch = {**inputs(request["policy"]), **other, "label": torch.tensor(request["label"])}
    args = SimpleNamespace(gradient_checkpointing_kwargs=None)
    calculate = request["settings"]["loss_type"] == "kto"
    trainer = made(KTOTrainer, request, args=args, model=policy, ref_model=reference, calculate_KL=calculate)
    return trainer._compute_loss(policy, batch, False), token


def of_two_logits(trainer_type: type, request: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """CPO and ORPO take logits: of two words, of which the first is the one that is written."""
    token = padded(request["policy"]).requires_grad_()
    rows = inputs(request["policy"])
    logits = torch.stack([token, torch.log(-torch.expm1(token.clamp(max=-1e-6)))], -1)
    logits = torch.cat([logits, torch.zeros_like(logits[:, :1])], 1)  # the last place predicts nothing
    half = len(token) // 2
    labels = rows["input_ids"].masked_fill(rows["completion_mask"] == 0, -100)
    batch = {}
    for name, part in (("chosen", slice(None, half)), ("rejected", slice(half, None))):
        batch[f"{name}_input_ids"], batch[f"{name}_labels"] = rows["input_ids"][part], labels[part]
        batch[f"{name}_attention_mask"] = rows["attention_mask"][part]
    model = Answering(logits=logits)
    trainer = made(trainer_type, request, is_encoder_decoder=False, pad_token_id=0, padding_value=0)
    loss, _ = trainer.get_batch_loss_metrics(model, batch)
    return loss, token


def answer(request: dict[str, Any]) -> dict[str, Any]:
    trainers = {
        "dpo": of_dpo,
        "kto": of_kto,
        "cpo": lambda one: of_two_logits(CPOTrainer, one),
        "orpo": lambda one: of_two_logits(ORPOTrainer, one),
    }
    loss, token = trainers[request["trainer"]](request)
    (gradient,) = torch.autograd.grad(loss, token)
    return {"loss": loss.item(), "gradient": gradient.tolist()}


if __name__ == "__main__":
    assert trl.__version__.startswith("1.16."), f"the numbers to compare with are TRL 1.16's, not {trl.__version__}'s"
    json.dump([answer(request) for request in json.load(sys.stdin)], sys.stdout)
