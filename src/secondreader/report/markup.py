"""What every page we write is made of: escaped text, the front end's files, the policy of no network."""

from __future__ import annotations

import html
import json
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["CSP", "asset", "document", "embedded", "percent", "text"]

CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


@cache
def asset(name: str) -> str:
    """Return a file of the front end."""
    return files("secondreader.report").joinpath("assets", name).read_text(encoding="utf-8")


def percent(share: float) -> str:
    """Write a probability: where cancer is rare two digits, for 0.0 % would say that there is none."""
    return f"{share:.1%}" if share >= 0.01 or share == 0 else f"{100 * share:.2g}%"


def text(value: object) -> str:
    """Escape a value for HTML; unknown is a dash."""
    return "–" if value is None else html.escape(str(value))


def embedded(value: Any) -> str:
    """Return JSON that is safe inside a script element."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def document(title: str, body: str) -> str:
    """Return a whole HTML page."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CSP}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)} – secondreader</title><style>{asset("style.css")}</style></head>
<body>{body}</body></html>
"""
