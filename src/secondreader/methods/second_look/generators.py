"""Generators of patches: trained or taken from a model, and the patches they draw.

References
----------
Thatte et al. (2017), "General Adversarial Networks": a DCGAN, 4,000 patches in three classes; 60,000
drawn ones to train a classifier on. A generator a class, as figure 1 has no way to tell it one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from secondreader.domain import SecondReaderError
from secondreader.learning.cost import Cost, step_cost
from secondreader.learning.fit import Batch, fit
from secondreader.learning.hardware import Hardware, autocast, device
from secondreader.learning.kept import kept_arrays
from secondreader.learning.model_folder import load_into, load_model_folder
from secondreader.learning.sampling import generator
from secondreader.learning.watching import bar
from secondreader.methods.second_look.config import GENERATED, NAME, Config
from secondreader.methods.second_look.flow import Flow, flow_loss
from secondreader.methods.second_look.gan import Dcgan, dcgan_loss
from secondreader.methods.second_look.windows import Windows

__all__ = ["built", "cost", "drawn", "patches", "take", "trained"]

_CHUNK = 100  # patches of a file
_SHOWN = 6  # patches each way of a picture


def built(config: Config) -> nn.ModuleDict:
    """Return the generators as they are drawn at random: a DCGAN a class, or one for all."""
    if config.generator == "flow":
        return nn.ModuleDict({"all": Flow(config.window, len(GENERATED), config.flow_width)})
    return nn.ModuleDict({str(k): Dcgan(config.window, config.noise) for k in GENERATED})


def trained(
    own: Windows, held: Windows, config: Config, run_dir: Path, hardware: Hardware
) -> nn.ModuleDict:
    """Train generators on the patches of a set, or take those of the model that `init` names.

    Raises
    ------
    SecondReaderError
        If a class has no patch, or the model holds no such generators.
    """
    torch.manual_seed(config.seed)
    networks = built(config)
    if config.init != "none":
        take(networks, Path(config.init))
        return networks
    if lacking := [kind for kind in GENERATED if kind not in own.drawn or kind not in held.drawn]:
        raise SecondReaderError(
            f"generators: got no patch of class {lacking[0]}, expected some of {GENERATED} to train and "
            "to validate with; give more data"
        )
    for name, network in networks.items():
        kinds = GENERATED if name == "all" else (int(name),)
        settings = config.flow if name == "all" else config.dcgan
        fit(
            network,
            _flow_loss if name == "all" else _dcgan_loss,
            partial(_batch, own=own, kinds=kinds, count=settings.batch, config=config),
            partial(_flow_figures, fixed=_fixed(held, config)) if name == "all" else _steps,
            settings,
            figure="fit" if name == "all" else "steps",
            run_dir=run_dir,
            stage=f"{config.generator}-{name}",
            seed=config.seed,
            hardware=hardware,
            pictures=partial(_picture, name=name, config=config),
        )
        _settle(network, config)
    return networks


def _settle(network: nn.Module, config: Config) -> None:
    """Take the statistics anew that a DCGAN draws with; a flow keeps none."""
    if isinstance(network, Dcgan):
        at = next(network.parameters()).device
        network.settle(torch.Generator(at).manual_seed(config.seed))


def take(networks: nn.ModuleDict, run: Path) -> None:
    """Put the generators of a run or a model folder in.

    Raises
    ------
    SecondReaderError
        If it holds none, or others than these.
    """
    folder = run / "model" if (run / "model").is_dir() else run
    _, weights = load_model_folder(folder, NAME, Config)
    load_into(networks, weights, "generator.")


def _batch(step: int, own: Windows, kinds: tuple[int, ...], count: int, config: Config) -> Batch:
    rng = generator(config.seed, step)
    batch = own.patches(own.pick(rng.permutation(np.resize(kinds, count)), rng), config)
    return {**batch, "image": batch["image"] * 2 - 1}


def _dcgan_loss(network: nn.Module, batch: Batch) -> Tensor:
    return dcgan_loss(network, batch["image"])


def _flow_loss(network: nn.Module, batch: Batch) -> Tensor:
    return flow_loss(network, batch["image"], batch["label"])


def _steps(network: nn.Module) -> Mapping[str, float]:
    return {"steps": float(network.steps)}  # type: ignore[arg-type]


def _fixed(held: Windows, config: Config) -> list[Batch]:
    batches = range(-(-config.validation_patches // 64))
    return [_batch(step, held, GENERATED, 64, config) for step in batches]


def _flow_figures(network: nn.Module, fixed: list[Batch]) -> Mapping[str, float]:
    """Return how well velocities of other women's patches are told, always from the same noise."""
    where = next(network.parameters()).device
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(0)
        losses = [
            float(flow_loss(network, b["image"].to(where), b["label"].to(where))) for b in fixed
        ]
    return {"fit": -float(np.mean(losses))}


def _picture(network: nn.Module, name: str, config: Config) -> np.ndarray:
    """Return a picture of drawn patches, a row a class where there are several."""
    _settle(network, config)  # training itself never looks at them
    kinds = np.repeat(GENERATED, _SHOWN) if name == "all" else np.repeat(int(name), _SHOWN**2)
    shown = _draw(network, kinds, 0, config)
    rows = shown.reshape(-1, _SHOWN, *shown.shape[1:])
    return np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)


def _draw(network: nn.Module, kinds: np.ndarray, seed: int, config: Config) -> np.ndarray:
    """Draw patches of classes (n,), (n, side, side) uint8."""
    at = next(network.parameters()).device
    where = torch.Generator(at).manual_seed(seed)
    with torch.no_grad():
        if isinstance(network, Flow):
            kind = torch.from_numpy(kinds.astype(np.int64)).to(at)
            with autocast(at):  # as it was trained
                images = network.eval().draw(kind, config.flow_steps, where)
        else:
            assert isinstance(network, Dcgan)
            images = network.eval().draw(len(kinds), where)
    grey = ((images[:, 0].float() + 1) * 127.5).round().clamp(0, 255)
    return np.asarray(grey.to(torch.uint8).cpu().numpy())


def drawn(networks: nn.ModuleDict, kind: int, count: int, seed: int, config: Config) -> np.ndarray:
    """Draw patches of one class, (count, side, side) uint8, the same ones from the same seed."""
    network = networks["all"] if "all" in networks else networks[str(kind)]
    return _draw(network, np.full(count, kind), seed, config)


def patches(
    networks: nn.ModuleDict, config: Config, run_dir: Path, hardware: Hardware
) -> tuple[np.ndarray, np.ndarray]:
    """Return the generated patches of a run, drawn once: (n, side, side) uint8, classes (n,) int64.

    Those of the run that `init` names are taken, where it drew the same: whatever the seed of a
    training, as what is drawn hangs on the generator alone.
    """
    files = max(round(config.generated / _CHUNK), len(GENERATED))
    kinds = np.resize(GENERATED, files)
    networks.to(device(hardware)).eval()

    def make(file: int) -> np.ndarray:
        return drawn(networks, int(kinds[file]), _CHUNK, file, config)

    folder = _drawn_before(config, files) or run_dir / "generated"
    with bar("drawing patches", hardware) as progress:
        made = kept_arrays(folder, files, make, progress)
    return np.concatenate(made), np.repeat(kinds, _CHUNK)


def _drawn_before(config: Config, files: int) -> Path | None:
    """Return the patches of the run that `init` names, if they are all there and would be the same."""
    if config.init == "none":
        return None
    folder = Path(config.init)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    before, _ = load_model_folder(folder, NAME, Config)
    same = all(
        getattr(before, name) == getattr(config, name)
        for name in ("generator", "generated", "flow_steps", "window", "noise")
    )
    own = folder.parent / "generated"
    return own if same and len(list(own.glob("*.npy"))) == files else None


def cost(config: Config, hardware: Hardware) -> tuple[Cost, ...]:
    """Return what training the generators will cost, timed on batches of noise."""
    told = []
    for name, network in built(config).items():
        settings = config.flow if name == "all" else config.dcgan
        loss = _flow_loss if name == "all" else _dcgan_loss
        image = torch.rand((settings.batch, 1, config.window, config.window))
        batch = {"image": image, "label": torch.arange(settings.batch) % len(GENERATED)}
        stage = f"{config.generator}-{name}"
        told.append(step_cost(stage, network, loss, batch, settings.steps, hardware))
    return tuple(told)
