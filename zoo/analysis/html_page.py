"""Pages that need no other file: tables, pictures and videos are written into them."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Dots of a picture to the inch.
DPI = 120
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 70rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { font-size: 1.3rem; margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #1a1a1a; }
img, video { max-width: 100%; height: auto; }
.note { color: #555; font-size: 0.9rem; overflow-wrap: anywhere; }
nav a { margin-right: 1rem; white-space: nowrap; }
pre { background: #f4f4f4; padding: 0.6rem 0.8rem; overflow-x: auto; }
"""


def html_page(title: str, parts: Iterable[str]) -> str:
    """
    Put parts together to a page.

    Example:
        >>> from dreamzoo.analysis.html_page import html_page, note
        >>> page = html_page("Results", [note("a < b")])
        >>> "<title>Results</title>" in page, "a &lt; b" in page
        (True, True)

    :param title: of the window, and the first heading
    :param parts: in HTML
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    Write a table.

    Example:
        >>> from dreamzoo.analysis.html_page import html_table
        >>> html_table(["agent"], [["PPO"]]).count("<tr>")
        2

    :param heads: of the columns, as plain text
    :param rows: with as many cells, as plain text
    """

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(cells, "td") for cells in rows)
    return (
        f'<div class="wide"><table><thead>{line(heads, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def note(text: str) -> str:
    """
    Write a remark in small letters.

    Example:
        >>> from dreamzoo.analysis.html_page import note
        >>> note("a & b")
        '<p class="note">a &amp; b</p>'
    """
    return f'<p class="note">{escape(text)}</p>'


def preformatted(text: str) -> str:
    """
    Write lines as they are.

    Example:
        >>> from dreamzoo.analysis.html_page import preformatted
        >>> preformatted("a  b")
        '<pre>a  b</pre>'
    """
    return f"<pre>{escape(text)}</pre>"


def image(figure: "Figure", title: str) -> str:
    """
    Put a picture into the page itself.

    Example:
        >>> from dreamzoo.analysis.html_page import image
        >>> from matplotlib.figure import Figure
        >>> image(Figure(), "nothing")[:40]
        '<img alt="nothing" src="data:image/png;b'

    :param figure: of matplotlib
    :param title: for those who cannot see it
    """
    with BytesIO() as file:
        figure.savefig(file, format="png", dpi=DPI)
        return f'<img alt="{escape(title)}" src="{_data(file.getvalue(), "image/png")}">'


def video(path: Path, title: str) -> str:
    """
    Put a video into the page itself.

    Example:
        >>> import pathlib
        >>> from dreamzoo.analysis.html_page import video
        >>> path = pathlib.Path("dream.mp4")
        >>> _ = path.write_bytes(b"...")
        >>> video(path, "dream")[:30]
        '<video controls loop muted aut'

    :param path: of an mp4
    :param title: for those who cannot see it
    """
    source = _data(path.read_bytes(), "video/mp4")
    return f'<video controls loop muted autoplay title="{escape(title)}" src="{source}"></video>'


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
