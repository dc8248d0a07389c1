"""Lesions as a patch shows them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secondreader.domain import Mask
from secondreader.learning.targets import boxes_in, painted


@given(st.integers(-3, 12), st.integers(-3, 12))
def test_a_painted_patch_is_the_image_cut_there(row, col):
    mask = np.zeros((10, 9), bool)
    mask[4:7, 2:8] = True
    mask[5, 3] = False
    masks = ((Mask(mask[4:7, 2:8], 4, 2),),)
    wide = np.pad(mask, 10)
    wanted = wide[row + 10 - 3 : row + 10 + 3, col + 10 - 2 : col + 10 + 2]
    assert (painted(masks, np.array([[0, row, col]]), (6, 4))[0, 0].numpy() == wanted).all()


def test_a_box_is_clipped_and_one_of_which_too_little_is_seen_is_not_shown():
    # Pixels 0…3 each way; the patch holds rows and columns 2…5.
    boxes = [np.array([[0.0, 0, 3, 3], [3, 3, 4, 4]])]
    where = np.array([[0, 4, 4]])
    ((seen, which),) = boxes_in(boxes, where, (4, 4), least=0.25)
    assert which.tolist() == [0, 1]
    assert seen.tolist() == [[0, 0, 1, 1], [1, 1, 2, 2]]
    ((_, most),) = boxes_in(boxes, where, (4, 4), least=0.26)
    assert most.tolist() == [1]
