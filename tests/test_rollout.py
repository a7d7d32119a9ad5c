"""What was sampled, as it is learnt from: columns by hand, and passes over it whatever their micro-batches."""

import numpy as np
import pytest
import tiny
import torch
from rollouts import asked, every, rollout_of
from torch import Tensor

from accord.data.batches import Batch, Layout, arrange
from accord.data.cut import micro_batches
from accord.data.ranges import Ranges
from accord.models.logprobs import LanguageModel, logprobs
from accord.stages.rl_course import blank_rollout
from accord.stages.rl_rounds import Stream
from accord.training.rollout import mask_of, padded, sampled_group, summed, swept

RANGES = Ranges.of_groups([tiny.group(3, (2, 4)), tiny.group(5, (1,))])
COLUMN = torch.tensor([1.0, 2, 3, 4, 5, 6, 7])


def test_rows_masks_and_sums_by_hand() -> None:
    assert padded(COLUMN, RANGES).tolist() == [[1, 2, 0, 0], [3, 4, 5, 6], [7, 0, 0, 0]]
    assert mask_of(RANGES).tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]
    assert summed(COLUMN, RANGES).tolist() == [3.0, 18.0, 7.0]
    assert torch.equal(padded(COLUMN, RANGES)[mask_of(RANGES)], COLUMN)


def test_sums_are_float64() -> None:
    """A KL of a sample is a sum of thousands of tokens' small differences."""
    ranges = Ranges.of_groups([tiny.group(1, (10_000,))])
    column = torch.full((10_000,), 0.1)
    assert summed(column, ranges).item() == pytest.approx(10_000 * float(np.float32(0.1)), rel=1e-12)


def test_all_tokens_of_a_sample_carry_loss_and_one_of_none_carries_none() -> None:
    prompt = tiny.group(3, (5, 5))
    made = sampled_group(prompt, [tiny.tokens(7, 8, 2), tiny.tokens(), tiny.tokens(9)])
    assert made.group is prompt.group and made.prompt is prompt.prompt
    assert [one.loss for one in made.completions] == [((0, 3),), (), ((0, 1),)]
    ranges = Ranges.of_groups([made])
    assert ranges.length.tolist() == [3, 0, 1]
    assert padded(torch.tensor([1.0, 2, 3, 4]), ranges).tolist() == [[1, 2, 3], [0, 0, 0], [4, 0, 0]]
    assert summed(torch.tensor([1.0, 2, 3, 4]), ranges).tolist() == [6, 0, 4]


@pytest.mark.parametrize("layout", ["tree", "cache", "rows"])
@pytest.mark.parametrize("max_tokens", [20, 10_000])
def test_a_sweep_gives_stocks_log_probabilities_in_the_order_of_the_groups(layout: Layout, max_tokens: int) -> None:
    network, groups = tiny.gpt2(), asked()
    network.train()  # with its dropout of 0.1, which a sweep does without

    def read(model: LanguageModel, batch: Batch) -> tuple[Tensor, ...]:
        made = logprobs(model, batch, temperature=0.8)
        return made.token.token, batch.target.float()

    ranges = Ranges.of_groups(groups)
    batches = micro_batches(groups, (2, 0, 3, 1), max_tokens=max_tokens, layout=layout)
    own, target = swept(LanguageModel(network, layout), batches, ranges, read)
    assert network.training and not own.requires_grad
    network.eval()
    with torch.no_grad():
        plain = torch.cat([one.logp for one in every(network, groups, 0.8)])
    torch.testing.assert_close(own, plain, rtol=0, atol=2e-5)
    assert target.tolist() == np.concatenate([one.ids for group in groups for one in group.completions]).tolist()


def test_a_micro_batch_gets_its_own_columns() -> None:
    rollout = rollout_of(tiny.llama(), asked())
    batch = arrange([rollout.groups[2], rollout.groups[0]], "tree", indices=[2, 0])
    tokens, (samples, sources) = rollout.tokens_of(batch), rollout.samples_of(batch)
    # Groups have 12, 11 and 14 tokens: the third begins at 23, its samples at 6.
    assert torch.equal(tokens.advantage, torch.cat([rollout.tokens.advantage[23:37], rollout.tokens.advantage[:12]]))
    assert torch.equal(samples.score, torch.cat([rollout.samples.score[6:9], rollout.samples.score[:3]]).float())
    assert torch.equal(sources["judge"], 2 * samples.score)


def test_blanks_count_and_are_nothing_else() -> None:
    blank = blank_rollout(asked())
    assert blank.samples.counts.tolist() == [1.0] * 12 and len(blank.tokens.old) == 50
    assert not any(column.any() for column in (*blank.tokens, blank.samples.score, blank.samples.kl))


# ---- which prompts -------------------------------------------------------------------------------------------------


def test_rounds_cut_the_epochs_as_one_stream() -> None:
    """Seven prompts, three a round: every epoch has each once, and a round goes over the border of two."""
    stream = Stream([10, 11, 12, 13, 14, 15, 16], 3, shuffle=True, seed=4)
    rounds = [stream.at(number) for number in range(7)]
    flat = [place for one in rounds for place in one]
    assert [sorted(flat[start : start + 7]) for start in (0, 7, 14)] == [list(range(10, 17))] * 3
    assert flat[:7] != flat[7:14] != flat[14:]
    again = Stream([10, 11, 12, 13, 14, 15, 16], 3, shuffle=True, seed=4)
    assert [again.at(number) for number in (6, 0, 3)] == [rounds[6], rounds[0], rounds[3]]


def test_in_file_order_and_with_fewer_prompts_than_a_round_has() -> None:
    assert Stream([5, 6, 7], 2, shuffle=False, seed=0).at(1) == [7, 5]
    assert Stream([5, 6], 5, shuffle=False, seed=0).at(0) == [5, 6, 5, 6, 5]
