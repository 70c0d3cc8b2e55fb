"""A PDF as sections: the text of its pages, under the headings of its outline where it has one."""

import io
import logging
from collections import defaultdict
from typing import Any

import pypdf

from rrm.texts.rejection import Rejection
from rrm.texts.source_text import Section, sections_of
from rrm.texts.words import mended, one_line, paragraphs, shown

_RANKS = 6


def read_pdf(data: bytes) -> tuple[str | None, tuple[Section, ...]]:
    """Title and sections. Raises Rejection if it is encrypted, damaged or without text (a scan)."""
    log = logging.getLogger("pypdf")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        return _read(data)
    except Rejection:
        raise
    # A damaged file makes the library fail in any way it can fail: with a KeyError as soon as with one of its own.
    except Exception as error:
        told = shown(str(error))[:200] or type(error).__name__
        raise Rejection("damaged", f"cannot be read as PDF ({told}); restore it") from None
    finally:
        log.setLevel(before)


def _read(data: bytes) -> tuple[str | None, tuple[Section, ...]]:
    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Rejection("encrypted", "is encrypted; save it without a password")
    pages = [mended(page.extract_text() or "") for page in reader.pages]
    if not any(page.strip() for page in pages):
        raise Rejection("without text", f"has {len(pages)} pages without text, as a scan has; recognise its text first")
    headings = _headings(reader)
    blocks = [block for number, page in enumerate(pages) for block in _blocks(page, headings[number])]
    title = reader.metadata.title if reader.metadata is not None else None
    return one_line(mended(str(title or ""))) or None, sections_of(blocks)


def _headings(reader: pypdf.PdfReader) -> dict[int, list[tuple[int, str]]]:
    """(rank, words) of what the outline places on each page."""
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)

    def walk(entries: list[Any], rank: int) -> None:
        for entry in entries:
            if isinstance(entry, list):
                walk(entry, rank + 1)
                continue
            page = reader.get_destination_page_number(entry)
            heading = one_line(mended(str(entry.title or "")))
            if page is not None and page >= 0 and heading:
                found[page].append((min(rank, _RANKS), heading))

    # A broken outline costs the headings, not the text.
    try:
        walk(reader.outline, 1)
    except Exception:
        return defaultdict(list)
    return found


def _blocks(page: str, headings: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Blocks of a page; a heading of the outline takes the place of the line that says it, or else stands on top."""
    lines = page.split("\n")
    places = [(_line_of(heading, lines), rank, heading) for rank, heading in headings]
    blocks, done = list[tuple[int, str]](), 0
    for place, rank, heading in sorted(places, key=lambda found: -1 if found[0] is None else found[0]):
        if place is not None:
            blocks += [(0, paragraph) for paragraph in paragraphs("\n".join(lines[done:place]))]
            done = place + 1
        blocks.append((rank, heading))
    return blocks + [(0, paragraph) for paragraph in paragraphs("\n".join(lines[done:]))]


def _line_of(heading: str, lines: list[str]) -> int | None:
    wanted = heading.casefold()
    return next((place for place, line in enumerate(lines) if one_line(line).casefold() == wanted), None)
