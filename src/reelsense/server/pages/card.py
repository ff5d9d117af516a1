"""Render a model card from Markdown to HTML, by section.

Cards are untrusted: HTML, scripts and pictures in them are escaped or dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import pairwise
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n", re.DOTALL)
_HEADING = 3
"""Tokens of a heading: its start, its text, its end."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text below it."""

    anchor: str
    title: str
    body: Markup


@dataclass(frozen=True, slots=True)
class Card:
    """A model card by section, as HTML."""

    lead: Markup
    """Text up to the end of the first paragraph, without the title."""
    more: Markup
    """The rest of the text above the sections."""
    limits: tuple[Section, ...]
    """The sections on the limits of the model."""
    sections: tuple[Section, ...]
    """The other sections."""


@lru_cache(maxsize=2)
def read_card(source: str) -> Card:
    """Parse the Markdown `source` of a model card; its front matter is ignored."""
    tokens = _MARKDOWN.parse(_FRONT_MATTER.sub("", source))
    if tokens and tokens[0].tag == "h1":  # the page has its own title
        tokens = tokens[_HEADING:]
    starts = [
        n
        for n, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0 and token.tag in ("h1", "h2")
    ]
    renderer = _Renderer()
    above = tokens[: starts[0]] if starts else tokens
    ends = (n for n, t in enumerate(above) if t.type == "paragraph_close" and not t.level)
    end = next(ends, -1) + 1
    lead, more = renderer.body(above[:end], "Lead"), renderer.body(above[end:], "In short")
    sections = [
        renderer.section(tokens[start:end]) for start, end in pairwise([*starts, len(tokens)])
    ]
    limits = [section for section in sections if "limit" in section.title.casefold()]
    return Card(
        lead=lead,
        more=more,
        limits=tuple(limits),
        sections=tuple(section for section in sections if section not in limits),
    )


class _Renderer:
    """Renders the parts of one card; headings get unique ids and tables unique names."""

    def __init__(self) -> None:
        self._headings: Counter[str] = Counter()
        self._tables = 0

    def section(self, tokens: Sequence[Token]) -> Section:
        title = _plain(tokens[1])
        return Section(self._anchor(title), title, self.body(tokens[_HEADING:], title))

    def body(self, tokens: Sequence[Token], title: str) -> Markup:
        """Return the HTML of `tokens`, which belong to the section `title`."""
        for n, token in enumerate(tokens):
            if token.type == "heading_open":
                token.attrSet("id", self._anchor(_plain(tokens[n + 1])))
            if token.tag in ("h1", "h2"):  # inside a list or a quotation
                token.tag = "h3"
            if token.type == "table_open":
                self._tables += 1
                token.meta["name"] = f"Table {self._tables}: {title}"
            if token.type in ("th_open", "td_open") and "style" in token.attrs:
                token.attrs["class"] = str(token.attrs.pop("style")).removeprefix("text-align:")
            for link in token.children or ():
                if link.type == "link_open" and urlsplit(str(link.attrGet("href"))).netloc:
                    link.attrSet("rel", "noopener")
        # Markup: the renderer escapes all text, and the parser lets no HTML through.
        return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))  # noqa: S704

    def _anchor(self, title: str) -> str:
        name = "card-" + re.sub(r"\W+", "-", title.casefold()).strip("-")
        self._headings[name] += 1
        count = self._headings[name]
        return f"{name}-{count}" if count > 1 else name


def _plain(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ())


def _table_open(
    _self: RendererProtocol,
    tokens: Sequence[Token],
    index: int,
    _options: OptionsDict,
    _env: EnvType,
) -> str:
    """Wrap a table in an element that can be scrolled, also with the keyboard."""
    name = escape(tokens[index].meta["name"])
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">\n<table>\n'


_MARKDOWN = MarkdownIt("js-default", {"html": False}).disable("image")
_MARKDOWN.add_render_rule("table_open", _table_open)
_MARKDOWN.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
