"""Mixtures of experts: the balance loss is stock's, in every layout, and does not depend on how a step is cut."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from test_families import ATTENTION
from test_logprobs import GROUPS
from torch import Tensor

import accord
from accord.data.batches import arrange
from accord.data.cut import micro_batches
from accord.errors import InputError
from accord.models.experts import Recorder, Routing, check_balance, coefficient
from accord.models.load import load_network
from accord.models.logprobs import LanguageModel, logprobs, routing_of

BALANCED = ["mixtral", "qwen3-moe", "gpt-oss"]


def stock_aux(network: Any, groups: Any) -> Tensor:
    """What stock adds to its loss for these groups as padded rows, before the coefficient."""
    rows = arrange(groups, "rows")
    mask = torch.zeros_like(rows.tokens)
    for segment in rows.segments:
        mask[segment.row, : segment.end] = 1
    found: Tensor = network(input_ids=rows.tokens, attention_mask=mask, output_router_logits=True).aux_loss
    return found


def test_balance_by_hand() -> None:
    """Two tokens, two experts, one chosen each time: the first both times, at 0.75 and 0.6."""
    router = torch.tensor([[0.75, 0.25], [0.6, 0.4]]).log()

    def network(**inputs: Any) -> Any:
        return type("Output", (), {"router_logits": (router,)})

    recorder = Recorder(network)
    recorder()
    one = tiny.mixtral(num_local_experts=2, num_experts_per_tok=1)
    routing = recorder.sums(one, [torch.ones(2)])
    assert routing is not None
    assert routing.chosen.tolist() == [2, 0]
    assert routing.probability.tolist() == pytest.approx([1.35, 0.65])
    assert routing.balance().item() == pytest.approx(2 * (1 * 0.675 + 0 * 0.325))
    even = Routing(torch.tensor([3.0, 3.0]), torch.tensor([3.0, 3.0]), torch.tensor(6.0))
    assert even.balance().item() == pytest.approx(1.0)
    # Half of the tokens of a step whose f is (5/8, 3/8): 2 * (5/8 * 1.35/8 + 3/8 * 0.65/8).
    assert routing.balance(routing + even).item() == pytest.approx(2 * (0.625 * 0.16875 + 0.375 * 0.08125))


@pytest.mark.parametrize("layout", ["tree", "cache", "rows"])
@pytest.mark.parametrize("name", BALANCED)
def test_the_balance_loss_and_its_gradient_are_stocks_for_rows(name: str, layout: Any) -> None:
    """A prompt that is computed once counts as often as it has completions; padding does not count."""
    network = ATTENTION[name]()
    truth = stock_aux(network, GROUPS)
    expected = tiny.gradients(network, truth)
    model = LanguageModel(network, layout)
    with model.segmented():
        aux = logprobs(model, arrange(GROUPS, layout)).aux
        assert aux is not None
        assert aux.item() == pytest.approx(truth.item(), rel=1e-5)
        assert tiny.distance(tiny.gradients(network, aux), expected) < 1e-4
        counted = routing_of(model, arrange(GROUPS, layout))
    assert counted is not None
    assert counted.balance().item() == pytest.approx(truth.item(), rel=1e-5)


def test_the_stock_output_layer_keeps_it_too() -> None:
    network = tiny.mixtral()
    aux = logprobs(LanguageModel(network, "rows", "stock"), arrange(GROUPS, "rows")).aux
    assert aux is not None
    assert aux.item() == pytest.approx(stock_aux(network, GROUPS).item(), rel=1e-5)


@pytest.mark.parametrize("layout", ["tree", "cache", "rows"])
def test_the_parts_of_a_step_add_up_to_the_step(layout: Any) -> None:
    """By themselves they do not: it is a product of two means."""
    model = LanguageModel(tiny.mixtral(), layout)
    with torch.no_grad(), model.segmented():
        parts = [
            logprobs(model, batch).routing
            for batch in micro_batches(GROUPS, range(len(GROUPS)), max_tokens=60, layout=layout)
        ]
    assert len(parts) >= 2
    step = parts[0]
    for part in parts[1:]:
        step = step + part
    truth = stock_aux(model.network, GROUPS).item()
    assert sum(part.balance(step).item() for part in parts) == pytest.approx(truth, rel=1e-5)
    alone = sum(part.balance().item() * part.tokens.item() for part in parts) / step.tokens.item()
    assert alone != pytest.approx(truth, rel=1e-4)


def test_where_there_is_a_balance_loss() -> None:
    """As in stock: the coefficient of the config, of models whose forward pass computes such a loss."""
    assert coefficient(tiny.mixtral()) == 0.001
    assert coefficient(tiny.mixtral(router_aux_loss_coef=0.5)) == 0.5
    assert coefficient(tiny.llama()) == 0.0
    assert coefficient(ATTENTION["deepseek-v3"]()) == 0.0  # balanced by a bias instead
    without = tiny.mixtral(router_aux_loss_coef=0.0)
    found = logprobs(LanguageModel(without, "tree", "stock"), arrange(GROUPS, "rows"))
    assert found.routing is None and found.aux is None


@pytest.mark.parametrize("name", [*BALANCED, "qwen2"])
def test_a_balance_loss_that_is_stocks_passes(name: str) -> None:
    check_balance(ATTENTION[name](), np.arange(3, 30, dtype=np.int32))


def switch(**changes: Any) -> Any:
    """An encoder-decoder with one expert a token and a second loss beside the balance."""
    own = {"vocab_size": tiny.VOCAB, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    sparse = {"num_experts": 4, "num_decoder_layers": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
    config = transformers.SwitchTransformersConfig(**{**own, **sparse, "pad_token_id": 0, "eos_token_id": 2, **changes})
    return tiny.build(transformers.SwitchTransformersForConditionalGeneration, config)


def test_a_balance_loss_of_another_kind_is_refused_and_can_be_left_out() -> None:
    ids = np.arange(3, 30, dtype=np.int32)
    with pytest.raises(InputError, match="of a kind that accord does not know"):
        check_balance(switch(), ids)
    check_balance(switch(router_aux_loss_coef=0.0), ids)


class Halved(transformers.MixtralForCausalLM):
    """Computes its balance loss in a way of its own."""

    def forward(self, *args: Any, output_router_logits: bool | None = None, **kwargs: Any) -> Any:
        output = super().forward(*args, output_router_logits=output_router_logits, **kwargs)
        if output.aux_loss is not None:
            output.aux_loss = output.aux_loss / 2
        return output


def test_another_number_than_stocks_is_refused() -> None:
    network = tiny.build(Halved, tiny.mixtral().config)
    with pytest.raises(InputError, match="of a kind that accord does not know"):
        check_balance(network, np.arange(3, 30, dtype=np.int32))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("experts"), tiny.mixtral(vocab_size=300, router_aux_loss_coef=0.5))


def trained(home: Path, output: Path, **options: Any) -> Any:
    rows = tiny.comparisons(8)
    return accord.dpo(
        model=str(home), data=rows, output_dir=output, samples=0, report_to="none", batch_size=8,
        **{"max_steps": 2, "learning_rate": 1e-3, "logging_steps": 1, **options},
    )  # fmt: skip


def test_training_adds_it_with_its_coefficient(home: Path, tmp_path: Path) -> None:
    """After one step of plain descent without momentum or clipping, as stock's loss says."""
    options = {"max_steps": 1, "optimizer": "sgd", "learning_rate": 0.1, "max_grad_norm": 0, "warmup_steps": 0}
    result = trained(home, tmp_path / "with", lr_scheduler_type="constant", **options)
    without = tiny.mixtral(vocab_size=300, router_aux_loss_coef=0.0)
    bare = tiny.write_model(tmp_path / "bare", without)
    trained(bare, tmp_path / "without", lr_scheduler_type="constant", **options)
    one, other = (load_network(str(tmp_path / name)).state_dict() for name in ("with", "without"))
    network = load_network(str(home))
    truth = stock_aux(network, tokens())
    expected = {name: -0.1 * 0.5 * grad for name, grad in tiny.gradients(network, truth).items()}
    found = {name: one[name] - other[name] for name in expected}
    assert tiny.distance(found, expected) < 1e-2
    assert result.metrics["aux_loss"] == pytest.approx(truth.item(), rel=1e-4)


def tokens() -> Any:
    from accord.data.dialogue import Dialogue
    from accord.data.read import read_groups

    return Dialogue(tiny.tokenizer()).many(read_groups(tiny.comparisons(8)))


def test_the_cut_into_micro_batches_changes_nothing(home: Path, tmp_path: Path) -> None:
    before = load_network(str(home)).state_dict()
    changes, losses = [], []
    for most in (40, 4000):
        result = trained(home, tmp_path / str(most), max_tokens=most)
        after = load_network(str(tmp_path / str(most))).state_dict()
        changes.append({name: after[name] - before[name] for name in before})
        losses.append(result.metrics["aux_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert tiny.distance(*changes) < 1e-2


def test_gradient_checkpointing_keeps_it(home: Path, tmp_path: Path) -> None:
    found = [trained(home, tmp_path / str(kept), gradient_checkpointing=kept, layout="rows") for kept in (False, True)]
    assert found[0].metrics["aux_loss"] == pytest.approx(found[1].metrics["aux_loss"], rel=1e-5)
    for one, other in zip(found[0].model.parameters(), found[1].model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=5e-5)
