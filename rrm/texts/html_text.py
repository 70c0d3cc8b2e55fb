"""A page of HTML as sections: its headings, and the text of its blocks without what is not for readers."""

import re
import warnings
from collections.abc import Iterator

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
from bs4.dammit import EncodingDetector
from bs4.element import NavigableString, PreformattedString, Tag
from bs4.exceptions import ParserRejectedMarkup

from rrm.texts.markdown_text import only_strongest
from rrm.texts.rejection import Rejection
from rrm.texts.source_text import Section, sections_of
from rrm.texts.words import clean, decode, mended, one_line, shown

_HIDDEN = frozenset(
    [
        "script",
        "style",
        "template",
        "noscript",
        "nav",
        "svg",
        "iframe",
        "object",
        "canvas",
        "audio",
        "video",
        "map",
        "head",
        "title",
        "button",
        "select",
    ]
)
_INLINE = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "br",
        "cite",
        "code",
        "data",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "img",
        "input",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "rp",
        "rt",
        "ruby",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "td",
        "th",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    ]
)
_CELLS = frozenset(("td", "th"))
_HEADING = re.compile("h([1-6])")


def read_html(data: bytes, encoding: str | None) -> tuple[str | None, tuple[Section, ...]]:
    """Title and sections of a page, in the encoding given or the one that it declares.

    Raises Rejection if it cannot be parsed.
    """
    declared = encoding or EncodingDetector.find_declared_encoding(data[:4096], is_html=True)
    try:
        text = decode(data, declared)
    except Rejection:
        # A page often declares the encoding it was first written in.
        if encoding is not None:
            raise
        text = decode(data, None)
    soup = _parsed(clean(text))
    title = one_line(mended(soup.title.get_text())) if soup.title is not None else ""
    sections = sections_of(list(_blocks(soup)))
    return title or only_strongest(sections), sections


def _closed(text: str) -> str:
    """The page without openings that nothing closes: Python's parser looks for the end of each until the end of all."""
    comment = text.rfind("-->") + 3 if "-->" in text else 0
    text = text[:comment] + text[comment:].replace("<!--", "")
    tag = text.rfind(">") + 1
    return text[:tag] + text[tag:].replace("<", "&lt;")


def _parsed(text: str) -> BeautifulSoup:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        try:
            return BeautifulSoup(_closed(text), "html.parser")
        # Python's parser refuses a few malformed declarations and numbers, each in its own way.
        except (ParserRejectedMarkup, AssertionError, ValueError, RecursionError) as error:
            raise Rejection(
                "that cannot be parsed", f"cannot be parsed as HTML ({shown(str(error))}); mend it"
            ) from None


class _Place:
    """What is known of a tag from those around it."""

    __slots__ = ("block", "hidden", "preformatted", "rank")

    def __init__(self, tag: Tag, above: "_Place | None") -> None:
        inline = tag.name in _INLINE
        heading = _HEADING.fullmatch(tag.name)
        self.hidden: bool = (above is not None and above.hidden) or tag.name in _HIDDEN
        self.block: int = above.block if inline and above is not None else id(tag)
        self.preformatted: bool = tag.name == "pre" or (above is not None and above.preformatted)
        self.rank: int = int(heading.group(1)) if heading else (above.rank if inline and above is not None else 0)


def _blocks(soup: BeautifulSoup) -> Iterator[tuple[int, str]]:
    """(rank, text) of each block in reading order; a block is the text that no tag other than an inline one parts."""
    places: dict[int, _Place] = {id(soup): _Place(soup, None)}
    current, pieces = places[id(soup)], list[str]()
    for node in soup.descendants:
        above = places[id(node.parent)]
        if isinstance(node, Tag):
            place = places[id(node)] = _Place(node, above)
            if node.name in _INLINE:
                pieces.append("\n" if node.name == "br" else " " if node.name in _CELLS else "")
                continue
        elif not isinstance(node, NavigableString) or isinstance(node, PreformattedString) or above.hidden:
            continue
        else:
            place = above
        if place.block != current.block:
            yield current.rank, _text(pieces, current)
            current, pieces = place, []
        if isinstance(node, NavigableString):
            pieces.append(str(node) if above.preformatted else re.sub(r"\s+", " ", node))
    yield current.rank, _text(pieces, current)


def _text(pieces: list[str], place: _Place) -> str:
    text = mended("".join(pieces))
    if place.preformatted:
        return text.strip("\n")
    return "\n".join(line for line in (one_line(line) for line in text.split("\n")) if line)
