"""``report.html``: all exams, their scores and pages, and what was skipped; written line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from secondreader.report import schema
from secondreader.report.markup import CSP, asset, percent, text

__all__ = ["index_text"]


def index_text(
    header: schema.ReadingHeader,
    exams: Iterable[tuple[schema.Exam, str]],
    skipped: Iterable[schema.SkippedInput],
) -> Iterator[str]:
    """Yield the page that lists exams, piece by piece.

    Parameters
    ----------
    header
        Version, inputs and models.
    exams
        Each exam and its page, relative to OUT; taken one at a time.
    skipped
        What was not read, and why.
    """
    models = ", ".join(f"{m.name} {(m.sha256 or '')[:12]}" for m in header.models)
    yield f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CSP}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Exams – secondreader</title><style>{asset("style.css")}</style></head><body>
<header><h1>secondreader</h1><span class="warning">Research use only. Not a medical device.</span>
<span class="soft">version {text(header.version)} · {text(models)}</span>
<label class="strip">Filter <input id="filter" type="search"></label></header>
<main class="index"><h2>Exams</h2><table id="exams"><thead><tr>"""
    names = [m.name for m in header.models]
    yield "".join(
        f"<th{' class=number' if number else ''}><button>{text(title)}</button></th>"
        for title, number in [
            ("Exam", False),
            ("Patient", False),
            ("Views", False),
            ("Findings", True),
            *((f"Score {name}", True) for name in names),
            *((f"Probability {name}", True) for name in names),
            ("Not read by", False),
        ]
    )
    yield "</tr></thead><tbody>\n"
    count = 0
    for exam, page in exams:
        count += 1
        yield _row(exam, page, names)
    yield "</tbody></table>\n"
    yield "<p class='soft'>A score is no probability; a dash under Probability: not calibrated.</p>"
    if count == 0:
        yield "<p>No mammogram was found.</p>"
    yield "<h2>Skipped</h2><table><thead><tr><th>File</th><th>Code</th><th>Reason</th></tr></thead>"
    any_skipped = False
    for s in skipped:
        any_skipped = True
        yield f"<tr><td class='path'>{text(s.path)}</td><td>{text(s.code)}</td><td>{text(s.reason)}</td></tr>\n"
    yield "</table>" if any_skipped else "</table><p>Nothing.</p>"
    yield f"</main><script>{asset('index.js')}</script></body></html>\n"


def _row(exam: schema.Exam, page: str, models: list[str]) -> str:
    counted = Counter(f"{i.laterality or '?'} {i.view or '?'}" for i in exam.images)
    views = ", ".join(
        f"<span class='short'>{text(name)}{f' × {n}' if n > 1 else ''}</span>"
        for name, n in counted.items()
    )
    findings = sum(d.finding for image in exam.images for d in image.detections)
    scores = {score.model: score for score in exam.scores}
    values = [scores[m].score if m in scores else None for m in models]
    sure = [scores[m].probability if m in scores else None for m in models]
    refused = sorted(
        {f"{s.model}: {s.refused.code}" for i in exam.images for s in i.scores if s.refused}
    )
    numbers = "".join(
        f"<td class='number'>{shown}</td>"
        for shown in [
            *("–" if v is None else f"{v:.4g}" for v in values),
            *("–" if p is None else percent(p) for p in sure),
        ]
    )
    return (
        f'<tr><td class="path"><a href="{text(page)}">{text(exam.exam_id)}</a></td>'
        f"<td class='path'>{text(exam.patient_id)}</td><td>{views or 'none'}</td>"
        f"<td class='number'>{findings}</td>{numbers}<td>{text(', '.join(refused))}</td></tr>\n"
    )
