"""The environment that the other side runs in: made once, exact versions, apart from our own."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from cases import PEER, PEER_TORCH

VARIABLE = "ACCORD_BENCH_PEER_PYTHON"  # a Python that already has PEER, instead of an environment of our own


def peer_python(home: Path, lock: Path) -> Path:
    """The Python to run TRL with. lock: the versions of what both sides share."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    place = home / "trl-venv"
    python, ready = place / "bin" / "python", place / ".installed"
    wanted = f"{PEER_TORCH} {PEER}"
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return python
    print(f"bench: setting up {place} with {PEER} (once, some minutes)", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, PEER_TORCH], check=True)  # alone first: see the Makefile
    subprocess.run([*install, "--constraint", str(lock), PEER], check=True)
    ready.write_text(wanted, encoding="utf-8")
    return python


def machine() -> str:
    """Processor, its widest instructions, cores and memory in words."""
    name = _said("model name") or platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = ", ".join([name, *_instructions()])
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def multiplies_bf16() -> bool:
    """Whether oneDNN makes bf16 products on this processor: from AVX-512 on; where that is not known, yes."""
    flags = set(_said("flags").split())
    return not flags or bool(flags & {"avx512bw", "amx_bf16"})


def _instructions() -> list[str]:
    """On them hangs how fast float32 products are: those of AVX-512 twice as fast as those of AVX2."""
    flags, known = set(_said("flags").split()), {"amx_tile": "AMX", "avx512f": "AVX-512", "avx2": "AVX2"}
    widest = next((name for flag, name in known.items() if flag in flags), None)
    if widest is None:
        return []
    return [widest]


def _said(name: str) -> str:
    """What Linux says of the first processor; nothing elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), "")
