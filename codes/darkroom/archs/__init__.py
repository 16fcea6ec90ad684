"""Networks, one file per family. A constructor takes plain values; what is true of a network is an attribute of it."""

from torch import nn

from ..core.registry import Registry

ARCHS: Registry[nn.Module] = Registry("architecture", "darkroom.archs")
