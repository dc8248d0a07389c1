"""Write the figures that READMEs show from the files that hold them: python tools/figures.py [--check]

A README names a table between ``<!-- figures STUDY TABLE -->`` and ``<!-- end of figures -->``; what
stands between is made from ``figures/STUDY/*.json``. ``--check`` writes nothing and fails where the
two differ. ``<!-- phantom NAME -->`` is a table of `phantom_tables`, from ``figures/phantom/``, and
``<!-- table FILE -->`` the ``table`` of ``figures/FILE``, as a benchmark wrote it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from phantom_tables import table as phantom_table

from secondreader import studies
from secondreader.evaluation.tables import markdown
from secondreader.studies import run
from secondreader.studies.show import beside

ROOT = Path(__file__).parent.parent
MARKED = re.compile(r"(<!-- figures (\S+) (\S+) -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)
BEGUN = re.compile(r"<!-- (?:figures|table|phantom) \S+.*? ?-->")
TABLE = re.compile(r"(<!-- table (\S+) -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)
PHANTOM = re.compile(r"(<!-- phantom (\S+) -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)


def filled(text: str) -> str:
    """Return a README's text with its tables made from the stored figures.

    How a study differs from its paper stands below its first table only.
    """
    differs: set[str] = set()

    def table(found: re.Match[str]) -> str:
        study = studies.study(found[2])
        if "@" in found[2]:  # phantoms, by the networks that two cores train
            study = study.by("cpu")
        told = beside(study, found[3], run.stored(ROOT / "figures", study)).strip().split("\n")
        kept = [line for line in told if not (line.startswith("- differs: ") and line in differs)]
        differs.update(kept)
        return "\n".join([found[1].strip(), *kept, found[5]])

    def written(found: re.Match[str]) -> str:
        told = json.loads((ROOT / "figures" / found[2]).read_text(encoding="utf-8"))
        return f"{found[1]}{markdown(told['table']).strip()}\n{found[4]}"

    text = TABLE.sub(written, MARKED.sub(table, text))
    return PHANTOM.sub(
        lambda found: (
            f"{found[1]}{phantom_table(ROOT / 'figures' / 'phantom', found[2])}{found[4]}"
        ),
        text,
    )


def main() -> None:
    """Fill every README, or say which differ."""
    differ = []
    for readme in [ROOT / "README.md", *sorted(ROOT.glob("src/**/README.md"))]:
        old = readme.read_text(encoding="utf-8")
        begun, ended = len(BEGUN.findall(old)), old.count("<!-- end of figures -->")
        if begun != ended:  # a table without its end would never be looked at
            sys.exit(
                f"figures: got {begun} tables and {ended} ends of one: {readme.name} in {readme.parent.name}"
            )
        new = filled(old)
        if old != new:
            differ.append(readme.relative_to(ROOT).as_posix())
            if "--check" not in sys.argv:
                readme.write_text(new, encoding="utf-8")
    if "--check" in sys.argv and differ:
        sys.exit(f"figures differ from figures/*.json: {', '.join(differ)}; run: make figures")


if __name__ == "__main__":
    main()
