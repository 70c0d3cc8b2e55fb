"""Texts out of a folder, a file or a data set, with an account of what was read and what was not."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reward_models.errors import ArtifactError
from reward_models.preference_files import SUFFIXES, GivenRow
from rrm.texts.columns import row_text, text_column
from rrm.texts.html_text import read_html
from rrm.texts.markdown_text import read_markdown
from rrm.texts.pdf_text import read_pdf
from rrm.texts.rejection import Rejection
from rrm.texts.rows import open_rows
from rrm.texts.source_text import Section, SourceText
from rrm.texts.text_report import TextReport, TextTally
from rrm.texts.words import clean, decode, first_line_as_title, paragraphs, shown

Parsed = tuple[str | None, tuple[Section, ...]]
"""The title that a text gives itself, and its sections."""

LARGEST = 200_000_000
"""Bytes of a file, or characters of a row, that are read at most."""
_LOOKED_AT = 100
"""Rows at the beginning of a data set that say which column holds the text."""
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Reading:
    """What was found in a source."""

    texts: tuple[SourceText, ...]
    """In the order of the files (by name) and rows; at least one."""
    report: TextReport
    """What was read and what was not, item by item."""


def read_texts(
    source: Path | str,
    *,
    column: str | None = None,
    split: str | None = None,
    encoding: str | None = None,
    largest: int = LARGEST,
) -> Reading:
    """Read all texts of a source.

    A source is a file (Markdown, HTML, PDF, plain text with .txt or no suffix), a data set (.jsonl, .csv, .tsv,
    .parquet, each also .gz; a folder of `Dataset.save_to_disk`; the name of a data set on the hub), or a folder with
    any of the files in it, however deep; hidden ones are passed over. `column` names the text column of a data set
    (none: see `columns.text_column`), `split` takes that split of a data set, or those
    data files of a folder that have the word in their name; `encoding` is that of text files (none:
    UTF-8, UTF-16 or UTF-32 where a mark says so, what a page declares). A file of more than `largest` bytes, or a row
    of more characters, is not read.

    What cannot be used is named and counted in the report, never dropped in silence. Raises ArtifactError if there is
    nothing to read, or nothing of it can be used.
    """
    collector = _Collector(column=column, split=split, encoding=encoding, largest=largest)
    path = _path(source)
    if _is_folder_of_files(path):
        collector.add_folder(path)
    elif _is_document(path):
        collector.add_file(path, path.name)
    else:
        _check_known(source, path)
        collector.add_rows(source, prefix="")
    report = collector.tally.report(str(source))
    if not collector.texts:
        kinds = "; ".join(f"{count} {kind}" for kind, count in report.rejected_by_kind) or "it is empty"
        first = f": {report.rejected_items[0]}" if report.rejected_items else ""
        raise ArtifactError(f"{shown(str(source))} holds no text that can be used ({kinds}{first}); give others")
    return Reading(tuple(collector.texts), report)


class _Collector:
    """Texts and their count while a source is read."""

    def __init__(self, *, column: str | None, split: str | None, encoding: str | None, largest: int) -> None:
        self.texts: list[SourceText] = []
        self.tally = TextTally()
        self._column, self._split, self._encoding, self._largest = column, split, encoding, largest
        self._seen: dict[bytes, str] = {}
        self._names: set[str] = set()

    def add_folder(self, folder: Path) -> None:
        """All visible files below a folder, by name."""
        for path in _visible_files(folder):
            name = str(path.relative_to(folder))
            data = path.name.lower().removesuffix(".gz").endswith(SUFFIXES)
            if data and self._split is not None and not _has_word(name, self._split):
                self.tally.reject(name, "of another split", f"is not of the split {self._split!r}")
            elif data:
                self._add_data_file(path, name)
            elif _is_document(path):
                self.add_file(path, name)
            else:
                suffix = "".join(path.suffixes[-1:])
                self.tally.reject(name, "of a format that is not read", f"is of a format that is not read ({suffix})")

    def add_file(self, path: Path, name: str) -> None:
        """A file that is one text."""

        def parsed() -> Parsed:
            return _PARSERS[_suffix(path)](_bytes(path, self._largest), self._encoding)

        self._add(name, path.stem, parsed)

    def add_rows(self, source: Path | str, *, prefix: str) -> None:
        """The rows of a data set; its files stand under the prefix. Raises ArtifactError where none can be read."""
        given = open_rows(source, split=self._split, encoding=self._encoding)
        looked_at = list(itertools.islice(given, _LOOKED_AT))
        column = text_column(looked_at, self._column, str(source))
        self.tally.columns.append(column)
        for row in itertools.chain(looked_at, given):
            self._add_row(row, f"{prefix}{row.file}:{row.line}", column)

    def _add_data_file(self, path: Path, name: str) -> None:
        """A data set within a folder; one that cannot be read costs itself, not the rest."""
        try:
            self.add_rows(path, prefix=name.removesuffix(path.name))
        except ArtifactError as error:
            self.tally.reject(name, "that cannot be read", f"cannot be read: {error}")

    def _add_row(self, row: GivenRow, name: str, column: str) -> None:
        def parsed() -> Parsed:
            text = clean(row_text(row, column, self._largest))
            title, sections = _plain(text)
            told = row.values.get("title")
            return told if isinstance(told, str) else title, sections

        self._add(name, f"{Path(row.file).name}, row {row.line}", parsed)

    def _add(self, name: str, title: str, parsed: Callable[[], Parsed]) -> None:
        try:
            found, sections = parsed()
            text = SourceText(self._unique(_safe(name)), _title(found) or _title(title) or "Untitled", sections)
            self._check(text)
        except Rejection as rejection:
            self.tally.reject(_safe(name), rejection.kind, rejection.reason)
            return
        self._names.add(text.name)
        self.texts.append(text)
        self.tally.accept(sum(len(block.split()) for _, block in text.blocks()))

    def _check(self, text: SourceText) -> None:
        words = [word for _, block in text.blocks() for word in block.split()]
        if not words:
            raise Rejection("empty", "is empty; leave it out")
        digest = hashlib.sha256(" ".join(words).encode()).digest()
        if (earlier := self._seen.setdefault(digest, text.name)) != text.name:
            raise Rejection("repeated", f"says what {earlier} says, word for word; it is kept once")

    def _unique(self, name: str) -> str:
        return next(found for found in _variants(name) if found not in self._names)


def _variants(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name} ({number})" for number in itertools.count(2))


def _bytes(path: Path, largest: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > largest:
            raise Rejection("too large", f"has {size:,} bytes; expected at most {largest:,}; cut it into files")
        return path.read_bytes()
    except OSError as error:
        raise Rejection("that cannot be read", f"cannot be read ({error.strerror or error})") from None


def _read_plain(data: bytes, encoding: str | None) -> Parsed:
    return _plain(clean(decode(data, encoding)))


def _plain(text: str) -> Parsed:
    blocks = tuple(paragraphs(text))
    return first_line_as_title(blocks), (Section(0, "", blocks),) if blocks else ()


def _read_markdown(data: bytes, encoding: str | None) -> Parsed:
    return read_markdown(clean(decode(data, encoding)))


def _read_pdf(data: bytes, encoding: str | None) -> Parsed:
    return read_pdf(data)


_PARSERS: dict[str, Callable[[bytes, str | None], Parsed]] = {
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".pdf": _read_pdf,
    ".txt": _read_plain,
    ".text": _read_plain,
    "": _read_plain,
}
"""By suffix."""


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _is_document(path: Path) -> bool:
    return path.is_file() and _suffix(path) in _PARSERS


def _path(source: Path | str) -> Path:
    try:
        Path(source).stat()
    except FileNotFoundError:
        pass
    # A name that is too long or holds a zero, a folder that may not be entered, a file where a folder should be.
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise ArtifactError(f"{shown(str(source))[:_LONGEST_NAME]} cannot be opened ({told}); give a path") from error
    return Path(source)


def _is_folder_of_files(path: Path) -> bool:
    return path.is_dir() and not any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _check_known(source: Path | str, path: Path) -> None:
    if path.is_file() and not path.name.lower().removesuffix(".gz").endswith(SUFFIXES):
        known = ", ".join(suffix for suffix in _PARSERS if suffix)
        raise ArtifactError(
            f"{source} is of no known format; give a text ({known}, or no suffix) or a data set "
            f"({', '.join(SUFFIXES)}, or these with .gz)"
        )


def _visible_files(folder: Path) -> list[Path]:
    found: Iterable[Path] = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", name) is not None


def _safe(name: str) -> str:
    """The name without what cannot be shown or stored; told apart by a digest where that changes it."""
    seen = shown(name)
    if seen == name and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{seen[-_LONGEST_NAME:]}~{digest}"


def _title(title: str | None) -> str:
    return shown(title or "")[:_LONGEST_NAME].strip()
