"""From stored values to [0, 1], larger = denser, as DICOM says and nothing else.

For Presentation: Modality LUT, then the VOI LUT or window (the LUT before the window, the first of
several), then one inversion at most. Everything is a function of the stored value, so it is applied
to the table of all values that the bits can hold, by pydicom's own functions, and the image is one
look-up: the same numbers, much sooner.

For Processing: never windowed. Intensity becomes attenuation (a logarithm where the relationship is
LIN), polarity is what PixelIntensityRelationshipSign says, and the 0.5th to 99.9th percentile of
what is no padding are stretched to [0, 1]: ours, since DICOM leaves it open.

References
----------
DICOM PS3.3 C.7.6.3 (pixels), C.8.11.7 (mammography), C.11.1 and C.11.2 (LUTs); PS3.4 N.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from secondreader.domain import Refused, Step

__all__ = ["for_presentation", "for_processing", "padding"]


def padding(ds: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Return where the stored values are padding, ``None`` where the file names none."""
    value = ds.get("PixelPaddingValue")
    if value is None:
        return None
    limit = ds.get("PixelPaddingRangeLimit", value)
    low, high = sorted((_signed(ds, value), _signed(ds, limit)))
    padded: np.ndarray = (stored >= low) & (stored <= high)
    return padded


def for_presentation(
    ds: Dataset, stored: np.ndarray, padded: np.ndarray | None
) -> tuple[np.ndarray, str, list[Step]]:
    """Apply Modality LUT, VOI and polarity.

    Parameters
    ----------
    ds
        The header.
    stored
        (rows, cols) integers as `ds` describes them.
    padded
        Where they are padding.

    Returns
    -------
    pixels
        (rows, cols) float32 in [0, 1].
    voi
        The VOI transform in words.
    steps
        Each step, with value ranges of what is no padding.

    Raises
    ------
    Refused
        ``bad-window`` for a window that is not one.
    """
    table = _all_values(ds)
    first = int(table[0])
    shown = stored if padded is None else stored[~padded]
    ends = [int(shown.min()) - first, int(shown.max()) - first] if shown.size else [0, 0]
    steps = []

    modality = np.asarray(apply_modality_lut(table, ds), np.float64)
    origin = _modality_origin(ds)
    steps.append(_step("modality", origin or "none: stored values", origin, table, modality, ends))

    windowed, low, high, words, origin = _voi(ds, modality)
    steps.append(_step("voi", words, origin, modality, windowed, ends))

    scaled = np.clip((windowed - low) / (high - low), 0, 1)
    inverted, origin = _inverted(ds)
    final = 1 - scaled if inverted else scaled
    polarity = "inverted once: small values are bright" if inverted else "as it is"
    steps.append(_step("polarity", polarity, origin, scaled, final, ends))

    pixels = final.astype(np.float32)[stored.astype(np.int64) - first]
    if padded is not None:
        pixels[padded] = 0
        detail = f"{float(padded.mean()):.1%} of the pixels become background"
        steps.append(Step("padding", detail, "PixelPaddingValue (0028,0120)"))
    return pixels, words, steps


def for_processing(
    ds: Dataset, stored: np.ndarray, padded: np.ndarray | None
) -> tuple[np.ndarray, str, list[Step]]:
    """Turn raw detector values into normalised attenuation; parameters as `for_presentation`.

    Raises
    ------
    Refused
        ``bad-header`` where the sign or the relationship is missing: polarity would be a guess.
    """
    sign, relation = ds.get("PixelIntensityRelationshipSign"), ds.get("PixelIntensityRelationship")
    if sign not in (1, -1) or relation not in ("LIN", "LOG"):
        raise Refused(
            "bad-header",
            f"For Processing: got PixelIntensityRelationship {relation!r} and Sign {sign!r}, "
            "expected LIN or LOG and 1 or -1",
        )
    values = stored.astype(np.float32)
    keep = np.ones(stored.shape, bool) if padded is None else ~padded
    before = _range(values[keep])
    if relation == "LIN":
        full = float(2 ** int(ds.BitsStored) - 1)
        intensity = values if sign == 1 else full - values
        dense = -np.log(np.maximum(intensity, 1))
    else:
        dense = -values if sign == 1 else values
    low, high = (float(v) for v in np.percentile(dense[keep][::7], [0.5, 99.9]))
    pixels = np.clip((dense - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    pixels[~keep] = 0
    words = f"For Processing, {relation}, sign {sign}: never windowed; percentiles 0.5-99.9 to 0-1"
    origin = "PixelIntensityRelationshipSign (0028,1041)"
    return pixels, words, [Step("for-processing", words, origin, before, _range(pixels[keep]))]


def _signed(ds: Dataset, value: int) -> int:
    """Read a padding value as the pixels are: files write signed ones as unsigned."""
    bits = int(ds.BitsAllocated)
    if int(ds.PixelRepresentation) == 1 and value >= 2 ** (bits - 1):
        return int(value) - int(2**bits)
    return int(value)


def _all_values(ds: Dataset) -> np.ndarray:
    bits = int(ds.BitsStored)
    if int(ds.PixelRepresentation) == 1:
        return np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    return np.arange(2**bits)


def _modality_origin(ds: Dataset) -> str:
    if ds.get("ModalityLUTSequence"):
        return "ModalityLUTSequence (0028,3000)"
    if "RescaleSlope" in ds:
        return "RescaleSlope (0028,1053), RescaleIntercept (0028,1052)"
    return ""


def _voi(ds: Dataset, modality: np.ndarray) -> tuple[np.ndarray, float, float, str, str]:
    """Return windowed values, the ends of the transform's output range, words, origin."""
    luts = ds.get("VOILUTSequence")
    if luts:
        bits = int(luts[0].LUTDescriptor[2])
        bits = bits if bits else 16
        words = f"LUT, {bits} bits{_first_of(len(luts))}"
        output = np.asarray(apply_voi(np.rint(modality).astype(np.int64), ds, index=0), np.float64)
        return output, 0.0, 2.0**bits - 1, words, "VOILUTSequence (0028,3010)"
    low, high = _output_range(ds)
    centres, widths = _numbers(ds, "WindowCenter"), _numbers(ds, "WindowWidth")
    if not centres or not widths:
        return modality, low, high, "none: the full range of the stored bits", ""
    centre, width = centres[0], widths[0]
    function = str(ds.get("VOILUTFunction", "") or "LINEAR").upper()
    least = 1.0 if function == "LINEAR" else 0.0
    good = math.isfinite(centre) and math.isfinite(width) and width > 0 and width >= least
    if not good or function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise Refused(
            "bad-window",
            f"window: got centre {centre:g}, width {width:g}, function {function[:16]}; expected "
            "finite numbers, a positive width (1 or more for LINEAR), "
            "LINEAR, LINEAR_EXACT or SIGMOID",
        )
    words = f"window {centre:g}/{width:g} {function}{_first_of(len(centres))}"
    with np.errstate(over="ignore"):  # a sigmoid far below its centre: exp overflows to 0, rightly
        output = np.asarray(apply_windowing(modality, ds, index=0), np.float64)
    return output, low, high, words, "WindowCenter (0028,1050), WindowWidth (0028,1051)"


def _first_of(count: int) -> str:
    return f" (the first of {count})" if count > 1 else ""


def _numbers(ds: Dataset, name: str) -> list[float]:
    value: Any = ds.get(name)
    if value is None or value == "":
        return []
    values = value if isinstance(value, list | tuple) or hasattr(value, "__iter__") else [value]
    try:
        return [float(v) for v in values]
    except (TypeError, ValueError):
        raise Refused("bad-window", f"{name}: got no number, expected one") from None


def _output_range(ds: Dataset) -> tuple[float, float]:
    """Return the range that modality values can take, which a window's output is spread over."""
    luts = ds.get("ModalityLUTSequence")
    if luts:
        return 0.0, 2.0 ** int(luts[0].LUTDescriptor[2]) - 1
    table = _all_values(ds)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    ends = sorted((table[0] * slope + intercept, table[-1] * slope + intercept))
    return float(ends[0]), float(ends[1])


def _inverted(ds: Dataset) -> tuple[bool, str]:
    """Say whether small values are bright: MONOCHROME1, or INVERSE, which stands beside it."""
    if ds.PhotometricInterpretation == "MONOCHROME1":
        return True, "PhotometricInterpretation (0028,0004) MONOCHROME1"
    if ds.get("PresentationLUTShape") == "INVERSE":
        return True, "PresentationLUTShape (2050,0020) INVERSE"
    return False, "PhotometricInterpretation (0028,0004) MONOCHROME2"


def _step(
    name: str, detail: str, origin: str, before: np.ndarray, after: np.ndarray, ends: list[int]
) -> Step:
    inside = slice(ends[0], ends[1] + 1)
    return Step(name, detail, origin, _range(before[inside]), _range(after[inside]))


def _range(values: np.ndarray) -> tuple[float, float] | None:
    return (float(values.min()), float(values.max())) if values.size else None
