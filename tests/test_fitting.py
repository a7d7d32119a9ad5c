"""Micro-batches that memory does not suffice for, the largest of a run, and what is known of them before."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import tiny
import torch
from test_guards import pairs_with, trees
from test_loop import BLOCKS, PAIRS, RANKED, TURNS, moved, reference_of
from test_preference_objectives import THUMBS, term

from accord.data.batches import Batch, arrange, halves, places
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.data.mismatch import mismatched
from accord.errors import StorageError
from accord.maths.unpaired import UNPAIRED_LOSSES
from accord.models.logprobs import LanguageModel
from accord.stages.course import Turn, largest_of
from accord.stages.evaluation import evaluate
from accord.stages.guards import KEPT
from accord.stages.options import DataOptions
from accord.training.fitting import Room, attempt
from accord.training.labels import LabelObjective
from accord.training.loop import fit
from accord.training.objectives import Likelihood, Objective
from accord.training.optimizer import OPTIMIZERS, Weights, recipe
from accord.training.step import Part

LAYOUTS: Any = ["tree", "cache", "rows"]


@pytest.mark.parametrize("layout", [*LAYOUTS, "encoder"])
@pytest.mark.parametrize("groups", [PAIRS, RANKED, TURNS[:4]], ids=["pairs", "ranked", "turns"])
def test_two_halves_are_the_whole(layout: Any, groups: Sequence[TokenGroup]) -> None:
    how = {"start": 0} if layout == "encoder" else {}
    indices = list(range(7, 7 + len(groups)))
    batch = arrange(groups, layout, indices=indices, **how)
    one, other = halves(batch)
    assert (*one.members, *other.members) == tuple(groups)
    assert (*one.indices, *other.indices) == tuple(indices)
    for half in (one, other):
        place = [indices.index(index) for index in half.indices]
        expected = arrange([groups[i] for i in place], layout, indices=half.indices, **how)
        assert half.layout == expected.layout
        assert all(torch.equal(half[i], expected[i]) for i in (0, 1, 3, 4, 5, 6))
        assert 0 < half.places < batch.places


@pytest.mark.parametrize("layout", [*LAYOUTS, "encoder"])
@pytest.mark.parametrize("group", [*PAIRS[:2], *RANKED[:2], *TURNS[:4]])
def test_the_places_of_a_group_are_counted_before_it_is_laid_out(layout: Any, group: TokenGroup) -> None:
    batch = arrange([group], layout, start=0)
    assert places(group, layout) == batch.places


SMALL = 45  # tokens that every group alone needs less of, and the groups of a step together more


class Cramped:
    """Memory for so many tokens at a time: a pass with gradients that takes more fails, forwards or backwards."""

    def __init__(self, network: Any, most: int, *, back: bool) -> None:
        self.most, self.back, self.failed = most, back, 0
        network.get_input_embeddings().register_forward_hook(self._embed)

    def _embed(self, module: object, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        if args[0].numel() <= self.most or (self.back and not output.requires_grad):
            return None
        if not self.back:
            self._fail()
        passed = output.clone()
        passed.register_hook(self._fail)
        return passed

    def _fail(self, gradient: object = None) -> None:
        self.failed += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def thumbs() -> LabelObjective:
    """KTO, whose baseline comes from completions of other prompts."""
    everything = [*THUMBS, *mismatched(THUMBS, max_length=100)]

    def others(wanted: Sequence[int]) -> Iterator[Batch]:
        return micro_batches(everything, [len(THUMBS) + i for i in wanted], max_tokens=20, layout="tree")

    return LabelObjective(term(UNPAIRED_LOSSES, "kto"), reference_of(everything), others)


MEMORY: dict[str, tuple[Sequence[TokenGroup], Callable[[], Objective]]] = {
    "dpo": (PAIRS, lambda: pairs_with("sigmoid")),
    "two passes": (PAIRS, lambda: pairs_with("bco_pair")),
    "kto": (THUMBS, thumbs),
    "sft": (TURNS, Likelihood),
    "pretrain": (BLOCKS, Likelihood),
}


def stepped(groups: Sequence[TokenGroup], objective: Objective, room: Room, most: int, *, back: bool) -> Any:
    """Two steps of plain descent with little memory: results, weights, how often memory ran out."""
    network = moved(tiny.llama())
    cramped = Cramped(network, most, back=back)
    parts = [Part(list(micro_batches(groups, range(len(groups)), max_tokens=10_000, layout="tree")), objective)]
    weights = Weights.of(network, recipe("sgd"))
    found = list(
        fit(LanguageModel(network), [parts, parts], weights, lambda _: 0.5, max_grad_norm=0, seed=0, room=room)
    )
    return found, {name: p.detach() for name, p in network.named_parameters()}, cramped.failed


@pytest.mark.parametrize("back", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("case", MEMORY)
def test_a_step_that_does_not_fit_is_the_same_step(case: str, back: bool) -> None:
    groups, objective = MEMORY[case]
    told: list[str] = []
    room = Room(told.append)
    whole, expected, _ = stepped(groups, objective(), Room(told.append), 10_000, back=back)
    assert told == []
    found, weights, failed = stepped(groups, objective(), room, SMALL, back=back)
    assert failed == len(told) > 0
    assert all("step 1: no memory for a micro-batch of" in line for line in told)  # the second step was cut before
    assert room.limit is not None and f"--max_tokens {room.limit} avoids this" in told[-1]
    for one, other in zip(whole, found, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-5)
        assert (other.groups, other.tokens) == (one.groups, one.tokens)
        for name, pair in one.sums.items():
            assert other.sums[name] == pytest.approx(pair, rel=1e-4, abs=1e-4)
    assert tiny.distance(weights, expected) < 1e-6


def test_the_limit_is_all_that_a_resumed_run_needs() -> None:
    """With it from the beginning the second step has the same bits, and memory does not run out again."""
    groups, objective = MEMORY["dpo"]
    first = Room(lambda _: None)
    _, expected, _ = stepped(groups, objective(), first, SMALL, back=True)
    told: list[str] = []
    _, again, failed = stepped(groups, objective(), Room(told.append, first.limit), SMALL, back=True)
    assert (failed, told) == (0, [])
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_a_group_that_does_not_fit_alone_is_named() -> None:
    groups, objective = MEMORY["sft"]
    with pytest.raises(StorageError, match=r"^made.jsonl:5 \(id g4\): step 1: no memory for this group alone, 23 tok"):
        stepped(groups, objective(), Room(lambda _: None), 20, back=True)


def test_it_is_the_group_that_memory_lacks_for_which_is_named() -> None:
    """Not a larger one that came before it and did fit."""

    class Heavy(Likelihood):
        def __call__(self, model: LanguageModel, batch: Batch) -> Any:
            if "g2" in {member.group.id for member in batch.members}:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().__call__(model, batch)

    network, told = tiny.llama(), []
    steps = fit(
        LanguageModel(network), [[Part(trees(TURNS, 100), Heavy())]], Weights.of(network, recipe()), lambda _: 0.1,
        max_grad_norm=0, seed=0, room=Room(told.append),
    )  # fmt: skip
    with pytest.raises(StorageError, match=r"^made.jsonl:3 \(id g2\): step 1: no memory for this group alone, 14 tok"):
        next(steps)
    assert 0 < len(told) < 4


@pytest.mark.parametrize("case", ["dpo", "two passes", "sft"])
def test_an_evaluation_that_does_not_fit_gives_the_same_figures(case: str) -> None:
    groups, objective = MEMORY[case]
    batches = list(micro_batches(groups, range(len(groups)), max_tokens=10_000, layout="tree"))
    expected = evaluate(LanguageModel(moved(tiny.llama())), batches, objective())
    network, told = moved(tiny.llama()), []
    cramped = Cramped(network, SMALL, back=False)
    found = evaluate(LanguageModel(network), batches, objective(), Room(told.append))
    assert cramped.failed == len(told) > 0 and all("note: evaluation: no memory" in line for line in told)
    assert found.groups == expected.groups
    assert found.flat() == pytest.approx(expected.flat(), rel=1e-4, abs=1e-5)


def test_only_what_the_allocator_says_is_a_lack_of_memory() -> None:
    def broken() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        attempt(broken)
    assert attempt(lambda: torch.empty(1 << 52, dtype=torch.uint8)) is None  # no address space is as large


def test_what_did_not_fit_is_free_when_it_is_computed_again() -> None:
    freed: list[bool] = []

    class Held:
        def __del__(self) -> None:
            freed.append(True)

    def full() -> None:
        held = Held()
        raise torch.OutOfMemoryError(f"out of memory {id(held)}")

    assert attempt(full) is None
    assert freed == [True]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("max_tokens", [80, 300, 5000])
@pytest.mark.parametrize("groups", ["even", "uneven", "one long"])
def test_no_step_is_much_larger_than_the_largest(groups: str, layout: Any, max_tokens: int) -> None:
    lengths = {"even": (8, 4), "uneven": (40, 30), "one long": (10, 5)}[groups]
    draw = torch.Generator().manual_seed(1)
    made = [tiny.group(*_lengths(lengths, draw, long=groups == "one long" and i == 17), seed=i) for i in range(60)]
    cut = partial(micro_batches, max_tokens=max_tokens, layout=layout)
    turn = Turn(range(60), 8, DataOptions(data="none"), seed=3)
    found = largest_of(made, turn, cut)
    seen = [batch for step in range(80) for batch in cut(made, turn.at(step))]
    assert max(batch.places for batch in found) >= 0.9 * max(batch.places for batch in seen)
    longest = max(range(60), key=lambda i: made[i].length)
    assert any(longest in batch.indices for batch in found)
    assert all(len(batch.members) <= 8 for batch in found) and 1 <= len(found) <= 2
    fits = [batch for batch in found if len(batch.members) > 1]
    assert all(batch.places <= max_tokens for batch in fits)


def test_the_longest_is_tried_though_others_are_larger() -> None:
    """Six short completions take more places than one long one, whose attention is the widest."""
    made = [tiny.group(3, [20] * 6, seed=i, ranks=range(1, 7)) for i in range(30)] + [tiny.group(60, [5], seed=99)]
    turn = Turn(range(31), 4, DataOptions(data="none"), seed=0)
    found = largest_of(made, turn, partial(micro_batches, max_tokens=420, layout="rows"))
    assert [len(batch.members) for batch in found] == [3, 1]
    assert found[0].places == 3 * 6 * 23 and found[1].indices == (30,)


def _lengths(most: tuple[int, int], draw: torch.Generator, *, long: bool) -> tuple[int, list[int]]:
    prompt, one, other = (int(torch.randint(1, n + 1, (), generator=draw)) for n in (most[0], most[1], most[1]))
    return (prompt, [one, other]) if not long else (100, [30, 5])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimiser_will_hold_is_known_before(name: str) -> None:
    """Tensors as large as the parameters that the first step makes: on a GPU their room is held while it is tried."""
    network = tiny.llama()
    weights = Weights.of(network, recipe(name))

    def held() -> int:
        kept = [value for state in weights.optimizer.state.values() for value in state.values()]
        return sum(value.numel() for value in kept if isinstance(value, torch.Tensor) and value.ndim)

    before, step = held(), [Part(trees(TURNS), Likelihood())]
    list(fit(LanguageModel(network), [step], weights, lambda _: 0.1, max_grad_norm=0, seed=0))
    assert held() - before == KEPT.get(name, 0) * sum(p.numel() for p in weights.parameters())
