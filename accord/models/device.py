"""The machine that is computed on: its device, its memory, and numbers that come out the same twice."""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from typing import Any

import torch

from accord.errors import InputError

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # glibc's malloc.h
KERNELS = 16


def choose_device(asked: str | None) -> torch.device:
    """The device asked for, or a GPU where there is one. InputError where it cannot be had."""
    name = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"no such device ({str(error).splitlines()[0]})", where="device", fix="cpu, or cuda"
        ) from error
    return device


def keep_freed_memory() -> None:
    """On Linux with glibc: freed memory stays with the process instead of going back to the system at once.

    Large tensors otherwise are mapped afresh at every use, and touching fresh pages costs more than filling them: a
    float32 copy of 23 M numbers takes 25 ms instead of 4 ms. Only large allocations are concerned.
    """
    library = _glibc()
    if library is not None and not os.environ.get("MALLOC_MMAP_THRESHOLD_"):
        library.mallopt(MMAP_THRESHOLD, 1 << 30)
        library.mallopt(TRIM_THRESHOLD, (1 << 31) - 1)


def give_freed_memory_back() -> None:
    """The reverse, once: what training has freed is not to stand beside what comes after it, as pictures."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def _glibc() -> Any:
    """None on another system, or with another C library."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
        return library if library.mallopt and library.malloc_trim else None
    except (OSError, AttributeError):
        return None


def keep_few_kernels() -> None:
    """On CPUs: of the kernels that oneDNN makes for each shape of a bf16 product few are kept, unless told otherwise.

    Micro-batches without padding have ever new shapes, and by default a thousand kernels stay: 250 MB after eight steps
    of a model of 12 M parameters. The layers of one pass share a dozen, so these few cost no time. Read by oneDNN when
    it makes its first kernel.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KERNELS))


def multiplies_bf16() -> bool:
    """Whether the CPU has instructions for products in bf16, as those from AVX-512 on do; where that is not known, yes.

    Without them a step of GRPO on 12 M parameters took 90 s here, and 5 s in float32.
    """
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return True


def same_numbers_twice() -> None:
    """On GPUs: kernels that add up in one order, so that a resumed run ends as one that was never stopped.

    Holds for the whole process. Operations that have no such kernel are left as they are, without a word.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # finds reads of memory never written; costs a pass
    warnings.filterwarnings("ignore", message=".*deterministic.*", category=UserWarning, module="torch|accord")
