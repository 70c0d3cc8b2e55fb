"""Markdown as sections: headings where CommonMark sees them, the blocks between them as they were written."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from rrm.texts.source_text import Section, sections_of
from rrm.texts.words import one_line, paragraphs

# A line above some text looks the same; what sets front matter apart is that it begins with a key.
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n([\w-]+:.*?)^(?:---|\.\.\.)[ \t]*\n", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.MULTILINE)
_PLAIN_TOKENS = ("text", "code_inline", "softbreak")
_LONG_HEADING = 500
"""Marks inside longer headings stay as they are: parsing them may take long."""


def read_markdown(text: str) -> tuple[str | None, tuple[Section, ...]]:
    """Title and sections. The title is that of the front matter, else the first heading if it is the only strongest.

    Headings inside lists and quotations head no section. Front matter is no text.
    """
    title, text = _without_front_matter(text)
    lines = text.split("\n")
    blocks, done = list[tuple[int, str]](), 0
    for token, following in _top_level(text):
        first, last = token.map or (0, 0)
        blocks.append((0, "\n".join(lines[done:first])))
        if token.type == "heading_open":
            blocks.append((int(token.tag[1]), _plain(following.content)))
        elif token.type == "paragraph_open":
            blocks += [(0, paragraph) for paragraph in paragraphs("\n".join(lines[first:last]))]
        else:
            blocks.append((0, "\n".join(lines[first:last])))
        done = max(done, last)
    blocks.append((0, "\n".join(lines[done:])))
    sections = sections_of(blocks)
    return title or only_strongest(sections), sections


def only_strongest(sections: tuple[Section, ...]) -> str | None:
    """The heading that stands above all others, if there is one and it comes first."""
    ranks = [section.rank for section in sections if section.rank]
    if not ranks or ranks[0] != min(ranks) or ranks.count(min(ranks)) > 1:
        return None
    return next(section.heading for section in sections if section.rank)


def _without_front_matter(text: str) -> tuple[str | None, str]:
    found = _FRONT_MATTER.match(text)
    if found is None:
        return None, text
    title = _TITLE.search(found.group(1))
    return (one_line(title.group(1)).strip("\"'") or None) if title else None, text[found.end() :]


def _top_level(text: str) -> list[tuple[Token, Token]]:
    """Blocks that stand in no other block, each with the token behind it."""
    # Only blocks are wanted; what stands within a line is left as it is, which also spares most of the time.
    tokens = MarkdownIt("commonmark").enable("table").disable("inline").parse(text)
    return [
        (token, tokens[min(place + 1, len(tokens) - 1)])
        for place, token in enumerate(tokens)
        if token.level == 0 and token.nesting >= 0 and token.map is not None
    ]


def _plain(heading: str) -> str:
    """The words of a heading without emphasis and addresses of links."""
    if len(heading) > _LONG_HEADING:
        return one_line(heading)
    children = MarkdownIt("commonmark").parseInline(heading)[0].children or []
    plain = "".join(child.content or " " for child in children if child.type in _PLAIN_TOKENS)
    return one_line(plain) or one_line(heading)
