"""What several tests read: small exams made once a run."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def film_exams(tmp_path_factory) -> Path:
    """Two phantom women on digitised film: the quickest images that are mammograms."""
    from secondreader import phantom

    folder = tmp_path_factory.mktemp("exams")
    phantom.write_exams(folder, exams=2, seed=19, vendor="film")
    return folder
