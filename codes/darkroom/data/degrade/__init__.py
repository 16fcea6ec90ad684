"""Degradations: how inputs that no file has are made from targets, each with random parameters of its own."""

from ...core.registry import Registry
from .operation import Degradation

DEGRADATIONS: Registry[Degradation] = Registry("degradation", "darkroom.data.degrade")
