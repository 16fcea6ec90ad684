"""Networks, one file per family. A constructor takes plain values; what is true of a network is an attribute of it."""

from ..core.network import Network
from ..core.registry import Registry

ARCHS: Registry[Network] = Registry("architecture", "darkroom.archs")
