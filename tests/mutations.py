"""What `make mutants` breaks, one thing at a time: the mistakes that cost people days because nothing says so.

A mutation is the text of one file of the package, changed. Those of functions are made from the tables of losses and
divergences, so that a new row is broken by itself. `tests` names the test files that are to notice.
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from accord.maths import classification, descent, divergence, entropy, optimum, policy_gradient, unpaired
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.reward import REWARD_LOSSES, centring
from accord.maths.unpaired import UNPAIRED_LOSSES

ROOT = Path(__file__).resolve().parents[1]


class Mutation(NamedTuple):
    """family: as `make mutants` groups them. name: unique. make: the file's text -> the broken one."""

    family: str
    name: str
    file: str  # from the root of the project
    make: Callable[[str], str]
    tests: tuple[str, ...]


def mutations() -> list[Mutation]:
    """All of them, in the order in which they are tried."""
    return [*_signs(), *_doubled(), *_edits()]


# Functions with what they return changed


def _changed(function: Callable[..., Any], factor: str) -> Callable[[str], str]:
    """The file of a function, where it returns `factor` times what it should. What other files import is broken too."""

    def make(text: str) -> str:
        (found,) = [
            node
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef) and node.name == function.__name__
        ]
        lines = text.splitlines(keepends=True)
        assert found.end_lineno is not None
        wrapped = (
            "\n\ndef _mutated(original):\n    import functools\n\n    @functools.wraps(original)\n"
            "    def changed(*args, **kwargs):\n"
            f"        return {factor} * original(*args, **kwargs)\n\n    return changed\n\n\n"
            f"{found.name} = _mutated({found.name})\n"
        )
        return "".join([*lines[: found.end_lineno], wrapped, *lines[found.end_lineno :]])

    return make


def _of_function(family: str, function: Callable[..., Any], factor: str, *tests: str) -> Mutation:
    file = Path(inspect.getfile(function)).relative_to(ROOT)
    return Mutation(family, f"{file.stem}.{function.__name__}", str(file), _changed(function, factor), tests)


def _signs() -> Iterator[Mutation]:
    family = "a loss's sign"
    tables: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        (PAIR_LOSSES, ("test_preference.py", "test_optima.py")),
        (UNPAIRED_LOSSES, ("test_unpaired.py", "test_optima.py")),
        (RANKING_LOSSES, ("test_ranking.py", "test_optima.py")),
        (REWARD_LOSSES, ("test_reward_losses.py",)),
    ]
    for table, tests in tables:
        for row in table.values():
            yield _of_function(family, row.loss, "-1", *tests)
    yield _of_function(family, centring, "-1", "test_reward_losses.py", "test_reward_objective.py")
    yield _of_function(family, classification.cross_entropy, "-1", "test_classification.py")
    for loss in (policy_gradient.reinforce, policy_gradient.ppo_clip, policy_gradient.ppo_clip_sequence):
        yield _of_function(family, loss, "-1", "test_policy_gradient.py", "test_policy_theory.py")
    yield _of_function(family, policy_gradient.value_loss, "-1", "test_policy_gradient.py")
    yield _of_function(family, entropy.entropy_bonus, "-1", "test_policy_theory.py", "test_policy_objective.py")
    for advantage in (policy_gradient.gae, policy_gradient.leave_one_out, policy_gradient.group_advantage):
        yield _of_function("an advantage's sign", advantage, "-1", "test_policy_gradient.py")
    yield _of_function("a bound's sign", descent.sgd_bound, "-1", "test_descent.py")


def _doubled() -> Iterator[Mutation]:
    family = "a KL term times 2"
    for estimate in (divergence.k1, divergence.k2, divergence.k3):
        yield _of_function(family, estimate, "2", "test_divergence.py")
    yield _of_function(family, unpaired.kl_baseline, "2", "test_unpaired.py")
    yield _of_function(family, unpaired.label_baseline, "2", "test_unpaired.py")
    for row in DIVERGENCES.values():
        yield _of_function(family, row.score, "2", "test_modifiers.py", "test_optima.py")
    yield _of_function(family, optimum.kl, "2", "test_optimum.py")


# Places in files


def _instead(old: str, new: str) -> Callable[[str], str]:
    """A file with one text, which stands there once, replaced."""

    def make(text: str) -> str:
        if text.count(old) != 1:
            raise LookupError(f"{old!r} stands there {text.count(old)} times, not once")
        return text.replace(old, new)

    return make


class Edit(NamedTuple):
    """One line of the list below."""

    family: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


KL, MASK, END, SWAP, SIGN = (
    "a KL term times 2",
    "a mask shifted by one",
    "the end token dropped",
    "chosen and rejected swapped",
    "a loss's sign",
)
LOGPROBS = ("test_logprobs.py", "test_layout.py", "test_batches.py")
POLICY = ("test_policy_objective.py", "test_policy_theory.py", "test_policy_optima.py")
EDITS = (
    Edit(
        SIGN, "the likelihood of pre-training and SFT", "accord/training/objectives.py",
        "Measured(-(result.sum * weight).sum()", "Measured((result.sum * weight).sum()",
        ("test_loop.py",),
    ),
    Edit(
        SIGN, "a pair's part of the step", "accord/training/preferences.py",
        "total = (loss * compared.weight).sum()\n        return Measured(", "total = -(loss * compared.weight).sum()\n"
        "        return Measured(", ("test_preference_objectives.py",),
    ),
    Edit(
        SIGN, "a reward model's part of the step", "accord/training/rewards.py",
        "return Measured((loss * found.weight).sum(), values, found.weight, found.group, only",
        "return Measured(-(loss * found.weight).sum(), values, found.weight, found.group, only",
        ("test_reward_objective.py",),
    ),
    Edit(
        KL, "in the rewards, token by token", "accord/maths/policy_gradient.py",
        "-beta * kl", "-2 * beta * kl", ("test_policy_gradient.py",),
    ),
    Edit(
        KL, "in the rewards of whole samples", "accord/training/shaping.py",
        "self.reward - self.beta * kl", "self.reward - 2 * self.beta * kl",
        ("test_shaping.py", "test_policy_optima.py"),
    ),
    Edit(
        KL, "in the loss", "accord/training/policy.py",
        "policy + terms.beta * penalty", "policy + 2 * terms.beta * penalty", POLICY,
    ),
    Edit(
        KL, "as it is reported", "accord/training/policy.py",
        "penalty = samples.beta * samples.kl", "penalty = 2 * samples.beta * samples.kl", POLICY,
    ),
    Edit(
        KL, "of the best of n", "accord/maths/best_of_n.py",
        "return math.log(n) - (n - 1) / n", "return 2 * (math.log(n) - (n - 1) / n)", ("test_best_of_n.py",),
    ),
    Edit(
        KL, "DPO's beta", "accord/maths/gap_losses.py",
        "return smoothed_logistic(beta * log_ratio_gap", "return smoothed_logistic(2 * beta * log_ratio_gap",
        ("test_preference.py",),
    ),
    Edit(
        MASK, "a token is predicted where it stands", "accord/data/batches.py",
        "start + places - 1)", "start + places)", LOGPROBS,
    ),
    Edit(
        MASK, "a completion's first token has no loss", "accord/data/loss_spans.py",
        "spans = [(first, len(whole.ids) - shared)]", "spans = [(first + 1, len(whole.ids) - shared)]",
        ("test_dialogue.py", "test_fault_tokens.py"),
    ),
    Edit(
        MASK, "a completion's last token has no loss", "accord/data/loss_spans.py",
        "spans = [(first, len(whole.ids) - shared)]", "spans = [(first, len(whole.ids) - shared - 1)]",
        ("test_dialogue.py", "test_fault_tokens.py"),
    ),
    Edit(
        MASK, "turns with loss begin a token late", "accord/data/loss_spans.py",
        "else lo - shared, hi - shared)", "else lo - shared + 1, hi - shared)",
        ("test_dialogue.py", "test_fault_tokens.py"),
    ),
    Edit(
        MASK, "the score is read a token early", "accord/data/batches.py",
        "start + len(ids) - 1))", "start + len(ids) - 2))", ("test_batches.py", "test_reward_objective.py"),
    ),
    Edit(
        MASK, "the score falls on the last token but one", "accord/maths/policy_gradient.py",
        "last = mask & ~pad(mask[:, 1:], (0, 1))", "last = mask & pad(mask[:, 1:] & ~pad(mask[:, 2:], (0, 1)), (0, 1))",
        ("test_policy_gradient.py",),
    ),
    Edit(
        MASK, "values are taken of the state after the token", "accord/maths/policy_gradient.py",
        "gamma * pad(value[:, 1:], (0, 1)) - value", "gamma * value - pad(value[:, 1:], (0, 1))",
        ("test_policy_gradient.py",),
    ),
    Edit(
        MASK, "a sample's last token is not learnt from", "accord/training/rollout.py",
        "TokenCompletion(ids, ((0, len(ids)),) if len(ids) else ())",
        "TokenCompletion(ids, ((0, len(ids) - 1),) if len(ids) > 1 else ())",
        ("test_rollout.py", "test_rl_samples.py", "test_rl_rounds.py"),
    ),
    Edit(
        END, "of a completion in plain text", "accord/data/dialogue.py",
        "return Encoded(np.append(encoded.ids, np.int32(eos)))", "return encoded", ("test_dialogue.py",),
    ),
    Edit(
        END, "of a sample", "accord/training/rollout.py",
        "made = tuple(TokenCompletion(ids, ((0, len(ids)),) if len(ids) else ()) for ids in samples)",
        "made = tuple(TokenCompletion(ids[:-1], ((0, len(ids) - 1),) if len(ids) > 1 else ()) for ids in samples)",
        ("test_rollout.py", "test_rl_samples.py", "test_rl_rounds.py"),
    ),
    Edit(
        END, "a sampler that does not stop at it", "accord/models/sample_rows.py",
        "written.ended[live] |= np.isin(ids[running], rules.ends)", "written.ended[live] |= False",
        ("test_sample.py",),
    ),
    Edit(
        END, "other end tokens than the tokenizer's", "accord/models/sample.py",
        "(tokenizer.eos_token_id, *named)", "(tokenizer.eos_token_id,)", ("test_sample.py",),
    ),
    Edit(
        SWAP, "in the columns of a file", "accord/data/plain_formats.py",
        "_FIRST = Judgement(ranks=(1, 2))", "_FIRST = Judgement(ranks=(2, 1))", ("test_formats_pairs.py",),
    ),
    Edit(
        SWAP, "in pairs of a ranking", "accord/data/choose.py",
        "best, worst = (i, j) if goodness[i] > goodness[j]", "best, worst = (i, j) if goodness[i] < goodness[j]",
        ("test_choose.py",),
    ),
    Edit(
        SWAP, "in the step of a pair loss", "accord/training/preferences.py",
        "return Pair(values[found.chosen], values[found.rejected])",
        "return Pair(values[found.rejected], values[found.chosen])", ("test_preference_objectives.py",),
    ),
    Edit(
        SWAP, "in pairs of a reward model", "accord/data/outcomes.py",
        "(i, j) if goodness[i] >= goodness[j]", "(i, j) if goodness[i] <= goodness[j]",
        ("test_outcomes.py", "test_reward_objective.py"),
    ),
    Edit(
        SWAP, "in the gap of log-ratios", "accord/maths/pair.py",
        "return ratio.chosen - ratio.rejected", "return ratio.rejected - ratio.chosen", ("test_preference.py",),
    ),
    Edit(
        SWAP, "in the order of ranks", "accord/data/choose.py",
        "return {place: -rank for place", "return {place: rank for place", ("test_choose.py",),
    ),
)  # fmt: skip


def _edits() -> Iterator[Mutation]:
    for edit in EDITS:
        yield Mutation(edit.family, edit.name, edit.file, _instead(edit.old, edit.new), edit.tests)
