"""The worlds of `accord theory`: all completions are there once, and a table of logits is a policy of them."""

import torch
from torch import Tensor

from accord.evaluate.theory.world import END, World, all_completions, logits_of, logp, reached, table_world, token_logp

WORLD = table_world(0)


def random_table(world: World, seed: int) -> Tensor:
    shape = (len(world.prompts), *world.taken.shape[:2])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_completion_is_there_once() -> None:
    tokens, mask = all_completions(words=3, longest=2)
    assert tokens.tolist() == [[0, 0], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]
    assert mask.sum(-1).tolist() == [1, 2, 2, 2, 2, 2, 2]
    assert len(all_completions(words=4, longest=3)[0]) == 1 + 3 + 27 + 9  # ended after 1, 2, 3 tokens, and cut
    assert all((END not in row[kept][:-1]) for row, kept in zip(WORLD.tokens, WORLD.mask, strict=True))


def test_the_chances_of_all_completions_sum_to_one_for_any_table() -> None:
    for seed in range(3):
        torch.testing.assert_close(logp(WORLD, random_table(WORLD, seed)).exp().sum(-1), torch.ones(2).double())
    torch.testing.assert_close(WORLD.reference.exp().sum(-1), torch.ones(2).double())
    torch.testing.assert_close(WORLD.mu.exp().sum(-1), torch.ones(2).double())


def test_a_completion_by_hand() -> None:
    """ "a b" and then the end: three rows of the table."""
    table = random_table(WORLD, 1)
    step = table[0].softmax(-1)
    place = {text: index for index, text in enumerate(["", "a", "b", "aa", "ab", "ba", "bb"])}
    y = WORLD.completions.index("a b ⊣")
    by_hand = step[place[""], 1] * step[place["a"], 2] * step[place["ab"], 0]
    torch.testing.assert_close(logp(WORLD, table)[0, y].exp(), by_hand)
    torch.testing.assert_close(token_logp(WORLD, table)[0, y, 2].exp(), step[place["ab"], 0])
    torch.testing.assert_close(reached(WORLD, logp(WORLD, table))[0, place["ab"]].exp(), step[0, 1] * step[1, 2])
    assert WORLD.length[0, y] == 3


def test_a_table_is_read_back_from_its_policy() -> None:
    table = random_table(WORLD, 2)
    torch.testing.assert_close(logits_of(WORLD, logp(WORLD, table)), table.log_softmax(-1))


def test_a_world_is_a_function_of_its_seed() -> None:
    assert torch.equal(table_world(3).reward, table_world(3).reward)
    assert not torch.equal(table_world(3).reward, table_world(4).reward)
