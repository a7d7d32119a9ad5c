"""From gradients to new weights: optimisers by name, and the float32 masters of a model that computes in bf16."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from torch.utils.hooks import RemovableHandle

from accord.errors import InputError
from accord.training.averaging import Average, exchange, take

ParameterGroups = list[dict[str, Any]]
Recipe = Callable[[Mapping[str, nn.Parameter]], Optimizer]

# Mixed-dtype addition makes a float32 copy of its operand, and a float32 sum over millions of squares drifts. In pieces
# the copy stays in the cache (39 ms -> 3 ms for 16 M numbers) and the norm is right to 1e-7 instead of 8e-6.
ADD_PIECE = 1 << 20
NORM_PIECE = 1 << 16


def adamw(groups: ParameterGroups, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """Loshchilov & Hutter 2019, Algorithm 2: Adam with both bias corrections; weight decay apart from the gradient."""
    return AdamW(groups, lr=0.0, betas=betas, eps=eps, fused=fusible(groups))


def adam(groups: ParameterGroups, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> Optimizer:
    """Kingma & Ba 2015, Algorithm 1. Weight decay is part of the gradient."""
    return Adam(groups, lr=0.0, betas=betas, eps=eps, fused=fusible(groups))


def sgd(groups: ParameterGroups) -> Optimizer:
    """theta^{k+1} = theta^k - alpha_k g(theta^k)."""
    return SGD(groups, lr=0.0, fused=fusible(groups))


def momentum(groups: ParameterGroups, *, momentum: float = 0.9) -> Optimizer:
    """Momentum with look-ahead: v <- beta v + alpha g(theta - beta v); theta <- theta - v. Nesterov 1983.

    As always in PyTorch, the model holds the look-ahead point theta - beta v, where the gradient is taken. v starts as
    0, so that the first step is a gradient step. What is kept is v / alpha: where the learning rate changes, the whole
    of v takes the new one.
    """
    return SGD(groups, lr=0.0, momentum=momentum, nesterov=True, fused=fusible(groups))


def adagrad(groups: ParameterGroups, *, eps: float = 1e-8) -> Optimizer:
    """n <- n + g g; theta <- theta - alpha g / (sqrt(n) + eps). Duchi et al. 2011."""
    return Adagrad(groups, lr=0.0, eps=eps, foreach=True)


def rmsprop(groups: ParameterGroups, *, alpha: float = 0.99, eps: float = 1e-8) -> Optimizer:
    """n <- alpha n + (1 - alpha) g g; theta <- theta - lr g / (sqrt(n) + eps). Hinton 2012, lecture 6."""
    return RMSprop(groups, lr=0.0, alpha=alpha, eps=eps, foreach=True)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": adamw,
    "adam": adam,
    "sgd": sgd,
    "momentum": momentum,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
}


def options_of(name: str) -> dict[str, Any]:
    """An optimiser's options and their defaults: its signature is their only home."""
    parameters = inspect.signature(OPTIMIZERS[name]).parameters.values()
    return {option.name: option.default for option in parameters if option.kind is option.KEYWORD_ONLY}


def recipe(name: str = "adamw", *, weight_decay: float = 0.0, **options: Any) -> Recipe:
    """An optimiser for parameters that come later. An option that is None takes its default.

    Weight decay spares vectors (norms, biases). InputError for a name that is not in OPTIMIZERS and for an option that
    the optimiser does not have. The learning rate is given with each step.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"no optimizer {name}", where="optimizer", fix=f"one of {', '.join(OPTIMIZERS)}")
    given = {option: value for option, value in options.items() if value is not None}
    foreign = given.keys() - options_of(name).keys()
    if foreign:
        takes = ", ".join(options_of(name)) or "none but weight_decay"
        raise InputError(f"{name} has no {', '.join(sorted(foreign))}", where="optimizer", fix=f"its options: {takes}")

    def build(parameters: Mapping[str, nn.Parameter]) -> Optimizer:
        matrices = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
        vectors = [parameter for parameter in parameters.values() if parameter.ndim < 2]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        return OPTIMIZERS[name]([group for group in groups if group["params"]], **given)

    return build


def fusible(groups: ParameterGroups) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])


class Weights:
    """The trainable parameters of a model by name, tied ones once, in float32, with what changes them.

    Of a model that computes in float32 they are its own parameters. Of one that computes in bf16 they are float32
    masters: each micro-batch's gradient is added to the master's as soon as it is there, and its bf16 one freed; a step
    changes the masters, and the model gets them rounded. Updates too small for bf16 are so kept.
    """

    def __init__(
        self,
        masters: dict[str, nn.Parameter],
        working: list[nn.Parameter],
        optimizer: Optimizer,
        average: Average | None = None,
    ) -> None:
        self.masters = masters
        self.working = working  # the model's bf16 parameters, in the order of the masters; empty in float32
        self.optimizer = optimizer
        self.average = average
        self.swapped = False
        self.hooks: list[RemovableHandle] = []
        self.frozen: list[nn.Parameter] = []  # floating-point parameters that are not trained, and are widened

    @classmethod
    def of(
        cls,
        model: nn.Module,
        recipe: Recipe,
        *,
        dtype: torch.dtype = torch.float32,
        average: Callable[[Mapping[str, nn.Parameter]], Average] | None = None,
        widen_frozen: bool = True,
    ) -> "Weights":
        """Takes the model over: its floating-point parameters become `dtype` (float32 or bfloat16), frozen ones too.

        Load what is trained in float32 even for bf16: its storage becomes the masters', without a copy. widen_frozen:
        what `widen` does with the frozen ones; not needed where they are not saved. InputError where nothing is
        trainable.
        """
        named = dict(model.named_parameters())
        weights = cls.over(named, recipe, dtype=dtype, average=average)
        frozen = [p for p in named.values() if p.is_floating_point() and not p.requires_grad]
        weights.frozen = frozen if widen_frozen else []
        return weights

    @classmethod
    def over(
        cls,
        named: Mapping[str, nn.Parameter],
        recipe: Recipe,
        *,
        dtype: torch.dtype = torch.float32,
        average: Callable[[Mapping[str, nn.Parameter]], Average] | None = None,
    ) -> "Weights":
        """As `of`, of these parameters: some of a network, or of several."""
        assert dtype in (torch.float32, torch.bfloat16)
        masters: dict[str, nn.Parameter] = {}
        working: list[nn.Parameter] = []
        for name, parameter in named.items():
            exact = parameter.data
            if parameter.is_floating_point():
                parameter.data = exact.to(dtype)
            if parameter.requires_grad and dtype == torch.float32:
                masters[name] = parameter
            elif parameter.requires_grad:
                masters[name] = nn.Parameter(exact.float().contiguous())
                working.append(parameter)
        if not masters:
            raise InputError("the model has no parameter to train", fix="unfreeze some, or add an adapter")
        weights = cls(masters, working, recipe(masters), average(masters) if average else None)
        for parameter, master in zip(working, masters.values(), strict=False):
            weights.hooks.append(parameter.register_post_accumulate_grad_hook(hand_over(master)))
        return weights

    def widen(self) -> None:
        """Ends the training. The masters themselves become the model's parameters, so that what is saved is what was
        trained and not its rounding; inside averaged() they are the average, and stay it. Frozen parameters become
        float32 too (unless `of` was told otherwise), with the values that they had in bf16.
        """
        self.zero_grad()
        for hook in self.hooks:
            hook.remove()
        for parameter in self.frozen:
            parameter.data = parameter.data.float()
        for parameter, master in zip(self.working, self.masters.values(), strict=False):
            parameter.data = master.data
        self.working, self.average, self.swapped = [], None, False

    def parameters(self) -> list[nn.Parameter]:
        return list(self.masters.values())

    def gradients(self) -> list[Tensor]:
        return [master.grad for master in self.masters.values() if master.grad is not None]

    def zero_grad(self) -> None:
        for parameter in (*self.masters.values(), *self.working):
            parameter.grad = None

    def grad_norm(self) -> Tensor:
        """() the L2 norm over all gradients together, float32; 0 where there are none."""
        pieces = [piece for gradient in self.gradients() for piece in gradient.reshape(-1).split(NORM_PIECE)]
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(pieces))) if pieces else torch.zeros(())

    def scale(self, factor: float) -> None:
        """Multiplies all gradients."""
        torch._foreach_mul_(self.gradients(), factor)

    def clip(self, norm: Tensor, max_norm: float) -> None:
        """Scales all gradients down, so that their common norm, now `norm`, becomes max_norm. Pascanu et al. 2013."""
        if norm > max_norm:
            self.scale(max_norm / norm.item())

    def step(self, lr: float) -> None:
        """One step of the optimiser at learning rate `lr`, and the average's look at it."""
        assert not self.swapped, "a step inside averaged() would train the average"
        if self.average and self.average.looks == "before":
            self.average.observe(self.masters, lr)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.publish()
        if self.average and self.average.looks == "after":
            self.average.observe(self.masters, lr)

    @torch.no_grad()
    def publish(self) -> None:
        """The model's bf16 parameters become the masters, rounded."""
        if self.working:
            torch._foreach_copy_([*self.working], [*self.masters.values()])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, masters and model are the average (where there is one): for evaluation and saving."""
        if self.average is None:
            yield
            return
        exchange(self.masters, self.average.mean)
        self.swapped = True
        try:
            self.publish()
            yield
        finally:
            if self.average is not None:  # no widen() in between
                exchange(self.masters, self.average.mean)
                self.publish()
                self.swapped = False

    def state_tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that a checkpoint needs of this, not copied: file name -> name -> tensor."""
        assert not self.swapped
        files = {"weights": {name: master.detach() for name, master in self.masters.items()}}
        files["optimizer"] = optimizer_tensors(self.optimizer, self.masters)
        if self.average:
            files["average"] = self.average.tensors()
        return files

    def load_state_tensors(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The reverse of `state_tensors`, exact to the bit. InputError where the tensors are of another model."""
        for file in ("weights", "optimizer", *(["average"] if self.average else [])):
            self.load_file(file, files[file])

    def load_file(self, file: str, tensors: Mapping[str, Tensor]) -> None:
        """One file of them."""
        if file == "weights":
            take(self.masters, tensors)
            self.publish()
        elif file == "optimizer":
            load_optimizer(self.optimizer, self.masters, tensors)
        elif self.average:
            self.average.load(tensors)


def hand_over(master: nn.Parameter) -> Callable[[Tensor], None]:
    """A hook that adds a parameter's fresh gradient to its master's, in float32, and frees it."""

    def hook(parameter: Tensor) -> None:
        assert parameter.grad is not None
        if master.grad is None:
            master.grad = torch.empty_like(master).copy_(parameter.grad)
        else:
            pieces = parameter.grad.reshape(-1).split(ADD_PIECE)
            for total, piece in zip(master.grad.view(-1).split(ADD_PIECE), pieces, strict=True):
                total.add_(piece)
        parameter.grad = None

    return hook


def optimizer_tensors(optimizer: Optimizer, masters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """`what/parameter` -> tensor, such as exp_avg/lm_head.weight; step counters are tensors too."""
    named = {}
    for name, master in masters.items():
        for what, value in optimizer.state.get(master, {}).items():
            assert isinstance(value, Tensor), what
            named[f"{what}/{name}"] = value
    return named


def load_optimizer(optimizer: Optimizer, masters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    """The reverse of `optimizer_tensors`. torch numbers the parameters by place in the groups, our files name them."""
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    place = {id(parameter): number for number, parameter in enumerate(ordered)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        what, _, name = key.partition("/")
        if name not in masters or (tensor.ndim and tensor.shape != masters[name].shape):
            raise InputError("optimiser state of another model", where=key, fix="resume with the same model")
        state.setdefault(place[id(masters[name])], {})[what] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
