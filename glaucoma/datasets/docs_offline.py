"""Data Docs made to open without a network: nothing is fetched, so nothing tells anyone that the page was opened.

Great Expectations' pages load Bootstrap, scripts and a counting picture from the internet. Those go, and a short style
sheet gives the same classes a readable look. Its index is drawn by one of those scripts, so ours replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

_REMOTE = r"(?:https?:)?//"
_FETCHED = re.compile(
    rf"<script\b[^>]*\bsrc\s*=\s*[\"']{_REMOTE}[^>]*>\s*</script>"
    rf"|<link\b[^>]*\bhref\s*=\s*[\"']{_REMOTE}[^>]*>"
    rf"|<img\b[^>]*\bsrc\s*=\s*[\"']{_REMOTE}[^>]*>"
    rf"|<iframe\b[^>]*\bsrc\s*=\s*[\"']{_REMOTE}.*?</iframe>"
    r"|<script\b(?![^>]*\btype\s*=\s*[\"']application/json)[^>]*>.*?</script>",
    re.IGNORECASE | re.DOTALL,
)
_IMPORTED = re.compile(rf"@import\s+(?:url\()?\s*[\"']?{_REMOTE}[^;]*;", re.IGNORECASE)
_FETCHED_BY_STYLE = re.compile(rf"url\(\s*[\"']?{_REMOTE}[^)]*\)", re.IGNORECASE)
_STYLE = """<style>
body{font-family:system-ui,sans-serif;max-width:72rem;margin:1rem auto;padding:0 1rem;line-height:1.45;color:#222}
h1,h2,h3,h4,h5{line-height:1.2}table{border-collapse:collapse;margin:.5rem 0;width:100%}
td,th{border-bottom:1px solid #ddd;padding:.35rem .5rem;text-align:left;vertical-align:top}
td{overflow-wrap:break-word}
pre,code{white-space:pre-wrap}.collapse{display:block}.navbar img{display:none}ul{padding-left:1.2rem}
.badge{padding:.05rem .4rem;border-radius:.3rem;background:#eee}
button,.modal,.cooltip,footer,form,.btn-group{display:none}
.fa-check-circle::before{content:"\\2713"}.fa-times::before{content:"\\2717"}
.fa-exclamation-triangle::before{content:"!"}
.fas{font-style:normal;font-weight:bold}.failed{color:#b3261e;font-weight:600}
.text-success{color:#176f2c}.text-danger{color:#b3261e}.alert{padding:.5rem;background:#f4f4f4}
@media (prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}a{color:#8ab4f8}
.badge,.alert{background:#333}.text-success{color:#7bd88f}.text-danger,.failed{color:#ff8a80}}
</style></head>"""
_NEEDLESS = ("*.gif", "iterative-dev-loop.png", "*.otf")


def make_offline(docs: Path) -> None:
    """Rewrites every page in `docs` in place, so that opening it fetches nothing; links to follow by hand stay."""
    for page in docs.rglob("*.html"):
        text = _without_fetches(_FETCHED.sub("", page.read_text(encoding="utf-8")))
        page.write_text(text.replace("</head>", _STYLE, 1), encoding="utf-8")
    for sheet in docs.rglob("*.css"):
        sheet.write_text(_without_fetches(sheet.read_text(encoding="utf-8")), encoding="utf-8")
    for pattern in _NEEDLESS:
        for path in docs.rglob(pattern):
            path.unlink()


def write_index(docs: Path, title: str, rows: Sequence[tuple[str, bool, str, str]], notes: Sequence[str] = ()) -> None:
    """Replaces `index.html` by a table of all checks, with links to the library's own pages.

    Args:
        rows: Severity, whether it holds, what should hold, and what was seen.
        notes: Sentences that stand above the table.
    """
    pages = sorted(page for folder in ("validations", "expectations") for page in (docs / folder).rglob("*.html"))
    links = "".join(
        f'<li><a href="{escape(page.relative_to(docs).as_posix())}">{escape(page.relative_to(docs).parts[0])}</a></li>'
        for page in pages
    )
    body = "".join(
        f"<tr><td>{_outcome(holds)}</td><td>{escape(severity)}</td><td>{escape(says)}</td><td>{escape(seen)}</td></tr>"
        for severity, holds, says, seen in sorted(rows, key=lambda row: (row[1], row[0] != "critical"))
    )
    heading = f"<title>{escape(title)}</title>"
    start = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{heading}{_STYLE}<body><h1>{escape(title)}</h1>'
    )
    table = f"<table><tr><th>Outcome</th><th>Severity</th><th>What should hold</th><th>Seen</th></tr>{body}</table>"
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    page = f"{start}{said}{table}<h2>Great Expectations' own pages</h2><ul>{links}</ul></body></html>"
    (docs / "index.html").write_text(page, encoding="utf-8")


def _outcome(holds: bool) -> str:
    return '<span class="text-success">holds</span>' if holds else '<span class="failed">does not hold</span>'


def _without_fetches(text: str) -> str:
    return _FETCHED_BY_STYLE.sub("none", _IMPORTED.sub("", text))
