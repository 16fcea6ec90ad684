"""Small real runs for the tests: photographs on the disk, option files, processes."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def photographs(folder: Path, count: int = 6, size: int = 72) -> Path:
    """Crops of a real photograph (skimage's astronaut, public domain) as PNG files."""
    from skimage.data import astronaut

    image = astronaut()
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        y, x = 40 * (i % 4), 60 * (i % 7)
        Image.fromarray(image[y : y + size, x : x + size]).save(folder / f"photo{i}.png")
    return folder


def native(root: Path, **changes) -> dict:
    """A small valid run in native sections; ``changes`` replace sections."""
    data = photographs(root / "HR") if not (root / "HR").exists() else root / "HR"
    options = {
        "name": "t",
        "model": "sr",
        "scale": 2,
        "seed": 3,
        "gpu_ids": [],
        "datasets": {
            "train": {"type": "aligned", "target": [str(data)], "crop": 32, "flip": True, "batch_size": 2, "workers": 0}
        },
        "network_G": {"type": "compact", "nf": 8, "num_conv": 2},
        "losses": [{"type": "l1"}],
        "optim_G": {"type": "adam", "lr": 1e-3},
        "train": {"iterations": 6},
        "checkpoint": {"every": 3},
        "logger": {"every": 2, "tensorboard": False, "progress": False},
        "path": {"root": str(root)},
    }
    return {**options, **copy.deepcopy(changes)}


GAN = {
    "network_D": {"type": "discriminator_vgg", "nf": 8, "size": 32, "norm_type": None},
    "losses": [
        {"name": "pix-l1", "type": "l1", "weight": 1e-2},
        {"name": "gan", "type": "gan", "weight": 5e-3, "form": "relativistic"},
    ],
    "optim_D": {"type": "adam", "lr": 1e-3},
}


def write(path: Path, options: dict) -> Path:
    path.write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
    return path


def make(path: Path, *settings: str):
    """The run of an option file, built in this process."""
    from darkroom.build.plan import plan_training, read_options
    from darkroom.build.training import open_run

    options = read_options(path, settings)
    return open_run(plan_training(options), options.notes, path)


def weights(run) -> dict[str, torch.Tensor]:
    networks = run.loop.model.networks.items()
    return {f"{n}.{k}": v.clone() for n, m in networks for k, v in m.state_dict().items()}


def train(path: Path, *settings: str) -> dict[str, torch.Tensor]:
    """Train to the end in this process; the final weights."""
    run = make(path, *settings)
    try:
        run.train()
        return weights(run)
    finally:
        run.close()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys()
    assert a
    return all(bits(a[k]) == bits(b[k]) for k in a)


def bits(tensor: torch.Tensor) -> bytes:
    """Also those of NaN, which fills what is not used yet."""
    return tensor.contiguous().numpy().tobytes()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "codes"), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


def python(
    *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None, fresh: bool = False, timeout: float = 300
) -> subprocess.CompletedProcess:
    """A real process, to its end; a ``fresh`` one imports everything anew, see ``warm``."""
    command, env = [*map(str, arguments)], {**environment(), **(env or {})}
    if warm.AVAILABLE and not fresh:
        return warm.run(command, cwd, env, timeout)
    return subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)


def start(*arguments: str, cwd: Path = ROOT) -> subprocess.Popen | warm.Process:
    """A real process, which goes on meanwhile."""
    if warm.AVAILABLE:
        return warm.Process([*map(str, arguments)], cwd, environment())
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def killed_after(state: Path, *arguments: str) -> None:
    """A process of ours, ended by SIGKILL once the file is there."""
    process, deadline = start(*arguments), time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save_backbone(module: torch.nn.Module, path: Path) -> Path:
    """Random weights of a useful size for a feature network, whose own are undefined until they are loaded."""
    generator = torch.Generator().manual_seed(0)
    state = module.state_dict()
    for value in state.values():
        if value.is_floating_point():
            fan_in = value[0].numel() if value.ndim > 1 else 100
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
    torch.save(state, path)
    return path


def save_inception(path: Path) -> Path:
    """Random weights of a useful size for torch-fidelity's network, which cannot be made without some."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), path)
    return path
