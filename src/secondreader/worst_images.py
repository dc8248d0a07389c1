"""The page of an evaluation: its figures, its plots, and the images it was most wrong about."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from secondreader import formats, geometry, imaging
from secondreader.datasets.image_set import FileImages
from secondreader.domain import Box, Refused
from secondreader.evaluation.figures import Figure, Metrics
from secondreader.evaluation.scored import ScoredImage
from secondreader.evaluation.tables import comparisons_table, headlines, told_apart, with_interval
from secondreader.report.page import CSP, asset, text

__all__ = ["figures_page"]

_LONGEST = 420
Worst = tuple[str, tuple[ScoredImage, ...], tuple[ScoredImage, ...]]


def figures_page(
    metrics: Metrics,
    pictures: Mapping[str, bytes],
    worst: Sequence[Worst],
    images: FileImages,
) -> str:
    """Return a self-contained page.

    Parameters
    ----------
    metrics
        The figures.
    pictures
        Plots by file name; the PNG ones are shown.
    worst
        For each reader its worst misses and worst false alarms.
    images
        Where their pixels are.
    """
    readers = ", ".join(metrics.readers)
    figures = "".join(
        f"<h3>{text(words)}</h3>{_figures([f for f in metrics.figures if f.level == level and not f.group])}"
        for words, level in _sections(metrics).items()
    )
    plots = "".join(
        f"<p><img alt='{text(name)}' src='{_data(content)}' style='max-width:100%'></p>"
        for name, content in pictures.items()
        if name.endswith(".png")
    )
    seen = "".join(_worst(reader, misses, alarms, images) for reader, misses, alarms in worst)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CSP}">
<title>Figures – secondreader</title><style>{asset("style.css")}</style></head><body>
<header><h1>Figures of {text(readers)}</h1><span class="soft">{text(metrics.split)}</span>
<span class="warning">Research use only. Not a medical device.</span></header>
<main class="index"><h2>In short, with 95 % intervals</h2>{_figures(headlines(metrics.figures))}{_compared(metrics)}
<h2>Plots</h2>{plots}{seen}<h2>All figures, with 95 % intervals</h2>{figures}</main></body></html>
"""


_LEVELS = {
    "patient": "By patient", "exam": "By exam", "breast": "By breast", "image": "By image",
    "lesion": "Lesions found, in any view", "region": "Lesions found, view by view",
    "position": "By position", "patch": "By patch",
}  # fmt: skip


def _sections(metrics: Metrics) -> dict[str, str]:
    """Return headings, and the level below each, of those that have figures."""
    there = {f.level: None for f in metrics.figures if not f.group}
    known: dict[str, str] = {words: level for level, words in _LEVELS.items() if level in there}
    return known | {level: level for level in there if level not in _LEVELS}


def _figures(figures: Sequence[Figure]) -> str:
    rows = "".join(
        f"<tr><td>{text(f.reader)}</td><td>{text(f.level)}</td><td>{text(name).replace('_', '_<wbr>')}</td>"
        f"<td class='number'>{'–' if f.value is None else text(with_interval(f))}</td>"  # why: the note
        f"<td class='number'>{size}</td>"
        f"<td>{text(rule)}</td><td class='path'>{text(f.note)}</td></tr>"
        for f in figures
        for _, name, rule, size in [told_apart(f)]
    )
    return f"""<table><tr><th>Reader</th><th>Of</th><th>Figure</th><th class="number">Value</th>
<th class="number">Positives / negatives</th><th>Rule</th><th>Note</th></tr>{rows}</table>"""


def _compared(metrics: Metrics) -> str:
    """Return the first of the paired differences; nothing where one reader is alone."""
    whole = headlines(metrics.comparisons)
    if not whole:
        return ""
    header, *rows = comparisons_table(whole)
    head = "".join(f"<th>{text(word)}</th>" for word in header)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        "<h2>Differences, paired</h2><p>The first of them; comparisons.md has all.</p>"
        f"<table><tr>{head}</tr>{body}</table>"
    )


def _worst(
    reader: str,
    misses: Sequence[ScoredImage],
    alarms: Sequence[ScoredImage],
    images: FileImages,
) -> str:
    parts = []
    for title, chosen in (("Worst misses", misses), ("Worst false alarms", alarms)):
        shown = "".join(_picture(image, images) for image in chosen)
        parts.append(
            f"<h2>{title} of {text(reader)}</h2>"
            f"<div style='display:flex;flex-wrap:wrap;gap:8px'>{shown or 'None.'}</div>"
        )
    return "".join(parts)


def _picture(scored: ScoredImage, images: FileImages) -> str:
    """Return an image with its lesions (blue) and the findings (yellow)."""
    record = next(r for r in images.records if f"{r.dataset}/{r.path}" == scored.image_id)
    caption = f"{scored.image_id}: score {scored.score:.3g}"
    try:
        mammogram = images.open(record)
    except Refused as refused:
        return f"<p>{text(caption)}: {text(refused.reason)}</p>"
    shape = (mammogram.pixels.shape[0], mammogram.pixels.shape[1])
    scale = max(max(shape) / _LONGEST, 1.0)
    small, frame = imaging.resample(mammogram.pixels, geometry.identity(shape), (scale, scale))
    grey = np.rint(small * 255).astype(np.uint8)
    picture = Image.fromarray(np.stack([grey] * 3, axis=-1))
    draw = ImageDraw.Draw(picture)
    marks = [(lesion.region, "#7fd4ff") for lesion in scored.lesions if lesion.region is not None]
    marks += [(d.region, "#ffd23f") for d in scored.detections if d.finding]
    for region, colour in marks:
        # Of the region itself: on the smaller grid a calcification's mask may have no pixel left.
        box = geometry.move(geometry.bounding_box(region), frame, to="grid")
        assert isinstance(box, Box)
        draw.rectangle((box.col0 - 2, box.row0 - 2, box.col1 + 2, box.row1 + 2), outline=colour)
    return (
        f"<figure style='height:auto'><img alt='{text(caption)}' "
        f"src='{_data(formats.png_bytes(np.asarray(picture)))}'>"
        f"<div class='soft'>{text(caption)}</div></figure>"
    )


def _data(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
