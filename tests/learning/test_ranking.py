"""The area under the ROC curve, for choices on validation data."""

import math

import numpy as np
import torch

from secondreader.learning.ranking import auc, auc_of


def test_it_counts_pairs_and_half_of_ties_on_any_scale():
    assert auc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1]) == 3.5 / 4
    assert auc_of([3.0, 1.0], [2.0, 0.0]) == 3 / 4
    # As logits in single precision these would be one value.
    assert auc(torch.tensor([20.0, 25, 30, 40]), torch.tensor([0, 0, 1, 1])) == 1
    assert auc(1e9 * np.arange(4), [0, 1, 0, 1]) == 3 / 4


def test_one_class_alone_has_no_area():
    assert math.isnan(auc_of([1.0], []))
    assert math.isnan(auc([], []))
