"""What a run is computed by: code, versions, machine. Others may give other last bits; a checkpoint names its own."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from accord import __version__
from accord.errors import InputError
from accord.stages.setup import Machine, say

WORLD = 1  # processes
STATE = 1  # counts up where a checkpoint's state.json gets other keys


def conditions(place: Machine) -> dict[str, Any]:
    """For the manifest of a checkpoint."""
    return {
        "code": f"accord {__version__} {_sources()[:12]}",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "device": _device(place.device),
        "threads": torch.get_num_threads(),
        "world": WORLD,
        "state": STATE,
    }


def check_conditions(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Says what is not as it was when the checkpoint `where` was written.

    InputError: another number of processes, or a version of Accord that wrote other checkpoints.
    """
    if before.get("state") != now["state"]:
        what = f"was written by {before.get('code', 'another version')}, whose checkpoints {now['code']} cannot read"
        raise InputError(what, where=str(where), fix="resume with that version, or train anew in another --output_dir")
    if before["world"] != now["world"]:
        raise InputError(
            f"world was {before['world']}, is {now['world']} (processes that train together)",
            where=str(where),
            fix="resume with as many processes as the run was stopped with",
        )
    differ = [f"{key} was {before[key]}, is {now[key]}" for key in now if before[key] != now[key]]
    if differ:
        what = "from here on, last bits may differ from a run that was never stopped"
        say(f"warning: {'; '.join(differ)}: {what}")


@cache
def _sources() -> str:
    """sha256 of the sources of the whole package, by their places in it."""
    found, root = hashlib.sha256(), Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def _device(device: torch.device) -> str:
    """As people know it; of a CPU the instructions that PyTorch chooses its kernels by."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else ""
    return f"{device.type} {platform.machine()} {capability}".rstrip()
