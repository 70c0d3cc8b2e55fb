"""Bytes to clean text, and text to paragraphs."""

import codecs
import re
from collections.abc import Sequence

from rrm.texts.rejection import Rejection

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# A surrogate alone is half a character, which no file can hold.
_HALVES = re.compile("[\ud800-\udfff]")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_IMPOSSIBLE = re.compile("[\x00\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff]")
_GAPS = re.compile(r"[^\S\n]{200,}")
_WRAPPED = 45
"""A paragraph all of whose lines but the last are at least that long was broken by a machine, not by its author."""

_LONGEST_TITLE = 80


def decode(data: bytes, encoding: str | None) -> str:
    """The text of a file: in the encoding given, else UTF-8, or what a mark at its beginning says.

    Raises Rejection if the bytes are no text in that encoding.
    """
    name = encoding or next((found for mark, found in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(name)
    except UnicodeError as error:
        wanted = "UTF-8, or UTF-16 with a mark at its beginning" if encoding is None else encoding
        place = f"byte {error.start + 1} of {len(data)}" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Rejection(
            "not text", f"is no text in {wanted} ({place}); name its encoding (--encoding), or leave it out"
        ) from None
    except (LookupError, TypeError, ValueError):
        raise Rejection(
            "in no known encoding", f"is to be read as {name!r}, which is no encoding of text; name another"
        ) from None


def clean(text: str) -> str:
    """The text with lines that end in a newline, and without other control characters.

    Raises Rejection if it holds what no text holds.
    """
    if (found := _HALVES.search(text)) is not None:
        raise Rejection("with half a character", f"holds half a character (U+{ord(found.group()):04X}); write it whole")
    if "\x00" in text:
        place = text.index("\x00") + 1
        raise Rejection("not text", f"holds a zero at character {place}, as programs and pictures do; expected text")
    return _GAPS.sub(" ", _CONTROLS.sub(" ", _LINE_ENDS.sub("\n", text)))


def mended(text: str) -> str:
    """The same for text that a parser gives, which may make up characters that no file can hold."""
    return clean(_IMPOSSIBLE.sub("\N{REPLACEMENT CHARACTER}", text))


def paragraphs(text: str) -> list[str]:
    """What stands between blank lines, hard-wrapped lines joined."""
    found: list[str] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if line.strip():
            lines.append(line)
        elif lines:
            found.append(_joined(lines))
            lines = []
    if lines:
        found.append(_joined(lines))
    return found


def first_line_as_title(blocks: Sequence[str]) -> str | None:
    """The first paragraph if it reads like a title: one short line that does not end like a sentence."""
    first = blocks[0].strip() if len(blocks) > 1 else ""
    title = 0 < len(first) <= _LONGEST_TITLE and "\n" not in first and first[-1] not in ".!?,;:…"
    return first if title else None


def shown(text: str) -> str:
    """A text in one line, without characters that are not seen or turn the writing around."""
    return one_line(_UNSEEN.sub(" ", text))


def one_line(text: str) -> str:
    """The words of a text with single spaces between them."""
    return " ".join(text.split())


def _joined(lines: list[str]) -> str:
    stripped = [line.strip() for line in lines]
    wrapped = all(len(line) >= _WRAPPED for line in stripped[:-1])
    return " ".join(stripped) if wrapped else "\n".join(line.rstrip() for line in lines)
