"""Thatte 2017's Second Look: Mask R-CNN, windows that vote, and generated images."""

from secondreader.methods.second_look.config import Config
from secondreader.methods.second_look.reader import SecondLook, load
from secondreader.methods.second_look.train import cost, train

__all__ = ["Config", "SecondLook", "cost", "load", "train"]
