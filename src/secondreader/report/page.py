"""One exam as one self-contained page: pictures at full bit depth, findings, scores, no network."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from secondreader.domain import Laterality, View
from secondreader.report import schema
from secondreader.report.aside import (
    findings_table,
    images_table,
    made_by,
    place_name,
    scores_table,
    skipped_table,
)
from secondreader.report.markup import CSP, asset, document, embedded, text
from secondreader.report.pixels import PicturePart, ViewPixels

__all__ = ["CSP", "asset", "embedded", "exam_page", "page_name", "text"]

_HANGING = (
    (Laterality.R, View.CC),
    (Laterality.L, View.CC),
    (Laterality.R, View.MLO),
    (Laterality.L, View.MLO),
)
_HELP = (
    ("1-9", "choose a view"),
    ("drag", "window (across) and level (down), finer the narrower; [ ] and , . do the same"),
    ("shift-drag, arrows", "move"),
    ("wheel, + -", "zoom"),
    ("click a finding, n p", "show it at full resolution; next, previous"),
    ("o a h i", "findings, all other marks too, heatmap, invert"),
    ("m, double click", "one view, all views"),
    ("f r", "fit; reset all"),
)


def page_name(exam_id: str, key: str) -> str:
    """Return the file name of an exam's page: readable, safe, unique by ``key``."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", exam_id).strip("._")[:60]
    return f"{readable or 'exam'}-{key[:8]}.html"


def exam_page(
    exam: schema.Exam,
    pixels: Sequence[ViewPixels],
    *,
    header: schema.ReadingHeader,
    skipped: Sequence[schema.SkippedInput] = (),
) -> str:
    """Return an exam's page.

    Parameters
    ----------
    exam
        The exam; ``pixels`` are those of its images, in the same order.
    pixels
        What the page shows of each image.
    header
        Version and models.
    skipped
        The files of this exam that could not be read.
    """
    order = _hung(exam.images)
    numbers = _numbered(exam)
    views = [_view_data(exam.images[i], pixels[i], i, numbers) for i in order if i is not None]
    figures = []
    place = 0
    for slot, index in enumerate(order):
        if index is None:
            figures.append(_empty(*_HANGING[slot]))
        else:
            figures.append(_figure(exam.images[index], pixels[index], place, exam))
            place += 1
    packed = [piece for i in order if i is not None for piece in _packed(pixels[i], i)]
    return document(
        f"Exam {exam.exam_id}",
        f"""<header><h1 title="{text(exam.exam_id)}">Exam {text(exam.exam_id)}</h1>
<span class="soft" title="patient {text(exam.patient_id)}">patient {text(exam.patient_id)}</span>
<span class="warning">Research use only. Not a medical device.</span>
<span class="strip">{_BUTTONS}</span></header>
<main class="exam"><section class="hanging" aria-label="Views">{"".join(figures)}</section>
<aside aria-label="Reading"><p id="note" class="warning"></p>
{findings_table(exam, numbers, pixels)}{scores_table(exam, header)}{images_table(exam, pixels)}
{skipped_table(skipped)}{made_by(header)}</aside></main>{_help()}
{"".join(packed)}
<script type="application/json" id="exam-data">{embedded({"views": views})}</script>
<script>{asset("viewer.js")}</script>""",
    )


_BUTTONS = """<button id="toggle-overlay" aria-pressed="true">Findings o</button>
<button id="toggle-all" aria-pressed="false">All marks a</button>
<button id="toggle-heat" aria-pressed="false">Heatmap h</button>
<button id="toggle-invert" aria-pressed="false">Invert i</button>
<button id="maximise">One view m</button><button id="reset">Reset r</button>
<button id="show-help">Keys ?</button> <a href="../report.html">All exams</a>"""


def _hung(images: Sequence[schema.Image]) -> list[int | None]:
    """Return image indices as radiologists hang them, the rest behind, None for an empty place."""
    left = list(range(len(images)))
    order: list[int | None] = []
    for place in _HANGING:
        found = next((i for i in left if (images[i].laterality, images[i].view) == place), None)
        order.append(found)
        if found is not None:
            left.remove(found)
    return [*order, *left] if any(i is not None for i in order) else [*left]


def _numbered(exam: schema.Exam) -> dict[tuple[int, int], int]:
    """Number the findings of an exam, highest score first within a model; others have none."""
    found = [
        (d.model, -d.score, i, j)
        for i, image in enumerate(exam.images)
        for j, d in enumerate(image.detections)
        if d.finding
    ]
    return {(i, j): number for number, (_, _, i, j) in enumerate(sorted(found), 1)}


def _view_data(
    image: schema.Image, pixels: ViewPixels, index: int, numbers: dict[tuple[int, int], int]
) -> dict[str, Any]:
    marks = [
        {
            "number": numbers.get((index, j), 0),
            "kind": str(d.kind),
            "finding": d.finding,
            "center": d.center,
            "box": d.box or (d.center * 2),
            "link": d.link,
        }
        for j, d in enumerate(image.detections)
    ]
    side = {Laterality.R: "right", Laterality.L: "left"}
    return {
        "rows": image.rows,
        "cols": image.cols,
        "top": pixels.top,
        "view": image.view,
        "mm": image.spacing_mm[0] if image.spacing_mm else None,
        "mirror": pixels.mirror,
        "align": side[image.laterality] if image.laterality else "center",
        "marks": marks,
        "parts": [_part_data(part, f"p{index}-{k}") for k, part in enumerate(pixels.parts)],
        "heats": [
            {
                "id": f"h{index}-{k}",
                "rows": heat.shape[0],
                "cols": heat.shape[1],
                "row0": 0,
                "col0": 0,
                "scale": image.rows / heat.shape[0],
            }
            for k, heat in enumerate(pixels.heats)
        ],
    }


def _part_data(part: PicturePart, name: str) -> dict[str, Any]:
    rows, cols = part.pixels.shape
    place = {"row0": part.row0, "col0": part.col0, "scale": part.scale}
    return {"id": name, "rows": rows, "cols": cols, **place}


def _packed(pixels: ViewPixels, index: int) -> list[str]:
    """Return the script elements that hold a view's pictures, as the viewer unpacks them."""
    blocks = [
        (f"p{index}-{k}", _differences(part.pixels)) for k, part in enumerate(pixels.parts)
    ] + [(f"h{index}-{k}", heat.tobytes()) for k, heat in enumerate(pixels.heats)]
    return [
        f'<script type="text/plain" id="{name}">'
        f"{base64.b64encode(zlib.compress(raw, 6)).decode()}</script>"
        for name, raw in blocks
    ]


def _differences(pixels: np.ndarray) -> bytes:
    """Differences along rows, all low bytes before all high ones: they compress far better."""
    wide = pixels.astype(np.uint16)
    wide[:, 1:] -= pixels[:, :-1]  # modulo 65,536, as the viewer adds them up again
    low, high = (wide & 255).astype(np.uint8), (wide >> 8).astype(np.uint8)
    return bytes(low.tobytes() + high.tobytes())


def _figure(image: schema.Image, pixels: ViewPixels, place: int, exam: schema.Exam) -> str:
    name = place_name(image)
    found = sum(d.finding for d in image.detections)
    refusals = [s.refused.code for s in image.scores if s.refused]
    notes = []
    if len(refusals) < len(image.scores) or not image.scores:
        notes.append(f"{found} finding{'' if found == 1 else 's'}")
    if refusals:
        notes.append(f"not read: {', '.join(refusals)}")
    if any(s.left_out for s in image.scores):
        notes.append("read in part, see Scores")
    if image.spacing_mm is None:
        notes.append("pixel size unknown")
    if pixels.mirror:
        notes.append("shown mirrored")
    note = " · ".join(notes)
    outer = ' class="outer-right"' if image.laterality is Laterality.L else ""
    label = f"{name} of exam {exam.exam_id}, {note}"
    return (
        f'<figure id="view-{place}"{outer}><div class="frame">'
        f'<canvas tabindex="0" role="img" aria-label="{text(label)}"></canvas></div>'
        f"<figcaption><b>{text(name)}</b><span>{text(note)}</span></figcaption>"
        '<span class="wl"></span></figure>'
    )


def _empty(laterality: Laterality, view: View) -> str:
    name = f"{laterality} {view}"
    return f'<figure><div class="missing">{name}: none</div></figure>'


def _help() -> str:
    rows = "".join(f"<tr><td><kbd>{text(k)}</kbd></td><td>{text(v)}</td></tr>" for k, v in _HELP)
    return (
        "<dialog id='help' aria-label='Keys'><h2>Keys</h2>"
        f"<table>{rows}</table><form method='dialog'><button>Close</button></form></dialog>"
    )
