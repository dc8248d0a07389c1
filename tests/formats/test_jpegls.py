"""What is kept comes back value for value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from secondreader.domain import Refused
from secondreader.formats import jpegls_bytes, jpegls_pixels


@given(
    st.sampled_from([1, 200, 255, 256, 4095, 65535]).flatmap(
        lambda top: stn.arrays(
            np.uint16,
            stn.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12),
            elements=st.integers(0, top),
        )
    )
)
def test_any_values_come_back(stored):
    assert (jpegls_pixels(jpegls_bytes(stored)) == stored).all()


def test_a_broken_stream_is_refused():
    whole = jpegls_bytes(np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16))
    for broken in (b"", b"no stream", whole[:20]):
        with pytest.raises(Refused):
            jpegls_pixels(broken)
