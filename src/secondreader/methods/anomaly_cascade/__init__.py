"""Zhang 2019's anomaly cascade: a network whose failure to redraw a pixel says calcification."""

from secondreader.methods.anomaly_cascade.config import Config
from secondreader.methods.anomaly_cascade.reader import AnomalyCascade, load
from secondreader.methods.anomaly_cascade.train import cost, train

__all__ = ["AnomalyCascade", "Config", "cost", "load", "train"]
