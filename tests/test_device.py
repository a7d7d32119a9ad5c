"""Where and in which numbers a network computes."""

import os
import subprocess
import sys

import pytest
import tiny
import torch

from accord.errors import InputError
from accord.models.device import choose_device, keep_few_kernels
from accord.stages import setup
from accord.stages.options import ModelOptions
from accord.stages.setup import moved


def test_in_bf16_the_frequencies_of_rope_stay_float32() -> None:
    """In bf16 a frequency is off by up to 0.4 %: at position 1000 that is an angle of several radians."""
    exact = tiny.llama().model.rotary_emb.inv_freq.clone()
    network = moved(tiny.llama(), torch.device("cpu"), torch.bfloat16)
    assert network.dtype == torch.bfloat16
    assert torch.equal(network.get_submodule("model.rotary_emb").inv_freq, exact)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no such device"):
        choose_device("cuda:7")


# The kernels that oneDNN makes anew while bf16 products of the same 40 shapes are computed twice.
MADE_ANEW = """
import torch
from accord.models.device import keep_few_kernels
if {few}:
    keep_few_kernels()
for round in range(2):
    print("round", round, flush=True)
    for rows in range(100, 140):
        torch.ones(rows, 64, dtype=torch.bfloat16) @ torch.ones(64, 64, dtype=torch.bfloat16)
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize("few", [True, False])
def test_few_kernels_are_kept(few: bool) -> None:
    """oneDNN says of every kernel whether it found it: with few kept, those of the first round are gone."""
    clean = {key: value for key, value in os.environ.items() if "CACHE_CAPACITY" not in key}
    told = {**clean, "ONEDNN_VERBOSE": "profile_create", "PYTHONPATH": os.getcwd()}
    words = [sys.executable, "-c", MADE_ANEW.format(few=few)]
    said = subprocess.run(words, env=told, capture_output=True, text=True, check=True).stdout
    second = said.partition("round 1")[2]
    made, found = second.count("create:cache_miss"), second.count("create:cache_hit")
    if not made + found:
        pytest.skip("this processor computes bf16 without oneDNN")
    assert (made >= 40 and not found) if few else not made


def test_how_many_kernels_are_kept_may_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    keep_few_kernels()
    assert (os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"], os.environ["LRU_CACHE_CAPACITY"]) == ("512", "16")


@pytest.mark.parametrize("has", [False, True])
def test_bf16_on_a_processor_without_it_is_said_to_be_slow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has: bool
) -> None:
    monkeypatch.setattr(setup, "multiplies_bf16", lambda: has)
    for dtype in ("bf16", "float32"):
        setup.machine(ModelOptions(model="m", dtype=dtype, device="cpu"), threads=None, max_tokens=None)
    assert capsys.readouterr().err.count("no instructions for bf16") == (not has)
