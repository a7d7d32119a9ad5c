"""Several roles on one base: which adapter of a network computes, while all of them stand in it.

The adapter that a run trains is the policy's. Beside it may stand a frozen copy of how it began (the reference, where
that is more than the base), a reward model's and a critic's: accord.models.shared puts them there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel

from accord.models.adapters import adapter_of, computing, configs_of, injected, parameters_of

Role = Literal["policy", "reference", "reward", "critic"]
SEEN_AS = "accord_role"  # an attribute of a network


def adapter_of_role(network: PreTrainedModel, role: Role) -> str | None:
    """peft's name for the adapter that computes in this role; None for the base alone."""
    if role == "policy":
        return adapter_of(network)[0]
    if role in configs_of(network):
        return role
    assert role == "reference", f"no adapter for {role}"
    return None


def acting(network: PreTrainedModel, role: Role) -> AbstractContextManager[None]:
    """Within, the network computes in this role: the reference by the base alone, unless it has an adapter of its own.

    Nothing becomes trained or frozen by it, and gradients of what was computed within may be taken outside. A network
    without adapters has no role but the policy's.
    """
    if not configs_of(network):
        assert role == "policy", f"{role} on a network without adapters"
        return nullcontext()
    return computing(network, adapter_of_role(network, role))


def seen_as(network: PreTrainedModel, role: Role) -> PreTrainedModel:
    """The same network, nothing of it copied, that computes in this role wherever Accord computes with it."""
    view = copy.copy(network)
    setattr(view, SEEN_AS, role)
    return view


def role_of(network: PreTrainedModel) -> Role | None:
    """The role that a network is seen in; None where it computes with whatever is switched on."""
    return cast(Role | None, getattr(network, SEEN_AS, None))


def in_role(network: PreTrainedModel) -> AbstractContextManager[None]:
    """Within, a network that is seen in a role computes in it; any other one as it does without."""
    role = role_of(network)
    return acting(network, role) if role else nullcontext()


def trained_in(network: PreTrainedModel, role: Role) -> dict[str, nn.Parameter]:
    """What is trained of one role's adapter, by its names in the network."""
    name = adapter_of_role(network, role)
    own = parameters_of(network, name) if name is not None else {}
    return {key: parameter for key, parameter in own.items() if parameter.requires_grad}


def computed_again(network: PreTrainedModel) -> Callable[[], tuple[AbstractContextManager[None], _Again]]:
    """For gradient checkpointing (`context_fn`): what is computed again in a backward pass is so in its first role."""
    return lambda: (nullcontext(), _Again(network, _active(network)))


class _Again:
    """Puts a network back into the role it had; may be entered as often as a backward pass asks for it."""

    def __init__(self, network: PreTrainedModel, name: str | None) -> None:
        self.network, self.name = network, name
        self.within: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        same = _active(self.network) == self.name
        self.within.append(nullcontext() if same else computing(self.network, self.name))
        self.within[-1].__enter__()

    def __exit__(self, *failure: object) -> None:
        self.within.pop().__exit__(None, None, None)


def _active(network: PreTrainedModel) -> str | None:
    """The adapter that computes now; None where none does."""
    for layer in injected(network):
        if isinstance(layer, BaseTunerLayer):
            return None if layer.disable_adapters else next(iter(layer.active_adapters), None)
    return None


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Whatever happens to them within, afterwards the parameters that were there before are trained as they were."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)
