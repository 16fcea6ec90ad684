"""VGG as a feature extractor: Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556.

The convolutional part of torchvision's networks, key by key (``features.N.*``), cut after the deepest layer that is
listened to. What differs: layers have names, and pooling and padding may be changed as style transfer does.
It is no architecture to train, hence not in ``ARCHS``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..core.errors import WeightsError
from ..core.registry import did_you_mean

VGGName = Literal["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]

_CONVOLUTIONS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)
_SERVER = "https://download.pytorch.org/models/"
_FILES = {
    "vgg11": "vgg11-8a719046.pth",
    "vgg13": "vgg13-19584684.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "vgg11_bn": "vgg11_bn-6002323d.pth",
    "vgg13_bn": "vgg13_bn-abd245e5.pth",
    "vgg16_bn": "vgg16_bn-6c64b313.pth",
    "vgg19_bn": "vgg19_bn-c79401a0.pth",
}


def layer_names(network: VGGName) -> list[str]:
    """``conv1_1``, (``bn1_1``,) ``relu1_1``, ..., ``pool1``, ``conv2_1``, ...: entry N is the layer ``features.N``.

    Raises:
        ValueError: there is no such network.
    """
    if network not in get_args(VGGName):
        raise ValueError(f"network: expected one of {', '.join(get_args(VGGName))}, found {network!r}")
    kinds = ("conv", "bn", "relu") if network.endswith("_bn") else ("conv", "relu")
    names: list[str] = []
    for block, convolutions in enumerate(_CONVOLUTIONS[network.removesuffix("_bn")], start=1):
        names += [f"{kind}{block}_{n}" for n in range(1, convolutions + 1) for kind in kinds]
        names.append(f"pool{block}")
    return names


def canonical(layer: str, known: Collection[str]) -> str:
    """``conv5_4`` for ``conv5_4`` and for ``conv_5_4``.

    Raises:
        ValueError: it is none of ``known``; the message lists them.
    """
    name = re.sub(r"^([a-z]+)_(?=\d)", r"\1", layer)
    if name not in known:
        raise ValueError(f"there is no layer {layer!r}.{did_you_mean(name, known)} There are: {', '.join(known)}")
    return name


class VGGFeatures(nn.Module):
    """Maps of the layers that are listened to. It is frozen, and always in evaluation mode.

    Its weights are undefined until they are loaded: ``load_backbone(vgg, vgg.file, weights)``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: VGGName = "vgg19",
        layers: Iterable[str] = ("conv5_4",),
        use_input_norm: bool = True,
        znorm: bool = False,
        remove_pooling: bool = False,
        pooling_stride: int = 2,
        change_padding: bool = False,
    ) -> None:
        """``znorm`` says that images are in [-1, 1]; ``use_input_norm`` standardises them as the network was trained.

        ``change_padding`` lets the first convolution continue the border instead of adding black.

        Raises:
            ValueError: an unknown network or layer, no layer, or one that is removed.
        """
        super().__init__()
        names = layer_names(network)
        known = [name for name in names if not (remove_pooling and name.startswith("pool"))]
        self.layers = tuple(sorted({canonical(layer, known) for layer in layers}, key=names.index))
        if not self.layers:
            raise ValueError("layers: expected at least one, found none")
        self.file = _FILES[network]
        self.index = {name: str(n) for n, name in enumerate(names) if name in known}
        """Where a layer is: ``features.<index>``."""
        self.use_input_norm, self.znorm = use_input_norm, znorm
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1), persistent=False)
        self.features = nn.Sequential()
        wanted = names[: names.index(self.layers[-1]) + 1]
        for name, layer in self._build(wanted, pooling_stride, change_padding):
            if name in self.index:
                self.features.add_module(self.index[name], layer)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Layer -> map (B, C', H', W') of an RGB image (B, 3, H, W), or of a gray one (B, 1, H, W), seen as RGB.

        Raises:
            ValueError: other numbers of channels.
        """
        if image.shape[1] not in (1, 3):
            raise ValueError(f"VGG sees RGB or gray images, (B, 3, H, W) or (B, 1, H, W), not {tuple(image.shape)}")
        x = image.expand(-1, 3, -1, -1)
        x = (x + 1) / 2 if self.znorm else x
        x = (x - self.mean) / self.std if self.use_input_norm else x
        heard = {self.index[name]: name for name in self.layers}
        maps = {}
        for index, layer in self.features.named_children():
            x = layer(x)
            if index in heard:
                maps[heard[index]] = x
        return maps

    def train(self, mode: bool = True) -> VGGFeatures:
        """Stay in evaluation mode: the network is a ruler."""
        del mode
        return super().train(False)

    def _build(self, names: Iterable[str], stride: int, continue_border: bool) -> Iterator[tuple[str, nn.Module]]:
        channels, before = 3, ""
        for name in names:
            width = _WIDTHS[int(name.partition("_")[0][-1]) - 1]
            if name.startswith("conv"):
                padding = "replicate" if continue_border and name == "conv1_1" else "zeros"
                yield name, nn.utils.skip_init(nn.Conv2d, channels, width, 3, padding=1, padding_mode=padding)
                channels = width
            elif name.startswith("bn"):
                yield name, nn.BatchNorm2d(width)
            elif name.startswith("relu"):
                yield name, nn.ReLU(inplace=before not in self.layers)  # a map that is listened to must stay
            else:
                yield name, nn.MaxPool2d(2, stride)
            before = name


def load_backbone(module: nn.Module, file: str, weights: str) -> None:
    """Fill ``module`` with weights in torchvision's layout: from the file ``weights``, or torchvision's own ``file``.

    ``weights`` is a path (.pth or .safetensors), or ``imagenet``: then ``file`` is taken from torch's cache, where it
    is downloaded to if it is not there.

    Raises:
        WeightsError: it cannot be had, or it does not fit; the message says which file, and where to put it.
    """
    state = _download(file) if weights == "imagenet" else _read(Path(weights).expanduser(), file)
    own = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    wrong = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise WeightsError(
            f"{file if weights == 'imagenet' else weights} does not hold the weights of torchvision's {file}: "
            f"{len(wrong)} of {len(own)} tensors are absent or of another shape, such as {', '.join(wrong[:3])}"
        )
    module.load_state_dict({key: state[key] for key in own}, strict=False)


def _download(file: str) -> dict[str, Tensor]:
    url, folder = _SERVER + file, Path(torch.hub.get_dir()) / "checkpoints"
    try:
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights {file} are neither in {folder} nor to be had from {url} ({error}). "
            f"Put the file there, or anywhere and name it with `weights:` (of perceptual_opt: `pretrained_path:`)"
        ) from error


def _read(path: Path, file: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(
            f"weights: there is no file {path}. Expected 'imagenet', or a file in the layout of torchvision's {file} "
            f"(get it from {_SERVER}{file})"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Tensor] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise whatever comes: pickle, zip, struct and their own errors
        raise WeightsError(f"weights: {path} cannot be read as a .pth or .safetensors file: {error}") from error
    if not isinstance(state, dict):
        raise WeightsError(f"weights: {path} holds a {type(state).__name__}, expected tensors by name")
    return state
