"""An 2018's tissue classifier, the heatmap that it helps, and saliency to the pixel."""

from secondreader.methods.tissue_heatmap.config import Config
from secondreader.methods.tissue_heatmap.reader import TissueHeatmap
from secondreader.methods.tissue_heatmap.train import cost, train
from secondreader.methods.tissue_heatmap.two_views import TwoViews, load

__all__ = ["Config", "TissueHeatmap", "TwoViews", "cost", "load", "train"]
