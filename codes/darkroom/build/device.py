"""Where a run computes, and in which precision."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..core.errors import OptionErrors
from ..engine import distributed

SLOW = (
    "this processor has no instructions for bf16 (avx512_bf16 or amx_bf16): training would be 20 to 30 times slower "
    "than with amp: off. To do it all the same, write amp_force: true"
)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(gpu_ids: Sequence[int] | None, say: Callable[[str], None]) -> torch.device:
    """The device of this process: the GPU that the options give it, or the CPU.

    Raises:
        OptionErrors: the machine has no GPU of that number.
    """
    if gpu_ids is not None and not gpu_ids:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if gpu_ids is not None:
            say(f"CUDA was asked for (GPU {', '.join(map(str, gpu_ids))}), but there is none here: using the CPU.")
        return torch.device("cpu")
    count, here = torch.cuda.device_count(), distributed.local_world_size()
    ids = list(gpu_ids or ([0] if here == 1 else range(count)))
    if len(ids) < here:
        say(f"{here} processes were started for the GPUs {ids}: each takes one of its own instead, from 0 on.")
        ids = list(range(count))
    rank = distributed.local_rank()
    if rank >= len(ids) or ids[rank] >= count:
        wanted = ids[rank] if rank < len(ids) else rank
        raise OptionErrors([f"gpu_ids: there is no GPU {wanted}; this machine has {count}, from 0 on"])
    device = torch.device("cuda", ids[rank])
    torch.cuda.set_device(device)
    return device


def describe(device: torch.device) -> str:
    """The device in words: ``the CPU (2 threads)``, ``cuda:0 (NVIDIA H200)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"the CPU ({torch.get_num_threads()} threads)"


def choose_precision(
    amp: str, device: torch.device, say: Callable[[str], None], *, force: bool = False
) -> torch.dtype | None:
    """The dtype of autocast, or None for float32 throughout.

    Raises:
        OptionErrors: the device cannot compute in it, or only 20-30 times slower.
    """
    if amp == "off":
        return None
    cuda = device.type == "cuda"
    if amp == "auto":
        if not cuda:
            say("Mixed precision: off, as training on the CPU would not be faster with it.")
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if amp == "fp16" and not cuda:
        raise OptionErrors(["train.amp: fp16 needs a GPU; on the CPU write amp: off"])
    if amp == "bf16" and not cuda and not force and not cpu_computes_bf16():
        raise OptionErrors([f"train.amp: {SLOW}"])
    return DTYPES[amp]


def cpu_computes_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bf16 matrices in hardware; where that cannot be read, it is taken not to."""
    if platform.system() == "Darwin":
        return False
    try:
        flags = cpuinfo.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)
