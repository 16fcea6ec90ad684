"""Reading, pairing, cropping and streaming of images."""

from ..core.registry import Registry
from .dataset import ImageDataset

DATASETS: Registry[ImageDataset] = Registry("dataset", "darkroom.data")
