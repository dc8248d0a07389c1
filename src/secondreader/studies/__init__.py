"""Studies: one file per paper, its tables as data, and what each row trains and evaluates."""

from __future__ import annotations

import importlib

from secondreader.domain import SecondReaderError
from secondreader.studies.study import Study

__all__ = ["STUDIES", "study"]

STUDIES: dict[str, str] = {
    "default": "secondreader.studies.default",
    "shen2019": "secondreader.studies.shen2019",
    "shen2019-small": "secondreader.studies.shen2019_small",
    "zhang2019": "secondreader.studies.zhang2019",
    "an2018": "secondreader.studies.an2018",
    "thatte2017": "secondreader.studies.thatte2017",
    "mordang2016": "secondreader.studies.mordang2016",
}


def study(name: str) -> Study:
    """Return a study by name; ``NAME@DATA`` is one that was run on other data than its paper's.

    Raises
    ------
    SecondReaderError
        If there is none of that name.
    """
    own, elsewhere, data = name.partition("@")
    if own not in STUDIES:
        raise SecondReaderError(f"study: got {name!r}, expected one of {', '.join(STUDIES)}")
    found: Study = importlib.import_module(STUDIES[own]).STUDY
    return found.on(tuple(data.split(" + "))) if elsewhere else found
