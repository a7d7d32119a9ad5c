"""Runs killed at random moments and resumed: `make soak`, or `make soak KILLS=1000 SEED=7`.

Every fourth kill has a new recipe: sft, dpo, pretrain, reward or rl with other options. Half of the kills are aimed at
saves. What is resumed is killed again at times, and in the end the run has to be the one that was left alone, bit for
bit.
"""

import os

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

import argparse
import importlib
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import kills
import torch
from kills import Trial
from transformers.utils import logging as transformers_logging

EACH = 4  # kills of a recipe, which is run once more to see where it ends when it is left alone
PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
STAGES = ("sft", "dpo", "pretrain", "reward", "rl")
WARM = (
    "accord.stages.prefer", "accord.stages.pretrain", "accord.stages.reward", "accord.stages.rl",
    "accord.stages.sft",
    "accord.stages.verify", "matplotlib.pyplot",
    "peft", "transformers.models.gpt2.modeling_gpt2", "transformers.models.llama.modeling_llama",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all runs ended as if nothing had happened to them."""
    chosen = _chosen(arguments)
    torch.set_num_threads(1)  # no threads: every run is a fork of this process, which has imported all
    for name in WARM:
        importlib.import_module(name)
    transformers_logging.disable_progress_bar()
    place = Path(tempfile.mkdtemp(prefix="accord-soak-"))
    kills.write_home(place)
    trials = list(_trials(place, chosen))
    print(kills.table(trials))
    failed = [trial for trial in trials if trial.wrong]
    for trial in failed:
        print(f"\nkill {trial.number} ({trial.stage}): {'; '.join(death.how for death in trial.deaths)}")
        print("\n".join(f"  {what}" for what in trial.wrong))
        print(
            f"  again: python tests/soak.py --seed {chosen.seed} --only {trial.number}; left in {place}/{trial.number}"
        )
    if not failed:
        shutil.rmtree(place)
        if chosen.page:
            PAGE.write_text(kills.shown(PAGE.read_text(encoding="utf-8"), kills.table(trials)), encoding="utf-8")
    return 1 if failed else 0


def _chosen(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many runs are killed [200]")
    parser.add_argument("--seed", type=int, default=0, help="of the options and of where runs are killed [0]")
    parser.add_argument("--workers", type=int, default=2, help="runs beside each other [2]")
    parser.add_argument("--only", type=int, nargs="*", metavar="NUMBER", help="these kills of the seed alone")
    parser.add_argument("--page", action="store_true", help="where nothing is wrong, put the table into the docs")
    return parser.parse_args(arguments)


def _trials(place: Path, chosen: argparse.Namespace) -> Iterator[Trial]:
    """As they are done, with a line for every few."""
    numbers = range(chosen.kills) if chosen.only is None else chosen.only
    jobs: dict[int, list[int]] = {}
    for number in numbers:
        jobs.setdefault(number // EACH, []).append(number)
    began, done, wrong = time.monotonic(), 0, 0
    with ProcessPoolExecutor(chosen.workers, multiprocessing.get_context("fork")) as pool:
        going = [pool.submit(_job, place, recipe, own, chosen.seed) for recipe, own in jobs.items()]
        for finished in as_completed(going):
            found = finished.result()
            done, wrong = done + len(found), wrong + sum(bool(trial.wrong) for trial in found)
            gone = time.monotonic() - began
            left = gone / done * (len(numbers) - done)
            print(
                f"{done}/{len(numbers)} killed and resumed, {wrong} wrong; {gone:.0f} s gone, {left:.0f} s left",
                flush=True,
            )
            yield from found


def _job(place: Path, recipe: int, numbers: Sequence[int], seed: int) -> list[Trial]:
    """One recipe: left alone, then killed."""
    own = place / f"recipe-{recipe}"
    stage = STAGES[recipe % len(STAGES)]
    whole = kills.left_alone(kills.recipe_of(place, stage, f"{seed}/{recipe}"), own)
    found = [kills.trial(whole, place / str(number), number, f"{seed}/{recipe}/{number}") for number in numbers]
    if not any(trial.wrong for trial in found):
        shutil.rmtree(own)
    return found


if __name__ == "__main__":
    sys.exit(main())
