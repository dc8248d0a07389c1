"""Mordang 2016's mined networks: microcalcifications, position by position, against Bria's cascade."""

from secondreader.methods.mined_cnn.config import Config
from secondreader.methods.mined_cnn.reader import MinedCnn, load
from secondreader.methods.mined_cnn.train import cost, train

__all__ = ["Config", "MinedCnn", "cost", "load", "train"]
