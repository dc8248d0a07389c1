"""A difference-of-Gaussians microcalcification detector: no weights, useful at once, the baseline."""

from secondreader.methods.spot_filter.filter import Config, SpotFilter, load

__all__ = ["Config", "SpotFilter", "load"]
