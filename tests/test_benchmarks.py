"""Every benchmark finds what it is made of: nobody runs them all after each change."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("name", sorted(file.stem for file in BENCHMARKS.glob("*.py")))
def test_a_benchmark_finds_what_it_imports_and_says_what_it_is(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop(name, None)  # benchmarks have names of modules of ours
    found = importlib.import_module(name)
    assert Path(found.__file__).parent == BENCHMARKS
    assert f"python benchmarks/{name}.py" in found.__doc__
    sys.modules.pop(name)
