"""secondreader: an open second reader for screening mammography. Research use only."""

__version__ = "0.1.0"
