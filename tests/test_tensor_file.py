"""Our writer of safetensors: the library reads what it writes, to the bit, and nothing is ever written over."""

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from accord.models import writing
from accord.models.tensor_file import DTYPES, write_tensors
from accord.models.writing import write_bytes

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@st.composite
def some(draw: st.DrawFn) -> Tensor:
    """Any bits, any type, up to three sides, perhaps not in the order of memory."""
    dtype = draw(st.sampled_from(sorted(DTYPES, key=str)))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    size = torch.tensor(shape).prod().int().item() if shape else 1
    width = torch.empty((), dtype=dtype).element_size()
    values = st.integers(0, 1) if dtype == torch.bool else st.integers(0, 255)
    data = draw(st.lists(values, min_size=int(size) * width, max_size=int(size) * width))
    tensor = torch.tensor(data, dtype=torch.uint8).view(dtype).reshape(shape)
    return tensor.mT if tensor.ndim > 1 and draw(st.booleans()) else tensor


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(words.filter(lambda name: name != "__metadata__"), some(), max_size=4),
    st.dictionaries(words, words, max_size=3),
)
def test_the_library_reads_what_we_write(tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        written = write_tensors(path, tensors, about)
        data = path.read_bytes()
        assert written == (len(data), hashlib.sha256(data).hexdigest())
        found = load_file(path)
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
            assert bits(found[name]) == bits(tensor)
        with safe_open(path, "pt") as file:
            assert (file.metadata() or {}) == about


def bits(tensor: Tensor) -> list[int]:
    flat: list[int] = tensor.contiguous().reshape(-1).view(torch.uint8).tolist()
    return flat


def test_a_parameter_that_is_trained_can_be_written(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", {"w": torch.nn.Parameter(torch.ones(3))})
    assert load_file(tmp_path / "x")["w"].tolist() == [1, 1, 1]


def test_no_file_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("there")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("x", "link"):
        with pytest.raises(FileExistsError):
            write_bytes(tmp_path / name, b"new")
    assert (tmp_path / "x").read_text() == "there"
    assert not (tmp_path / "elsewhere").exists()


def test_a_system_that_takes_little_at_a_time_gets_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = os.write
    monkeypatch.setattr(os, "write", lambda number, data: exact(number, data[:7]))
    monkeypatch.setattr(writing, "PIECE", 100)
    data = bytes(range(256)) * 3
    assert write_bytes(tmp_path / "x", data) == (768, hashlib.sha256(data).hexdigest())
    assert (tmp_path / "x").read_bytes() == data
