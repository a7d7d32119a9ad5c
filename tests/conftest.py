"""Offline, on the CPU, one thread a test (two tests run beside each other), and where the real data lie.

The same tests on every machine: a GPU is not seen. ACCORD_TEST_GPU=1 shows it, for tests/test_gpu.py.
"""

import os
import tempfile

# Of this test process alone: what is kept between runs must not come from, or go into, the user's own cache.
os.environ["ACCORD_CACHE"] = tempfile.mkdtemp(prefix="accord-tests-")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = "0" if os.environ.get("ACCORD_TEST_GPU") == "1" else ""
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import atexit
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from collect_postgres import database_url, postgres, postgres_url  # noqa: F401 - fixtures
from stage_runs import Run, furnish, quick_run

atexit.register(shutil.rmtree, os.environ["ACCORD_CACHE"], ignore_errors=True)
torch.set_num_threads(1)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """shared_data("hh_harmless.jsonl.gz"): that file beside the checkout, or a skip that names it."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"no {path}")
        return path

    return find


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models and data of every stage: see `stage_runs.furnish`."""
    place = tmp_path_factory.mktemp("workshop")
    furnish(place)
    return place


@pytest.fixture
def quick(workshop: Path, tmp_path: Path) -> Run:
    """quick("dpo", beta=0.2): a quick run of that command into tmp_path/run; its exit code."""
    return quick_run(workshop, tmp_path / "run")
