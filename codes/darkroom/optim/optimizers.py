"""Optimizers by name. A function's signature is the schema of its section of the option file, less ``params``.

Those of torch run fused on a GPU and in batches of tensors elsewhere. The others come from the package
pytorch-optimizer, under the option names and with the defaults of traiNNer where it has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..core.registry import Registry

Params = Iterable[Tensor] | Iterable[dict[str, Any]]
"""Parameters, or groups of them with settings of their own."""

OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", "darkroom.optim")


def _fast(params: Params, fused: bool = True) -> dict[str, Any]:
    """``params``, and the argument that chooses the fastest implementation: fused where all of them are on a GPU."""
    entries: list[Any] = list(params)
    tensors = [t for entry in entries for t in (entry["params"] if isinstance(entry, dict) else [entry])]
    on_gpu = fused and bool(tensors) and all(t.is_cuda and t.is_floating_point() for t in tensors)
    return {"params": entries, "fused": True} if on_gpu else {"params": entries, "foreach": True}


@OPTIMIZERS.register("adam")
def adam(
    params: Params,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> Optimizer:
    """Kingma and Ba 2015, https://arxiv.org/abs/1412.6980; ``weight_decay`` is added to the gradient."""
    return torch.optim.Adam(**_fast(params), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)


@OPTIMIZERS.register("adamw")
def adamw(
    params: Params,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
) -> Optimizer:
    """Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101: Adam with decoupled ``weight_decay``."""
    return torch.optim.AdamW(**_fast(params), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)


@OPTIMIZERS.register("sgd")
def sgd(
    params: Params,
    lr: float = 1e-4,
    momentum: float = 0.9,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Optimizer:
    """Stochastic gradient descent with momentum.

    Not fused: fused, a first step that is left out makes uninitialised memory the momentum.
    """
    return torch.optim.SGD(
        **_fast(params, fused=False),
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
    )


@OPTIMIZERS.register("rmsprop")
def rmsprop(
    params: Params,
    lr: float = 1e-4,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    centered: bool = False,
) -> Optimizer:
    """Hinton 2012; ``alpha`` is the share of the past in the mean of squares."""
    arguments = _fast(params, fused=False)
    return torch.optim.RMSprop(
        **arguments, lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=weight_decay, centered=centered
    )


@OPTIMIZERS.register("adamp")
def adamp(
    params: Params,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    delta: float = 0.1,
    wd_ratio: float = 0.1,
    nesterov: bool = False,
) -> Optimizer:
    """Heo et al. 2021, https://arxiv.org/abs/2006.08217."""
    from pytorch_optimizer import AdamP

    return AdamP(
        list(params),
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        delta=delta,
        wd_ratio=wd_ratio,
        nesterov=nesterov,
    )


@OPTIMIZERS.register("sgdp")
def sgdp(
    params: Params,
    lr: float = 1e-4,
    momentum: float = 0.9,
    dampening: float = 0.0,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    delta: float = 0.1,
    wd_ratio: float = 0.1,
    nesterov: bool = False,
) -> Optimizer:
    """Heo et al. 2021, https://arxiv.org/abs/2006.08217."""
    from pytorch_optimizer import SGDP

    return SGDP(
        list(params),
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        eps=eps,
        weight_decay=weight_decay,
        delta=delta,
        wd_ratio=wd_ratio,
        nesterov=nesterov,
    )


@OPTIMIZERS.register("madgrad")
def madgrad(
    params: Params,
    lr: float = 1e-4,
    momentum: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    decoupled: bool = True,
) -> Optimizer:
    """Defazio and Jelassi 2021, https://arxiv.org/abs/2101.11075; ``decoupled`` is traiNNer's decay_type AdamW."""
    from pytorch_optimizer import MADGRAD

    return MADGRAD(
        list(params), lr=lr, momentum=momentum, eps=eps, weight_decay=weight_decay, weight_decouple=decoupled
    )


@OPTIMIZERS.register("ranger")
def ranger(
    params: Params,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.95, 0.999),
    eps: float = 1e-5,
    weight_decay: float = 0.0,
    alpha: float = 0.5,
    k: int = 6,
    n_sma_threshold: int = 5,
    use_gc: bool = True,
    gc_conv_only: bool = False,
) -> Optimizer:
    """RAdam, LookAhead (``k`` steps, share ``alpha``) and gradient centralization: Wright 2019.

    As in the original, the first steps, whose variance is not known yet, are those of SGD with momentum; the package's
    own default (4.1) has them go uphill.
    """
    from pytorch_optimizer import Ranger

    return Ranger(
        list(params),
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        alpha=alpha,
        k=k,
        n_sma_threshold=n_sma_threshold,
        degenerated_to_sgd=True,
        use_gc=use_gc,
        gc_conv_only=gc_conv_only,
    )


@OPTIMIZERS.register("lion")
def lion(
    params: Params, lr: float = 1e-5, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
) -> Optimizer:
    """Chen et al. 2023, https://arxiv.org/abs/2302.06675; wants about a tenth of Adam's rate."""
    from pytorch_optimizer import Lion

    return Lion(list(params), lr=lr, betas=betas, weight_decay=weight_decay)


@OPTIMIZERS.register("adan")
def adan(
    params: Params,
    lr: float = 1e-4,
    betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Xie et al. 2022, https://arxiv.org/abs/2208.06677."""
    from pytorch_optimizer import Adan

    return Adan(list(params), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


@OPTIMIZERS.register("prodigy")
def prodigy(
    params: Params,
    lr: float = 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    d_coef: float = 1.0,
) -> Optimizer:
    """Mishchenko and Defazio 2023, https://arxiv.org/abs/2306.06101; finds the rate itself, so leave ``lr`` at 1."""
    from pytorch_optimizer import Prodigy

    return Prodigy(list(params), lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, d_coef=d_coef)
