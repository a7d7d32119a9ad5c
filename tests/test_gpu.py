"""On a GPU: the engine against stock there, and whole runs. ACCORD_TEST_GPU=1 python -m pytest tests/test_gpu.py"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

import accord
from accord.data.batches import arrange
from accord.data.cut import micro_batches
from accord.models.layout import stock_logprobs
from accord.models.logprobs import LanguageModel, logprobs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU, or ACCORD_TEST_GPU=1 is not set")

GROUPS = [tiny.group(3 + 5 * i % 23, [4 + i % 5, 3 + 2 * i % 7], seed=i) for i in range(9)]
GROUPS += [tiny.group(40, [12, 90, 33, 7], seed=20), tiny.group(300, [60, 80], seed=21)]
MAKERS: dict[str, Callable[[], Any]] = {
    "llama": tiny.llama, "gpt2": tiny.gpt2, "qwen3": tiny.qwen3, "gemma2": tiny.gemma2, "mistral": tiny.mistral,
}  # fmt: skip


@pytest.mark.parametrize("layout", ["tree", "cache", "rows"])
@pytest.mark.parametrize("name", MAKERS)
def test_log_probabilities_are_stocks(name: str, layout: Any) -> None:
    network = MAKERS[name]().cuda()
    context = network.config.max_position_embeddings
    groups = [group for group in GROUPS if group.length <= context]
    model = LanguageModel(network, layout)
    with torch.no_grad(), model.segmented():
        found = logprobs(model, arrange(groups, layout).to("cuda")).token.token
    truth = torch.cat([stock_logprobs(LanguageModel(network, "rows"), group) for group in groups])
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", ["tree", "cache"])
def test_gradients_are_those_of_rows(layout: Any) -> None:
    def gradient(how: Any) -> dict[str, Any]:
        network = tiny.llama().cuda()
        model = LanguageModel(network, how)
        with model.segmented():
            for batch in micro_batches(GROUPS, range(len(GROUPS)), max_tokens=256, layout=how):
                logprobs(model, batch.to("cuda")).sum.sum().backward()
        return {name: p.grad for name, p in network.named_parameters()}

    assert tiny.distance(gradient(layout), gradient("rows")) < 1e-4


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(place: Path, name: str, **options: Any) -> Any:
    model = place / "model"
    if not model.exists():
        tiny.write_model(model)
    data = write(place / "data.jsonl", tiny.comparisons(24))
    fixed = {"batch_size": 8, "report_to": "none", "samples": 2, "sample_tokens": 8, "validation": 0.2}
    return accord.dpo(
        model=model, data=data, output_dir=place / name, learning_rate=1e-3, logging_steps=1, **fixed, **options
    )


@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}, {"lora_r": 4}, {"loss_type": "kto"}], ids=str)
def test_a_run_begins_where_theory_says_and_learns(options: dict[str, Any], tmp_path: Path) -> None:
    result = run(tmp_path, "run", max_steps=6, **options)
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    at_start = 0.5 if options.get("loss_type") == "kto" else math.log(2)
    assert first["eval_loss"] == pytest.approx(at_start, abs=2e-3)
    assert result.metrics["loss"] < at_start
    assert next(result.model.parameters()).device.type == "cuda"


def test_a_run_resumes_to_the_bit(tmp_path: Path) -> None:
    torch.use_deterministic_algorithms(False)
    whole = [p.cpu() for p in run(tmp_path, "whole", max_steps=4, dtype="bf16").model.parameters()]

    def stop(line: dict[str, Any]) -> None:
        if line["step"] >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "cut", max_steps=4, dtype="bf16", save_steps=2, callback=stop)
    again = [
        p.cpu() for p in run(tmp_path, "cut", max_steps=4, dtype="bf16", save_steps=2, resume=True).model.parameters()
    ]
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))
