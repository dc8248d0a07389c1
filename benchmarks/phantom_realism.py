"""How real does the phantom look? python benchmarks/phantom_realism.py --data mini_mias=ROOT [--anatomy N] -o OUT

Film phantoms (200 µm, 8 bits; normal women, oblique views) beside the NORM films of mini-MIAS:

- the exponent of the power law that breast-interior spectra follow: windows of 25.6 mm with a Hann
  taper, a plane taken out, wholly inside the breast; radial mean; a straight line through log power
  against log frequency from 0.15 to 0.7 per mm; the median over an image's windows, then over images;
- grey levels, local contrast in octaves, noise, each with its interval over women;
- the AUC with which a small network, trained for it, tells their patches apart (64 x 64 pixels, split
  by woman), with two controls: real against real, and real against the same slightly blurred;
- which plain statistics of a patch give the phantom away, by their own AUC.

Writes realism.json (realism-N.json of a later anatomy), and with --pictures realism.png (curves only) and surest.png (real films: look at
it, do not commit it). About four minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from scipy import ndimage, stats
from torch import nn

from secondreader import imaging, phantom
from secondreader.domain import Laterality, View
from secondreader.phantom.exam import exam_image
from secondreader.sources import images_of, load_all

mpl.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image as Picture

SEED = 990_002
SIZE, PER_IMAGE = 64, 24
BAND = (0.15, 0.7)
PITCH = 0.2


def real(data: str) -> list[tuple[int, np.ndarray]]:
    """Return (woman, pixels) of NORM films; films 2k - 1 and 2k of mini-MIAS are one woman's."""
    images = images_of(load_all([data]))
    normal = [record for record in images.records if not record.lesions]
    women = {p: i for i, p in enumerate(sorted({r.patient_id for r in normal}))}
    return [(women[r.patient_id], images.open(r).pixels) for r in normal]


def made(women: int, anatomy: int) -> list[tuple[int, np.ndarray]]:
    """Return (woman, pixels) of film phantoms."""
    normal = phantom.Contents.NORMAL
    drawn = partial(exam_image, vendor="film", contents=normal, anatomy=anatomy)
    return [
        (i, drawn(SEED, i, side, View.MLO) / np.float32(255))
        for i in range(women)
        for side in Laterality
    ]


def patches(images: list[tuple[int, np.ndarray]], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut patches that lie wholly in the breast, 5 mm from the skin: (n, 64, 64), and their women."""
    rng = np.random.default_rng(seed)
    cut, whose = [], []
    for woman, pixels in images:
        mask = imaging.breast_mask(pixels, (PITCH, PITCH))
        deep = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1] > 25
        whole = ndimage.minimum_filter(mask, SIZE)
        half = SIZE // 2
        whole[:half] = whole[-half:] = whole[:, :half] = whole[:, -half:] = False
        rows, cols = np.nonzero(deep & whole)
        if rows.size < PER_IMAGE:
            continue
        for i in rng.choice(rows.size, PER_IMAGE, replace=False):
            r, c = rows[i] - half, cols[i] - half
            cut.append(pixels[r : r + SIZE, c : c + SIZE])
            whose.append(woman)
    return np.array(cut, np.float32), np.array(whose)


def exponent(pixels: np.ndarray) -> float | None:
    """Return the power-law exponent of one image, None where no window fits."""
    wide = round(25.6 / PITCH)
    mask = imaging.breast_mask(pixels, (PITCH, PITCH))
    window = np.outer(np.hanning(wide), np.hanning(wide))
    r, c = np.mgrid[0:wide, 0:wide] / wide - 0.5
    plane = np.column_stack([np.ones(wide * wide), r.ravel(), c.ravel()])
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(wide, PITCH), np.fft.fftfreq(wide, PITCH)))
    ring = np.rint(frequency * wide * PITCH).astype(int)
    centres = np.arange(ring.max() + 1) / (wide * PITCH)
    chosen = (centres >= BAND[0]) & (centres <= BAND[1])
    slopes = []
    for top in range(0, pixels.shape[0] - wide, wide // 2):
        for left in range(0, pixels.shape[1] - wide, wide // 2):
            here = np.s_[top : top + wide, left : left + wide]
            if not mask[here].all():
                continue
            values = pixels[here].astype(np.float64).ravel()
            values -= plane @ np.linalg.lstsq(plane, values, rcond=None)[0]
            power = np.abs(np.fft.fft2(values.reshape(wide, wide) * window)) ** 2
            mean = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
            x, y = np.log(centres[chosen]), np.log(mean[: centres.size][chosen])
            slopes.append(-np.polyfit(x, y, 1)[0])
    return float(np.median(slopes)) if slopes else None


def features(x: np.ndarray) -> dict[str, np.ndarray]:
    """Return plain statistics of patches (n, 64, 64), (n,) each."""
    told = {"mean": x.mean((1, 2)), "spread": x.std((1, 2))}
    before = x
    for sigma in (0.5, 1, 2, 4, 8):
        smooth = ndimage.gaussian_filter(x, (0, sigma, sigma))
        band = before - smooth
        before = smooth
        name = f"{sigma * PITCH:g} mm"
        told[f"contrast at {name}"] = band.std((1, 2))
        told[f"kurtosis at {name}"] = stats.kurtosis(band.reshape(len(x), -1), axis=1)
        told[f"skewness at {name}"] = stats.skew(band.reshape(len(x), -1), axis=1)
    fine = x - ndimage.uniform_filter(x, (0, 3, 3))
    told["noise"] = 1.4826 * np.median(
        np.abs(fine - np.median(fine, (1, 2), keepdims=True)), (1, 2)
    )
    told["noise of neighbours"] = (fine[:, :, 1:] * fine[:, :, :-1]).mean((1, 2)) / (
        fine.var((1, 2)) + 1e-12
    )
    down, across = np.gradient(ndimage.gaussian_filter(x, (0, 1, 1)), axis=(1, 2))
    long = np.hypot((across**2 - down**2).mean((1, 2)), (2 * down * across).mean((1, 2)))
    told["one direction"] = long / ((across**2 + down**2).mean((1, 2)) + 1e-12)
    told["grey levels"] = np.array([len(np.unique(np.rint(p * 255))) for p in x], float)
    return told


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the area under the ROC curve."""
    rank = stats.rankdata(np.concatenate([positive, negative]))
    n = len(positive)
    return float((rank[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def network() -> nn.Sequential:
    """Return the network of all three questions: five convolutions, 0.1 million weights."""

    def layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*layer(1, 16, 1), *layer(16, 32, 2), *layer(32, 48, 2), *layer(48, 64, 2)]
    layers += [*layer(64, 64, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1)]
    return nn.Sequential(*layers)


def told_apart(
    a: np.ndarray, whose_a: np.ndarray, b: np.ndarray, whose_b: np.ndarray, steps: int
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Train on two women of three, and return the AUC on the third ones', with its interval."""
    torch.manual_seed(0)
    rng = np.random.default_rng(3)
    held_a, held_b = whose_a % 3 == 0, whose_b % 3 == 0
    ta, tb = (torch.from_numpy(x)[:, None] for x in (a[~held_a], b[~held_b]))
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    target = torch.cat([torch.ones(48), torch.zeros(48)])
    for _ in range(steps):
        x = torch.cat([ta[rng.integers(len(ta), size=48)], tb[rng.integers(len(tb), size=48)]])
        how = int(rng.integers(8))
        x = x.flip(2) if how & 1 else x
        x = x.flip(3) if how & 2 else x
        x = x.transpose(2, 3) if how & 4 else x
        loss = nn.functional.binary_cross_entropy_with_logits(net((x - 0.5) / 0.25)[:, 0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()

    def scores(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            parts = [
                net((torch.from_numpy(p)[:, None] - 0.5) / 0.25)
                for p in np.split(x, range(256, len(x), 256))
            ]
        return torch.cat(parts)[:, 0].numpy()

    sa, sb = scores(a[held_a]), scores(b[held_b])
    drawn = []
    wa, wb = whose_a[held_a], whose_b[held_b]
    groups_a, groups_b = ([np.flatnonzero(w == k) for k in np.unique(w)] for w in (wa, wb))
    for _ in range(500):
        ia = np.concatenate([groups_a[k] for k in rng.integers(len(groups_a), size=len(groups_a))])
        ib = np.concatenate([groups_b[k] for k in rng.integers(len(groups_b), size=len(groups_b))])
        drawn.append(auc(sa[ia], sb[ib]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"auc": auc(sa, sb), "low": float(low), "high": float(high)}, sa, sb


def spread(values: np.ndarray) -> dict[str, float]:
    """Return the median of women with its interval, and how far women lie apart."""
    rng = np.random.default_rng(0)
    drawn = np.median(values[rng.integers(len(values), size=(1000, len(values)))], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    few, many = np.percentile(values, [10, 90])
    return {k: round(float(v), 4) for k, v in (("median", np.median(values)), ("low", low), ("high", high), ("p10", few), ("p90", many))}  # fmt: skip


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="mini_mias=ROOT")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--women", type=int, default=70)
    parser.add_argument("--anatomy", type=int, default=1, help="Version of the phantom's body.")
    parser.add_argument("--steps", type=int, default=260)
    parser.add_argument("--pictures", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    sets = {"film": real(asked.data), "phantom": made(asked.women, asked.anatomy)}
    cut = {name: patches(images, 1) for name, images in sets.items()}
    told: dict[str, Any] = {"images": {name: len(images) for name, images in sets.items()}}
    slopes = {}
    for name, images in sets.items():
        slopes[name] = np.array([s for _, pixels in images if (s := exponent(pixels)) is not None])
    told["exponent"] = {name: spread(values) for name, values in slopes.items()}
    both = {name: features(x) for name, (x, _) in cut.items()}
    rows = {}
    for key in both["film"]:
        mean = {}
        for name, (_, whose) in cut.items():
            values = np.bincount(whose, both[name][key]) / np.maximum(np.bincount(whose), 1)
            mean[name] = spread(values[np.bincount(whose) > 0])
        rows[key] = {**mean, "auc": round(auc(both["phantom"][key], both["film"][key]), 3)}
    told["statistics"] = dict(sorted(rows.items(), key=lambda row: -abs(row[1]["auc"] - 0.5)))
    (x, wx), (y, wy) = cut["film"], cut["phantom"]
    half = wx % 2 == 0
    apart, sure_phantom, sure_film = told_apart(y, wy, x, wx, asked.steps)
    told["network"] = {
        "phantom against film": apart,
        "film against film": told_apart(
            x[half], wx[half] // 2, x[~half], wx[~half] // 2, asked.steps
        )[0],
        "film blurred by 0.55 pixels against film": told_apart(
            ndimage.gaussian_filter(x, (0, 0.55, 0.55)), wx, x, wx, asked.steps
        )[0],
    }
    name = "realism" if asked.anatomy == 1 else f"realism-{asked.anatomy}"
    (asked.out / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told["exponent"]), json.dumps(told["network"], indent=1))
    for key, row in list(told["statistics"].items())[:8]:
        print(
            f"{key}: film {row['film']['median']}, phantom {row['phantom']['median']}, AUC {row['auc']}"
        )
    if asked.pictures:
        _draw(asked.out, cut, slopes)
        strips = []
        for patch, score in ((x[wx % 3 == 0], -sure_film), (y[wy % 3 == 0], sure_phantom)):
            best = patch[np.argsort(-score)[:16]]
            strips += [np.hstack(list(best[:8])), np.hstack(list(best[8:]))]
        Picture.fromarray((np.vstack(strips) * 255).astype(np.uint8)).save(asked.out / "surest.png")


def _draw(
    out: Path, cut: dict[str, tuple[np.ndarray, np.ndarray]], slopes: dict[str, np.ndarray]
) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
    for name, (x, _) in cut.items():
        axes[0].hist(
            x.ravel() * 255, bins=128, range=(0, 255), density=True, histtype="step", label=name
        )
        axes[1].hist(slopes[name], bins=20, range=(2, 4), density=True, histtype="step", label=name)
    axes[0].set(xlabel="grey level inside the breast", yticks=[])
    axes[1].set(xlabel="power-law exponent", yticks=[])
    axes[0].legend()
    figure.savefig(out / "realism.png", dpi=110)


if __name__ == "__main__":
    main()
