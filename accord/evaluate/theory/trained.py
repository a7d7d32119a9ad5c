"""The world behind a network: a language model of four words, trained within seconds, read by the engine itself."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from accord.evaluate.theory.spoken import counted, spoken_of
from accord.evaluate.theory.world import END, Trained, World, all_completions, beginnings, logp, with_reference
from accord.models.logprobs import LanguageModel
from accord.models.pocket import random_model

WORDS = ("<end>", "yes", "no", "well")
PROMPTS = ("well", "no no")
LONGEST = 3  # tokens
STEPS, BATCH, RATE = 120, 64, 1e-2


def trained_world(seed: int = 2) -> World:
    """Two prompts, three words besides the end, at most 3 tokens: 40 completions.

    The network learns from texts of a written policy. Its log-probabilities are those of the engine, in float32, of
    every completion; in float64 they are made to sum to 1 to the last digit. The reward likes "yes", and has a taste
    of its own for every completion besides.
    """
    generator = torch.Generator().manual_seed(seed)
    tokenizer = word_tokenizer()
    tokens, mask = all_completions(words=len(WORDS), longest=LONGEST)
    place, taken = beginnings(tokens, mask, words=len(WORDS))
    taste = 0.4 * torch.randn(len(PROMPTS), len(tokens), generator=generator, dtype=torch.float64)
    liked = ((tokens == WORDS.index("yes")).double() - (tokens == WORDS.index("no")).double()).sum(-1)
    unread = torch.zeros_like(taste)
    world = World(
        name="trained",
        prompts=PROMPTS,
        completions=tuple(" ".join(WORDS[t] for t in row[kept]) for row, kept in zip(tokens, mask, strict=True)),
        reference=unread,
        reward=taste + 0.3 * liked,
        length=mask.sum(-1).expand(len(PROMPTS), -1),
        tokens=tokens,
        mask=mask,
        place=place,
        taken=taken,
    )
    written = torch.randn(len(PROMPTS), *taken.shape[:2], generator=generator, dtype=torch.float64)
    network = _network(tokenizer, seed)
    _train(network, tokenizer, world, logp(world, 0.7 * written).exp(), generator)
    world = world._replace(trained=Trained(LanguageModel(network), tokenizer))
    return with_reference(world, counted(spoken_of(world)).log_softmax(-1))


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A token a word; the first one ends a completion, and pads."""
    model = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=WORDS[END]))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=model, eos_token=WORDS[END], pad_token=WORDS[END])


def _network(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    return random_model(tokenizer, vocab_size=len(WORDS), hidden_size=32, layers=1, heads=2, kv_heads=2, seed=seed)


def _train(
    network: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    chance: Tensor,
    generator: torch.Generator,
) -> None:
    """Next-token likelihood of texts drawn from `chance` (G, S), after their prompts. Eq. 2."""
    heads = [torch.tensor(tokenizer(prompt)["input_ids"]) for prompt in world.prompts]
    parameters = list(network.parameters())
    mean, square = ([torch.zeros_like(one) for one in parameters] for _ in range(2))
    for step in range(1, STEPS + 1):
        loss = torch.stack(
            [_loss(network, head, world, row, generator) for head, row in zip(heads, chance, strict=True)]
        )
        for one, slope, m, v in zip(parameters, torch.autograd.grad(loss.sum(), parameters), mean, square, strict=True):
            m.lerp_(slope, 0.1)
            v.lerp_(slope.square(), 0.05)
            with torch.no_grad():  # Adam, Eq. 22, written out: torch's would load its compiler for these few steps
                one.sub_(RATE * (m / (1 - 0.9**step)) / ((v / (1 - 0.95**step)).sqrt() + 1e-8))


def _loss(network: LlamaForCausalLM, head: Tensor, world: World, chance: Tensor, generator: torch.Generator) -> Tensor:
    """() nats a token, of BATCH texts."""
    drawn = torch.multinomial(chance, BATCH, replacement=True, generator=generator)
    body, kept = world.tokens[drawn], world.mask[drawn]
    logits = network(input_ids=torch.cat([head.expand(BATCH, -1), body], 1), use_cache=False).logits
    return cross_entropy(logits[:, len(head) - 1 : -1][kept].float(), body[kept])
