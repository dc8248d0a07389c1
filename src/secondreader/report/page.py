"""One exam as one self-contained page: pictures at full bit depth, findings, scores, no network."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from secondreader.domain import Kind, Laterality, View
from secondreader.report import schema
from secondreader.report.pixels import PicturePart, ViewPixels

__all__ = ["CSP", "asset", "embedded", "exam_page", "page_name", "text"]

CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
_HANGING = (
    (Laterality.R, View.CC),
    (Laterality.L, View.CC),
    (Laterality.R, View.MLO),
    (Laterality.L, View.MLO),
)
_KINDS = {kind: str(kind).replace("_", " ") for kind in Kind}
_HELP = (
    ("1-9", "choose a view"),
    ("drag", "window (across) and level (down); [ ] and , . do the same"),
    ("shift-drag, arrows", "move"),
    ("wheel, + -", "zoom"),
    ("click a finding, n p", "show it at full resolution; next, previous"),
    ("o a h i", "findings, all marks below the operating point too, heatmap, invert"),
    ("m, double click", "one view, all views"),
    ("f r", "fit; reset all"),
)


@cache
def asset(name: str) -> str:
    """Return a file of the front end."""
    return files("secondreader.report").joinpath("assets", name).read_text(encoding="utf-8")


def text(value: object) -> str:
    """Escape a value for HTML; unknown is a dash."""
    return "–" if value is None else html.escape(str(value))


def embedded(value: Any) -> str:
    """Return JSON that is safe inside a script element."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028")


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
    return _document(
        f"Exam {exam.exam_id}",
        f"""<header><h1 title="{text(exam.exam_id)}">Exam {text(exam.exam_id)}</h1>
<span class="soft">patient {text(exam.patient_id)}</span>
<span class="warning">Research use only. Not a medical device.</span>
<span class="strip">{_BUTTONS}</span></header>
<main class="exam"><section class="hanging" aria-label="Views">{"".join(figures)}</section>
<aside aria-label="Reading"><p id="note" class="warning"></p>
{_findings_table(exam, numbers, pixels)}{_scores_table(exam)}{_images_table(exam, pixels)}
{_skipped_table(skipped)}{_made_by(header)}</aside></main>{_help()}
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


def _document(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CSP}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)} – secondreader</title><style>{asset("style.css")}</style></head>
<body>{body}</body></html>
"""


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
    name = f"{image.laterality or 'side unknown,'} {image.view or 'view unknown'}"
    found = sum(d.finding for d in image.detections)
    mirrored = " · shown mirrored" if pixels.mirror else ""
    refusals = [s.refused.code for s in image.scores if s.refused]
    refused = f" · not read: {', '.join(refusals)}" if refusals else ""
    note = f"{found} finding{'' if found == 1 else 's'}{mirrored}{refused}"
    label = f"{name} of exam {exam.exam_id}, {note}"
    return (
        f'<figure id="view-{place}"><div class="frame">'
        f'<canvas tabindex="0" role="img" aria-label="{text(label)}"></canvas></div>'
        f"<figcaption><b>{text(name)}</b><span>{text(note)}</span></figcaption>"
        '<span class="wl"></span></figure>'
    )


def _empty(laterality: Laterality, view: View) -> str:
    name = f"{laterality} {view}"
    return f'<figure><div class="missing">{name}: none</div></figure>'


def _findings_table(
    exam: schema.Exam, numbers: dict[tuple[int, int], int], pixels: Sequence[ViewPixels]
) -> str:
    rows = []
    for (i, j), number in numbers.items():
        image, d = exam.images[i], exam.images[i].detections[j]
        size = "–" if d.diameter_mm is None else f"{d.diameter_mm:.1f} mm"
        where = f"{image.laterality or '?'} {image.view or '?'}"
        sure = "–" if d.probability is None else f"{d.probability:.1%}"
        link = f' <span class="soft">linked {text(d.link)}</span>' if d.link else ""
        rows.append(
            f'<tr data-finding="{number}"><td><button aria-label="Show finding {number}">{number}'
            f"</button></td><td>{text(_KINDS[d.kind])}{link}</td><td class='short'>{text(where)}</td>"
            f'<td class="number">{size}</td><td class="number">{d.score:.3g}</td>'
            f'<td class="number">{sure}</td></tr>'
        )
    if not rows:
        return "<h2>Findings</h2><p>None above the operating point.</p>"
    left_out = sum(p.left_out for p in pixels)
    note = f"<p class='soft'>{left_out} shown at display size only.</p>" if left_out else ""
    head = "<th>No</th><th>Kind</th><th>View</th><th class='number'>Size</th>"
    head += "<th class='number'>Score</th><th class='number' title='Probability'>Prob.</th>"
    return f"<h2>Findings</h2><table><tr>{head}</tr>{''.join(rows)}</table>{note}"


def _scores_table(exam: schema.Exam) -> str:
    rows = []
    for score in exam.scores:
        rows.append(_score_row(score.model, "exam", score))
    for breast in exam.breasts:
        side = f"breast {breast.laterality or 'unknown'}"
        rows += [_score_row(score.model, side, score) for score in breast.scores]
    for image in exam.images:
        where = f"{image.laterality or '?'} {image.view or '?'}"
        rows += [_score_row(score.model, where, score) for score in image.scores]
    head = (
        "<th>Model</th><th>Of</th><th class='number'>Score</th><th class='number'>Probability</th>"
    )
    return f"<h2>Scores</h2><table><tr>{head}</tr>{''.join(rows)}</table>"


def _score_row(model: str, what: str, score: schema.Score | schema.ImageScore) -> str:
    value = "–" if score.score is None else f"{score.score:.3g}"
    sure = "not calibrated" if score.probability is None else f"{score.probability:.1%}"
    refused = getattr(score, "refused", None)
    if refused is not None:
        return (
            f"<tr><td>{text(model)}</td><td>{text(what)}</td>"
            f"<td colspan='2'>{text(refused.reason)}</td></tr>"
        )
    sure = "–" if score.score is None else sure
    return (
        f"<tr><td>{text(model)}</td><td>{text(what)}</td><td class='number'>{value}</td>"
        f"<td class='number'>{sure}</td></tr>"
    )


def _images_table(exam: schema.Exam, pixels: Sequence[ViewPixels]) -> str:
    if not exam.images:
        return "<h2>Images</h2><p>No image of this exam could be read.</p>"
    rows = []
    for image, shown in zip(exam.images, pixels, strict=True):
        where = f"{image.laterality or '?'} {image.view or '?'}"
        spacing = (
            "pixel size unknown" if image.spacing_mm is None else (f"{image.spacing_mm[0]:.4g} mm")
        )
        lossy = " · lossy" if image.source.lossy else ""
        size = f"{image.cols} × {image.rows}, {spacing}, {image.source.bits or '?'} bits{lossy}"
        display = "" if shown.parts[0].scale <= 1 else f", shown 1 : {shown.parts[0].scale:.1f}"
        rows.append(
            f"<tr><td class='short'>{text(where)}</td><td class='path'>{text(image.path)}<br>"
            f"<span class='soft'>{text(size + display)}; {text(image.source.voi)}</span></td></tr>"
        )
    return f"<h2>Images</h2><table>{''.join(rows)}</table>"


def _skipped_table(skipped: Sequence[schema.SkippedInput]) -> str:
    if not skipped:
        return ""
    rows = "".join(
        f"<tr><td class='path'>{text(s.path)}</td><td>{text(s.code)}: {text(s.reason)}</td></tr>"
        for s in skipped
    )
    return f"<h2>Not read</h2><table>{rows}</table>"


def _made_by(header: schema.ReadingHeader) -> str:
    models = ", ".join(f"{m.name} {(m.sha256 or '')[:12]}" for m in header.models)
    return f"<p class='soft'>secondreader {text(header.version)} · {text(models)}</p>"


def _help() -> str:
    rows = "".join(f"<tr><td><kbd>{text(k)}</kbd></td><td>{text(v)}</td></tr>" for k, v in _HELP)
    return (
        "<dialog id='help' aria-label='Keys'><h2>Keys</h2>"
        f"<table>{rows}</table><form method='dialog'><button>Close</button></form></dialog>"
    )
