"""Shen 2019's patches to image: a patch classifier made into a classifier of whole images."""

from secondreader.methods.patch_to_image.config import Config
from secondreader.methods.patch_to_image.reader import PatchToImage, load
from secondreader.methods.patch_to_image.train import cost, train

__all__ = ["Config", "PatchToImage", "cost", "load", "train"]
