"""Small runs of every kind, killed and resumed until they are done, and compared with the same run left alone.

A recipe is a command with its options, a pure function of a seed; so is where a trial kills it, as far as a clock
allows.
"""

import json
import os
import random
import shlex
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import killing
import tiny
from alike import differences, standing
from killing import Ended, Kill

from accord.cli import main
from accord.stages.runs import row_of
from accord.training import saving

SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}
AGAIN = 0.3  # how often what is resumed is killed as well
MOST = 5  # deaths of one run
LARGEST = 200_000  # bytes: no file of these runs is much larger

BEGIN, END = "<!-- soak: python tests/soak.py --page -->\n", "<!-- end of soak -->\n"  # of docs/reliability.md

# Where a process was when it died, told by its last event.
SAVES = ("writing a checkpoint", "its name given", "old ones removed", "the best step", "the model")
PLACES = (
    *SAVES, "a write cut off", "lines of metrics", "other files", "before its first step", "training",
    "after the last step",
)  # fmt: skip


class Recipe(NamedTuple):
    """A command and its options, but for output_dir. beside: a thread writes the checkpoints, small as they are."""

    stage: str
    options: dict[str, Any]
    beside: bool = False


class Death(NamedTuple):
    """place: one of PLACES, or a signal's name. how: for people."""

    place: str
    how: str


class Trial(NamedTuple):
    """What became of one run that was killed. wrong: what is not as it should be; empty where all is."""

    number: int
    stage: str
    deaths: tuple[Death, ...]
    wrong: tuple[str, ...]


def write_home(home: Path) -> None:
    """Models and data for all recipes."""
    tiny.write_model(home / "model")
    tiny.write_model(home / "gpt2", tiny.gpt2(vocab_size=300))
    pairs = tiny.comparisons(16)
    prompts = [{"id": row["id"], "prompt": row["prompt"]} for row in pairs]
    every = {"dpo": pairs, "sft": pairs, "pretrain": tiny.texts(60), "reward": tiny.rankings(16), "rl": prompts}
    shutil.copy(Path(__file__).with_name("rl_rewards.py"), home)
    for stage, rows in every.items():
        (home / f"{stage}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe_of(home: Path, stage: str, seed: str) -> Recipe:
    """Two or three epochs, with whatever a run can have."""
    draw = random.Random(seed)
    one = draw.choice
    options: dict[str, Any] = {
        "model": home / one(("model", "model", "gpt2")), "data": home / f"{stage}.jsonl", "report_to": "none",
        "batch_size": 4, "learning_rate": 3e-3, "num_train_epochs": one((2, 2.5, 3)), "seed": draw.randrange(1000),
        "warmup_steps": one((0, 2, 0.25)), "lr_scheduler_type": one(("linear", "cosine", "constant", "inverse_sqrt")),
        "optimizer": one(("adamw", "adamw", "momentum", "adagrad")), "average": one(("none", "none", "ema", "iterate")),
        "ema_decay": 0.7, "max_tokens": one((40, 80, 2048)), "dtype": one(("float32", "float32", "bf16")),
        "logging_steps": one((1, 2, 3, "epoch")), "save_steps": one((1, 2, 3, "epoch")), "samples": one((0, 1)),
        "sample_tokens": 4, "save_total_limit": one((2, 3)), "gradient_checkpointing": one((False, False, True)),
    }  # fmt: skip
    options["dropout"] = options["model"].name == "gpt2"
    if one((True, False, False)):
        dora = not options["dropout"] and one((False, True))  # peft has none with dropout on GPT-2's kind of layers
        options |= {"lora_r": 2, "lora_dropout": one((0.0, 0.2)), "use_dora": dora}
    if one((True, True, False)):
        options |= {"validation": 0.25, "eval_steps": one((1, 2, 3, "epoch"))}
        options |= {"load_best_model_at_end": one((True, False)), "early_stopping_patience": one(("none", 2, 3))}
    own = {"sft": _of_sft, "dpo": _of_dpo, "pretrain": _of_pretrain, "reward": _of_reward, "rl": _of_rl}[stage]
    options |= own(home, draw)
    if stage == "reward":  # which writes no text
        del options["samples"], options["sample_tokens"]
    return Recipe(stage, options, one((True, False)))


def _of_sft(home: Path, draw: random.Random) -> dict[str, Any]:
    mix = {"mix": home / "pretrain.jsonl", "mix_fraction": 0.25, "max_length": 64}
    return draw.choice(({}, {"lm_alpha": 0.3}, mix))


def _of_dpo(home: Path, draw: random.Random) -> dict[str, Any]:
    losses = ("sigmoid", "ipo", "kto", "bco_pair", "simpo", "orpo", "aot", "hinge", "sigmoid,sft")
    moving = {"sync_reference": draw.choice(("soft", "hard")), "sync_steps": draw.choice((2, 3))}
    other = {"reference": home / "model"}
    return draw.choice(({"loss_type": draw.choice(losses)}, {"loss_type": "kto", "beta": 1.0}, moving, other))


def _of_pretrain(home: Path, draw: random.Random) -> dict[str, Any]:
    return {"max_length": draw.choice((24, 32))}


def _of_reward(home: Path, draw: random.Random) -> dict[str, Any]:
    pairs = {"loss_type": draw.choice(("bradley_terry", "hinge", "exponential")), "ties": draw.choice(("none", "half"))}
    return draw.choice((pairs, {"ties": "davidson"}, {"loss_type": "plackett_luce", "center_coefficient": 0.1}))


def _of_rl(home: Path, draw: random.Random) -> dict[str, Any]:
    """Rounds of one step, of two and of four."""
    one = draw.choice
    algorithm = one(
        (
            {"algorithm": "ppo", "num_ppo_epochs": 2, "critic_warmup": one((0, 1)), "target_kl": one((1e-4, 1.0))},
            {"algorithm": "ppo", "num_ppo_epochs": 2, "num_mini_batches": 2, "critic": "trunk", "batch_size": 8},
            {"algorithm": "rloo", "missing_eos": "mask", "stop": "a,e,i", "whiten_advantages": True},
            {"algorithm": "rloo", "num_ppo_epochs": 2, "ptx": home / "pretrain.jsonl", "ptx_coef": 0.5},
            {"algorithm": "grpo", "kl_target": 0.1, "kl_horizon": 100, "group_form": one(("unbiased", "published"))},
            {"algorithm": "reinforce", "reward_scaling": "running", "baseline_decay": 0.5},
        )
    )
    rewards = {"reward": f"{home / 'rl_rewards.py'}:letters", "kl_coef": 0.02, "sample_steps": one((0, 2))}
    return {**rewards, "max_new_tokens": 4, "num_train_epochs": one((1, 1.5)), **algorithm}


class Whole(NamedTuple):
    """A run that was left alone."""

    recipe: Recipe
    place: Path
    ended: Ended


def left_alone(recipe: Recipe, place: Path) -> Whole:
    ended = _process(words_of(recipe, place), place, beside=recipe.beside)
    assert ended.code == 0, f"{recipe} does not run at all: {_tail(place)}"
    return Whole(recipe, place, ended)


def trial(whole: Whole, place: Path, number: int, seed: str) -> Trial:
    """One run, killed once at least, resumed until it is done."""
    draw = random.Random(seed)
    while True:
        shutil.rmtree(place, ignore_errors=True)
        first = first_kill(whole.ended, draw)
        deaths, wrong = _until_done(whole, place, first, draw)
        if deaths:
            break
    if not wrong and _process(["verify", str(place / "run")], place).code:
        wrong = [f"unusable: {_tail(place)}"]
    wrong = wrong or list(differences(whole.place / "run", place / "run"))
    if not wrong:
        shutil.rmtree(place)
    return Trial(number, whole.recipe.stage, tuple(deaths), tuple(wrong))


def _until_done(whole: Whole, place: Path, kill: Kill | None, draw: random.Random) -> tuple[list[Death], list[str]]:
    """Kills and resumes. No deaths: the run was done before its turn came."""
    deaths: list[Death] = []
    done = 0  # steps that need not be done again
    words = words_of(whole.recipe, place)
    while True:
        ended = _process(words, place, kill, beside=whole.recipe.beside)
        if ended.code == 0:
            return deaths, []
        how = _shown(kill, ended)
        if kill is None or not _expected(kill, ended.code):
            return deaths, [f"unusable: {how or 'resumed'} ended with {ended.code}: {_tail(place)}"]
        deaths.append(Death(_place(kill, ended, whole.ended.steps - done), how))
        # What heard a signal has saved all that it did; of what was killed, the last that bears a checkpoint's name.
        safe = done + ended.steps if ended.code in SIGNALS.values() else max(done, ended.saved)
        try:
            done = standing(place / "run" / "checkpoints", safe)
            words = _again(whole.recipe, place)
        except AssertionError as lost:
            return deaths, [str(lost)]
        again = len(deaths) < MOST and draw.random() < AGAIN
        kill = random_kill(whole.ended, draw) if again else None


def words_of(recipe: Recipe, place: Path, *more: str) -> list[str]:
    """The command line of a run in `place`."""
    given = {**recipe.options, "output_dir": place / "run"}
    return [recipe.stage, *(f"--{key}={value}" for key, value in given.items()), *more]


def _again(recipe: Recipe, place: Path) -> list[str]:
    """What `accord runs` says to type, where the run got so far as to be one."""
    if not (place / "run" / "run.json").exists():
        return words_of(recipe, place, "--resume")
    row = row_of(place / "run")
    assert row["state"] in ("killed", "stopped", "finished"), f"unusable: {row['state']} ({row['why']}) by accord runs"
    return shlex.split(row["resume"])[1:] if row["resume"] else words_of(recipe, place, "--resume")


def _process(words: Sequence[str], place: Path, kill: Kill | None = None, *, beside: bool = False) -> Ended:
    place.mkdir(parents=True, exist_ok=True)

    def begin() -> int:
        os.environ["ACCORD_CACHE"] = str(place / "cache")
        saving.SMALL = 0 if beside else saving.SMALL
        return main(words)

    return killing.run(begin, place, place.with_suffix(".log"), kill)


def first_kill(whole: Ended, draw: random.Random) -> Kill:
    """Half are aimed at saves: between their doings, or within a write. The others come by the clock, or anywhere."""
    return _aimed(whole.events, draw, SAVES) if draw.random() < 0.5 else random_kill(whole, draw)


def random_kill(whole: Ended, draw: random.Random) -> Kill:
    """At any moment, or as much later than a step as one takes; a fifth of these are signals that are heard."""
    if draw.random() < 0.2:
        return _aimed(whole.events, draw, PLACES)
    number = draw.choice(list(SIGNALS)) if draw.random() < 0.2 else signal.SIGKILL
    if draw.random() < 0.4:
        return Kill("clock", draw.uniform(0, whole.seconds), number=number)
    step = draw.randrange(1, whole.steps)
    return Kill("clock", draw.uniform(0, whole.seconds / whole.steps), step=step, number=number)


def _aimed(events: Sequence[str], draw: random.Random, places: Sequence[str]) -> Kill:
    """Every kind of place that there is gets the same chance."""
    found: dict[str, list[int]] = {}
    for number, event in enumerate(events, start=1):
        found.setdefault(place_of(event), []).append(number)
    at = draw.choice(found[draw.choice([place for place in found if place in places])])
    if draw.random() < 0.3:
        return Kill("cut", at, int(LARGEST ** draw.random()))
    return Kill("event", at)


def place_of(event: str) -> str:
    """Which of PLACES an event belongs to."""
    what, *paths = event.split(" ")
    parts = Path(paths[-1]).parts
    if parts[0] == "run" and "checkpoints" in parts[1:2]:
        if parts[2:] == () or (what == "rename" and parts[2].startswith("step-")):
            return "its name given"
        removed = what in ("remove", "rmdir") or what == "rename" or "step-" in parts[2]
        return "old ones removed" if removed else "writing a checkpoint"
    if "best" in parts[1:2]:
        return "the best step"
    if ".model.tmp" in event or parts[-1].startswith(("model", "adapter", "MANIFEST", "config", "tokenizer")):
        return "the model"
    return "lines of metrics" if parts[-1] in ("metrics.jsonl", "samples.jsonl") else "other files"


def _place(kill: Kill, ended: Ended, left: int) -> str:
    if kill.how == "cut":
        return "a write cut off"
    if kill.how == "event":
        return place_of(ended.last)
    if kill.number in SIGNALS:
        return signal.Signals(kill.number).name
    return "before its first step" if not ended.steps else "training" if ended.steps < left else "after the last step"


def _shown(kill: Kill | None, ended: Ended) -> str:
    if kill is None:
        return ""
    if kill.how == "clock":
        return f"{signal.Signals(kill.number).name} after {kill.at:.2f} s, {ended.steps} steps"
    return f"SIGKILL before {ended.last!r}" if kill.how == "event" else f"cut at {kill.size} bytes, in {ended.last!r}"


def _expected(kill: Kill, code: int) -> bool:
    if kill.how == "clock":
        return code in (-kill.number, SIGNALS.get(signal.Signals(kill.number)))
    return code == (-signal.SIGKILL if kill.how == "event" else -signal.SIGXFSZ)


def _tail(place: Path) -> str:
    log = place.with_suffix(".log")
    return (log.read_text(errors="replace").splitlines() or [""])[-1] if log.exists() else ""


def table(trials: Sequence[Trial]) -> str:
    """Where processes died, by stage, and what became of the runs."""
    counts = Counter((death.place, trial.stage) for trial in trials for death in trial.deaths)
    stages = sorted({trial.stage for trial in trials})
    lines = [f"{'killed':24}" + "".join(f"{stage:>10}" for stage in stages)]
    for place in (*PLACES, *(number.name for number in SIGNALS)):
        lines.append(f"{place:24}" + "".join(f"{counts[place, stage]:>10}" for stage in stages))
    wrong = Counter(what.split(":")[0] for trial in trials for what in trial.wrong[:1])
    lines.append(f"{len(trials)} runs, killed {counts.total()} times: {wrong['unusable']} unusable, {wrong['lost']} "
                 f"lost a checkpoint, {wrong['different'] + wrong['left behind']} different")  # fmt: skip
    return "\n".join(lines)


def shown(page: str, counts: str) -> str:
    """docs/reliability.md with this table."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n```\n{counts}\n```\n\n{END}{rest.split(END)[1]}"
