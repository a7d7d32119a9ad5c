"""Where and in which numbers a network computes."""

import pytest
import tiny
import torch

from accord.errors import InputError
from accord.models.device import choose_device
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
