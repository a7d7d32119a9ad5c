"""Tensors into a safetensors file: hashed on the way, never over another file, one tensor after the other.

Of tensors that lie in memory as they are written (contiguous, on the CPU) nothing is copied. The library's own writer
can neither hash what it writes nor refuse to write over a file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from accord.models.writing import Written, write_pieces

# As the format names them: https://github.com/huggingface/safetensors (README, Format)
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> Written:
    """A new file of these tensors, on any device, and of words about them. OSError names the file."""
    return write_pieces(path, _pieces(tensors, about))


def _pieces(tensors: Mapping[str, Tensor], about: Mapping[str, str] | None) -> Iterator[bytes | memoryview]:
    """Length of the header (8 bytes), header (JSON), data: the widest numbers first, so that all are aligned."""
    assert sys.byteorder == "little", "the format is little-endian"
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {"__metadata__": dict(about)} if about else {}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
