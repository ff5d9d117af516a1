"""Render a model card from Markdown to HTML, by section.

Cards are untrusted: HTML, scripts and pictures in them are escaped or dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import count, pairwise
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n", re.DOTALL)
_HEADING = 3  # tokens of a heading: its start, its text, its end


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text below it."""

    anchor: str
    title: str
    body: Markup


@dataclass(frozen=True, slots=True)
class Card:
    """A model card by section, as HTML."""

    lead: Markup  # the text up to the end of the first paragraph, without the title
    limitations: tuple[Section, ...]
    sections: tuple[Section, ...]  # the others, after the rest of the text above them


@lru_cache(maxsize=2)
def read_card(source: str) -> Card:
    """Parse the Markdown `source` of a model card; its front matter is ignored."""
    tokens = _MARKDOWN.parse(_FRONT_MATTER.sub("", source))
    if tokens and tokens[0].tag == "h1":  # the page has its own title
        tokens = tokens[_HEADING:]
    _prepare(tokens)
    starts = [n for n, token in enumerate(tokens) if _is_section(token)]
    above = tokens[: starts[0]] if starts else tokens
    ends = (n + 1 for n, t in enumerate(above) if t.type == "paragraph_close" and t.level == 0)
    lead_end = next(ends, 0)
    sections = [
        Section(
            str(tokens[start].attrGet("id")),
            _plain(tokens[start + 1]),
            _html(tokens[start + _HEADING : end]),
        )
        for start, end in pairwise([*starts, len(tokens)])
    ]
    if rest := above[lead_end:]:
        sections.insert(0, Section("card-summary", "Summary", _html(rest)))
    limitations = tuple(section for section in sections if "limit" in section.title.casefold())
    return Card(
        lead=_html(above[:lead_end]),
        limitations=limitations,
        sections=tuple(section for section in sections if section not in limitations),
    )


def _is_section(token: Token) -> bool:
    return token.type == "heading_open" and token.level == 0 and token.tag in ("h1", "h2")


def _prepare(tokens: Sequence[Token]) -> None:
    """Give headings ids and tables names, and replace inline styles by classes."""
    headings, tables = count(1), count(1)
    for token in tokens:
        if token.type == "heading_open":
            token.attrSet("id", f"card-{next(headings)}")
        if token.tag in ("h1", "h2") and token.level:  # inside a list or a quotation
            token.tag = "h3"
        if token.type == "table_open":
            token.meta["name"] = f"Table {next(tables)}"
        if token.type in ("th_open", "td_open") and "style" in token.attrs:
            token.attrs["class"] = str(token.attrs.pop("style")).removeprefix("text-align:")
        for link in token.children or ():
            if link.type == "link_open" and urlsplit(str(link.attrGet("href"))).netloc:
                link.attrSet("rel", "noopener")


def _plain(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ())


def _html(tokens: Sequence[Token]) -> Markup:
    # Markup: the renderer escapes all text, and the parser lets no HTML through.
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))  # noqa: S704


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
