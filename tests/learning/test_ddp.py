"""Two processes take each patch once between them, and train as one would."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from secondreader.learning.sharing import gathered, own_share
from secondreader.learning.steps import share


def test_shares_are_everything_once():
    batch = {"x": torch.arange(10), "where": [str(i) for i in range(10)]}
    parts = [share(batch, rank, 3) for rank in range(3)]
    assert sorted(int(v) for part in parts for v in part["x"]) == list(range(10))
    for part in parts:
        assert [str(int(v)) for v in part["x"]] == part["where"]


def test_alone_a_process_has_it_all():
    assert list(own_share([1, 2, 3])) == [1, 2, 3]
    assert gathered([1, 2, 3]) == [1, 2, 3]


@pytest.mark.slow
def test_two_gloo_processes_end_with_the_weights_of_one(tmp_path):
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        import torch
        from torch import nn
        from secondreader.learning.fit import FitSettings, fit
        from secondreader.learning.hardware import Hardware
        from secondreader.learning.sharing import gathered, own_share
        import test_fit as t

        def validate(network):
            seen = gathered([float(i) for i in own_share(range(7))])
            assert seen == [float(i) for i in range(7)], seen
            return t.validate(network)

        if __name__ == "__main__":
            torch.manual_seed(0)
            net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
            settings = FitSettings(optimizer="sgd", learning_rate=0.05, steps=12, batch=8, validate_every=6)
            fit(net, t.loss, t.batches, validate, settings, figure="closeness", run_dir=Path(sys.argv[1]),
                stage="only", seed=1, hardware=Hardware("cpu", int(sys.argv[2]), precision="fp32", progress=False))
        """)
    (tmp_path / "program.py").write_text(program)
    here = os.path.dirname(__file__)  # noqa: PTH120
    environment = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    for processes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "program.py"), str(tmp_path / processes), processes],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    from safetensors.torch import load_file

    one, two = (load_file(tmp_path / n / "stages/only/best.safetensors") for n in "12")
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5)
