"""The tables beside the pictures: findings, scores, images, what was not read, who read."""

from __future__ import annotations

from collections.abc import Sequence

from secondreader.domain import Kind
from secondreader.report import schema
from secondreader.report.markup import percent, text
from secondreader.report.pixels import ViewPixels

__all__ = [
    "findings_table",
    "images_table",
    "made_by",
    "place_name",
    "scores_table",
    "skipped_table",
]

_KINDS = {kind: str(kind).replace("_", " ") for kind in Kind}


def place_name(image: schema.Image) -> str:
    """Return what an image shows in words: the breast and the view, unknown where unknown."""
    if image.laterality is None and image.view is None:
        return "side and view unknown"
    return f"{image.laterality or 'side unknown,'} {image.view or '(view unknown)'}"


def _place_cell(image: schema.Image) -> str:
    kind = " class='short'" if image.laterality and image.view else ""
    return f"<td{kind}>{text(place_name(image))}</td>"


def findings_table(
    exam: schema.Exam, numbers: dict[tuple[int, int], int], pixels: Sequence[ViewPixels]
) -> str:
    """Return the findings, a row each, with the button that shows it."""
    rows = []
    # Scores of two models are on two scales: whose they are must be said.
    several = len({exam.images[i].detections[j].model for i, j in numbers}) > 1
    for (i, j), number in numbers.items():
        image, d = exam.images[i], exam.images[i].detections[j]
        whose = f' <span class="soft">{text(d.model)}</span>' if several else ""
        size = "–" if d.diameter_mm is None else f"{d.diameter_mm:.1f} mm"
        sure = "–" if d.probability is None else percent(d.probability)
        link = f' <span class="soft">linked {text(d.link)}</span>' if d.link else ""
        rows.append(
            f'<tr data-finding="{number}"><td><button aria-label="Show finding {number}">{number}'
            f"</button></td><td>{text(_KINDS[d.kind])}{whose}{link}</td>{_place_cell(image)}"
            f'<td class="number">{size}</td><td class="number">{d.score:.3g}</td>'
            f'<td class="number">{sure}</td></tr>'
        )
    read = sum(any(s.refused is None for s in image.scores) for image in exam.images)
    unread = _unread(read, len(exam.images))
    if not rows:
        none = "<p>None above the operating point.</p>" if read else ""
        return f"<h2>Findings</h2>{none}{unread}"
    left_out = sum(p.left_out for p in pixels)
    notes = [f"{left_out} shown at display size only."] if left_out else []
    if any(exam.images[i].detections[j].probability is None for i, j in numbers):
        notes.append("Not calibrated: a score is no probability.")
    note = f"<p class='soft'>{' '.join(notes)}</p>" if notes else ""
    head = "<th>No</th><th>Kind</th><th>View</th><th class='number'>Size</th>"
    head += "<th class='number'>Score</th><th class='number' title='Probability'>Prob.</th>"
    return f"<h2>Findings</h2><table><tr>{head}</tr>{''.join(rows)}</table>{note}{unread}"


def _unread(read: int, images: int) -> str:
    """Say what no model read: an unread image is not a negative one."""
    if read == images > 0:
        return ""
    none = "No image of this exam was read by a model."
    some = f"No model read {images - read} of {images} images."
    return f"<p class='warning'>{some if read else none}</p>"


def scores_table(exam: schema.Exam, header: schema.ReadingHeader) -> str:
    """Return the scores of exam, breasts and images, or why there is none, and what probabilities hold for."""
    rows = []
    for score in exam.scores:
        rows.append(_score_row(score.model, "exam", score))
    for breast in exam.breasts:
        side = f"breast {breast.laterality or 'unknown'}"
        rows += [_score_row(score.model, side, score) for score in breast.scores]
    for image in exam.images:
        where = place_name(image)
        rows += [_score_row(score.model, where, score) for score in image.scores]
    head = (
        "<th>Model</th><th>Of</th><th class='number'>Score</th><th class='number'>Probability</th>"
    )
    holds = "".join(
        f"<p class='soft'>Probabilities of {text(model.name)} hold where {100 * model.prevalence:.3g} % of exams "
        "are of women with cancer.</p>"
        for model in header.models
        if model.prevalence is not None
    )
    return f"<h2>Scores</h2><table><tr>{head}</tr>{''.join(rows)}</table>{holds}"


def _score_row(model: str, what: str, score: schema.Score | schema.ImageScore) -> str:
    value = "–" if score.score is None else f"{score.score:.3g}"
    sure = "not calibrated" if score.probability is None else percent(score.probability)
    refused = getattr(score, "refused", None)
    if refused is not None:
        return (
            f"<tr><td>{text(model)}</td><td>{text(what)}</td>"
            f"<td colspan='2'>{text(refused.reason)}</td></tr>"
        )
    sure = "–" if score.score is None else sure
    without = "".join(
        f"<tr><td></td><td colspan='3' class='soft'>without: {text(of.reason)}</td></tr>"
        for of in getattr(score, "left_out", ())
    )
    return (
        f"<tr><td>{text(model)}</td><td>{text(what)}</td><td class='number'>{value}</td>"
        f"<td class='number'>{sure}</td></tr>{without}"
    )


def images_table(exam: schema.Exam, pixels: Sequence[ViewPixels]) -> str:
    """Return what is known of each image: file, size, pixel size, what was done to its values."""
    if not exam.images:
        return "<h2>Images</h2><p>No image of this exam could be read.</p>"
    rows = []
    for image, shown in zip(exam.images, pixels, strict=True):
        spacing = (
            "pixel size unknown" if image.spacing_mm is None else (f"{image.spacing_mm[0]:.4g} mm")
        )
        lossy = " · lossy" if image.source.lossy else ""
        size = f"{image.cols} × {image.rows}, {spacing}, {image.source.bits or '?'} bits{lossy}"
        display = "" if shown.parts[0].scale <= 1 else f", shown 1 : {shown.parts[0].scale:.1f}"
        rows.append(
            f"<tr>{_place_cell(image)}<td class='path'>{text(image.path)}<br>"
            f"<span class='soft'>{text(size + display)}; {text(image.source.voi)}</span></td></tr>"
        )
    return f"<h2>Images</h2><table>{''.join(rows)}</table>"


def skipped_table(skipped: Sequence[schema.SkippedInput]) -> str:
    """Return the files of the exam that could not be read, and why."""
    if not skipped:
        return ""
    rows = "".join(
        f"<tr><td class='path'>{text(s.path)}</td><td>{text(s.code)}: {text(s.reason)}</td></tr>"
        for s in skipped
    )
    return f"<h2>Not read</h2><table>{rows}</table>"


def made_by(header: schema.ReadingHeader) -> str:
    """Return the version and the models."""
    models = ", ".join(f"{m.name} {(m.sha256 or '')[:12]}" for m in header.models)
    return f"<p class='soft'>secondreader {text(header.version)} · {text(models)}</p>"
