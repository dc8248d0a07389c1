"""Figures that hold up: matching, ROC, FROC, calibration, intervals over patients, comparisons.

Numbers come from arrays and the shared values only; nothing here knows of networks, image files or
readers. The way through: :func:`.scored.join` puts readings beside the truth, :func:`.measure.measure`
makes every figure of them, and :mod:`.tables` and :mod:`.plots` show what was measured.
"""
