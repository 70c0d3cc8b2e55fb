"""Random and mutated files for the readers: what comes out must be data with an honest count, or one clear sentence.

Four readers: `documents` (rrm.texts.reading on files and folders of every format), `trees` (rrm.texts.trees on odd
texts and odd numbers, and rrm.texts.store on damaged files), `preferences` (reward_models.read_preferences), `imports`
(rrm.importing, in benchmarks/fuzz_imports.py). A finding is any exception that is not an RrmError, a message that is
not one line or does not name the file, a count that does not add up, words or answers lost or doubled, or an input that
takes more than 20 seconds of the processor. The case number and the seed make each finding again: --first N --cases 1.
Run: python -m benchmarks.fuzz_readers --seconds 600 [--reader documents|trees|preferences|imports] [--seed 0]
"""

import argparse
import gzip
import io
import itertools
import json
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pyarrow
import pyarrow.parquet
import torch

from benchmarks.fuzz_imports import imports
from benchmarks.pdf_files import pdf
from reward_models.errors import RrmError
from reward_models.preference_data import read_preferences
from rrm.tasks.document import Document, count_words
from rrm.tasks.task import Split
from rrm.texts.reading import read_texts
from rrm.texts.source_text import SourceText, sections_of
from rrm.texts.store import TreesHeader, read_trees, write_trees
from rrm.texts.trees import grow_trees
from rrm.texts.words import shown

SLOW = 20
"""Seconds of the processor for one small input are too many."""
STORY = (
    "# The Harbour\n\nMr. Hale came down to the water at dawn. He said, “Not today!” and went home.\n\n"
    "## Night\n\nNobody slept. The lamps — all of them — went out at three o'clock; 灯灭了。没有人说话。\n\n"
    "- a rope\n- a *lamp*\n\n```\nprint(1)\n\nprint(2)\n```\n\nThe end came slowly... and then it was over.\n"
)
PAGE = (
    "<!doctype html><html><head><meta charset='utf-8'><title>Harbour &amp; sea</title><script>var a = '<p>';</script>"
    "</head><body><nav>menu</nav><h1>One</h1><p>First <b>words</b> of a&nbsp;page.<br>A line.</p><pre>  x\n y</pre>"
    "<h2>Two</h2><ul><li>a<li>b</ul><table><tr><td>1</td><td>2</td></tr></table><!-- note --></body></html>"
)
# fmt: off
TOKENS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\n\n", b"\r", b'"', b"'", b"[", b"{", b"null",
    b"NaN", b"-1e999", b"#", b"---\n", b"```", b"|", b"<", b">", b"<!--", b"<![", b"</", b"&#0;", b"&#xD800;",
    b"\x1b[31m", b",", b"\t", b"stream", b"%%EOF", b"/Kids", "\u202e".encode(), "\u2028".encode(), "字".encode() * 50,
    b"obj", b"a" * 3000, b" " * 3000, b"[" * 2000, b"9" * 5000,
)
# fmt: on


class TooSlow(Exception):
    """An input took longer than it may."""


@dataclass
class Findings:
    """What a reader did with its inputs."""

    cases: int = 0
    read: int = 0
    """Inputs that gave data."""
    refused: int = 0
    """Inputs that were refused with one sentence."""
    items: int = 0
    """Texts, rows or leaves that came out."""
    slowest: float = 0.0
    """Seconds of the processor that the slowest input took."""
    faults: Counter[str] = field(default_factory=Counter)
    """Findings, by what they are."""
    first: dict[str, int] = field(default_factory=dict)
    """The first case of each."""


Reader = Callable[[random.Random, Path], int]
"""Make an input in a folder, read it, check what came out; give the number of items that did."""


def fuzz(reader: str, *, seed: int, seconds: float | None = None, cases: int | None = None, first: int = 0) -> Findings:
    """Feed a reader until the time or the number of cases is over."""
    found, begun = Findings(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz") as temporary:
        for case in itertools.count(first):
            if cases is not None and case >= first + cases:
                break
            if seconds is not None and time.monotonic() - begun >= seconds:
                break
            folder = Path(temporary) / "case"
            folder.mkdir()
            _try(READERS[reader], random.Random(f"{reader} {seed} {case}"), folder, case, found)
            shutil.rmtree(folder)
    return found


def _try(reader: Reader, chance: random.Random, folder: Path, case: int, found: Findings) -> None:
    begun = time.process_time()
    fault = None
    try:
        with _limited():
            found.items += reader(chance, folder)
        found.read += 1
    except RrmError as error:
        found.refused += 1
        fault = _wrong_with(str(error))
    except (Exception, TooSlow) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__} at {Path(place.filename).name}, in {place.name}"
    found.cases += 1
    found.slowest = max(found.slowest, time.process_time() - begun)
    if fault is not None:
        found.faults[fault] += 1
        found.first.setdefault(fault, case)


_NAMED = ("given", "levels is", "leaf_tokens is", "fan_out is", "leaf of")
"""What a message must name: the file, or the setting that allows no tree."""


def _wrong_with(message: str) -> str | None:
    if "\n" in message or not message.strip():
        return f"message of more than one line (or none): {message.split('(')[-1][:40]!r}..."
    return None if any(name in message for name in _NAMED) else f"message that names no file: {message[:80]!r}"


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {SLOW} seconds")

    # Time of the processor: other work on the machine makes no input slow.
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SLOW)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def documents(chance: random.Random, folder: Path) -> int:
    """A file of texts, or a folder of some."""
    corpus = _documents()
    if chance.random() < 0.5:
        suffix = chance.choice(list(corpus))
        source = folder / f"given{suffix}"
        source.write_bytes(_mutated(corpus[_other(chance, suffix, corpus)], corpus, chance))
    else:
        source = folder / "given"
        for number in range(chance.randrange(1, 5)):
            suffix = chance.choice(list(corpus))
            path = source / chance.choice(["", "a", "a/b", ".hidden", "ü\u202e"]) / f"{number}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_mutated(corpus[_other(chance, suffix, corpus)], corpus, chance))
    column = chance.choice([None, None, None, "text", "odd"])
    encoding = chance.choice([None, None, None, None, "utf-8", "latin-1", "utf-16", "base64", "no such"])
    largest = chance.choice([200_000_000, 200_000_000, 500])
    reading = read_texts(source, column=column, encoding=encoding, largest=largest)
    report = reading.report
    assert report.given == report.read + report.rejected, "counts do not add up"
    assert report.rejected == sum(count for _, count in report.rejected_by_kind), "kinds do not add up"
    assert report.read == len(reading.texts) == len({text.name for text in reading.texts}) > 0, "names or counts"
    assert report.words == sum(count_words(text.text) for text in reading.texts) > 0, "words"
    for text in reading.texts:
        assert _is_shown(text.title) and _is_shown(text.name), "title or name"
        assert "\x00" not in text.text and text.text.encode(), "impossible characters"
        assert sections_of(text.blocks()) == text.sections, "sections and blocks"
    assert report.text().encode(), "impossible characters in the report"
    return report.given


def trees(chance: random.Random, folder: Path) -> int:
    """Trees of an odd text, and the file that holds them after some damage."""
    text = SourceText("given", "Given", sections_of(_blocks(chance)))
    overhead = chance.choice([0, 0, 2])
    width = chance.choice([0, 0, 1, 4])

    def count(given: str) -> int:
        return overhead + (len(given) // width if width else count_words(given))

    levels, leaf_tokens, fan_out = chance.randrange(0, 6), chance.randrange(0, 80), chance.randrange(1, 9)
    roots = grow_trees(text, levels=levels, leaf_tokens=leaf_tokens, fan_out=fan_out, count=count)
    _check_trees(text, roots, levels, leaf_tokens, fan_out, count)
    _check_store(chance, folder, roots)
    return sum(1 for root in roots for _ in root.leaves())


def _check_trees(
    text: SourceText,
    roots: tuple[Document, ...],
    levels: int,
    leaf_tokens: int,
    fan_out: int,
    count: Callable[[str], int],
) -> None:
    leaves = [leaf for root in roots for leaf in root.leaves()]
    letters = "".join("".join(leaf.text.split()) for leaf in leaves)
    assert letters == "".join(text.text.split()), "letters lost or doubled"
    assert all(count_words(leaf.text) > 0 and count(leaf.text) <= leaf_tokens for leaf in leaves), "size of a leaf"
    nodes = [node for root in roots for node in _nodes(root)]
    assert len({node.id for node in nodes}) == len(nodes), "ids"
    assert all(len(node.parts) <= fan_out for node in nodes), "fan-out"
    assert all({part.height for part in node.parts} <= {node.height - 1} for node in nodes), "depth of leaves"
    assert len({root.height for root in roots}) == 1 and roots[0].height <= levels - 1, "height"
    assert all(_is_shown(node.id) and _is_shown(node.title) for node in nodes), "id or title"


def _check_store(chance: random.Random, folder: Path, roots: tuple[Document, ...]) -> None:
    path = folder / "given.jsonl"
    header = TreesHeader(levels=3, leaf_tokens=9, fan_out=4, seed=0, source="given")
    write_trees(path, {Split.TEST: roots}, header=header)
    assert read_trees(path).trees[Split.TEST] == roots, "trees changed in the file"
    whole = path.read_bytes()
    path.write_bytes(_mutated(whole, {"": whole}, chance))
    try:
        assert read_trees(path).trees[Split.TEST] == roots, "damage went unnoticed"
    except RrmError as error:
        assert _wrong_with(str(error)) is None, str(error)


def preferences(chance: random.Random, folder: Path) -> int:
    """A file of preferences."""
    corpus = _preferences()
    suffix = chance.choice(list(corpus))
    source = folder / f"given{suffix}"
    source.write_bytes(_mutated(corpus[_other(chance, suffix, corpus)], corpus, chance))
    encoding = chance.choice([None, None, None, None, "utf-8", "latin-1", "utf-16", "no such"])
    generator = torch.Generator().manual_seed(0)
    found = read_preferences(source, generator=generator, encoding=encoding, folder=folder / "read")
    report = found.report
    assert report.given == report.read + report.rejected, "counts do not add up"
    assert report.rejected == sum(count for _, count in report.rejected_by_column), "columns do not add up"
    assert len(found.dataset) == report.read, "rows lost or doubled"
    assert str(report).encode(), "impossible characters in the report"
    return report.given


READERS: dict[str, Reader] = {"documents": documents, "trees": trees, "preferences": preferences, "imports": imports}


def _is_shown(text: str) -> bool:
    return text == shown(text) != ""


def _nodes(document: Document) -> Iterator[Document]:
    yield document
    for part in document.parts:
        yield from _nodes(part)


def _other(chance: random.Random, suffix: str, corpus: dict[str, bytes]) -> str:
    """Now and then a file is not what its name says."""
    return suffix if chance.random() < 0.9 else chance.choice(list(corpus))


def _mutated(data: bytes, corpus: dict[str, bytes], chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.1:
        return data
    if kind < 0.15:
        return chance.randbytes(chance.randrange(0, 400))
    packed = data[:2] == b"\x1f\x8b" and chance.random() < 0.7
    changed = bytearray(gzip.decompress(data) if packed else data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        _mutate(changed, corpus, chance)
    return gzip.compress(bytes(changed), mtime=0) if packed else bytes(changed)


def _mutate(data: bytearray, corpus: dict[str, bytes], chance: random.Random) -> None:
    begin = chance.randrange(0, len(data) + 1)
    end = min(len(data), begin + chance.choice([1, 1, 4, 30, 300]))
    match chance.randrange(6):
        case 0:
            data[begin:end] = chance.randbytes(end - begin)
        case 1:
            del data[begin:end]
        case 2:
            data[begin:begin] = bytes(data[begin:end]) * chance.choice([1, 2, 50])
        case 3:
            data[begin:begin] = chance.choice(TOKENS) * chance.choice([1, 1, 20])
        case 4:
            del data[begin:]
        case _:
            other = chance.choice(list(corpus.values()))
            data[begin:end] = other[chance.randrange(0, len(other) + 1) :][:300]


def _blocks(chance: random.Random) -> list[tuple[int, str]]:
    """Headings and paragraphs of words that are hard to cut."""
    words = [
        "a",
        "word.",
        "Mr.",
        "“No!”",
        "x" * 300,
        "字" * 40,
        "。",
        "\n",
        "  ",
        "...",
        "e.g.",
        "🙂" * 30,
        "A.",
        "\u200b",
    ]
    sizes = [0, 1, 3, 8, 60]
    return [
        (
            chance.choice([0, 0, 0, 0, 1, 2, 6]),
            " ".join(chance.choice(words) for _ in range(chance.choice(sizes))),
        )
        for _ in range(chance.choice([1, 2, 10, 30]))
    ]


def _rows(rows: list[dict[str, object]]) -> dict[str, bytes]:
    """The same rows in every format of data sets."""
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    columns = list(rows[0])

    def table(delimiter: str) -> bytes:
        cells = [columns, *([json.dumps(row[name])[:200] for name in columns] for row in rows)]
        return "\n".join(
            delimiter.join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row) for row in cells
        ).encode()

    parquet = io.BytesIO()
    plain = [
        {name: value if isinstance(value, str | float | int) else None for name, value in row.items()} for row in rows
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(plain), parquet)
    found = {".jsonl": lines, ".json": lines, ".csv": table(","), ".tsv": table("\t"), ".parquet": parquet.getvalue()}
    return found | {f"{suffix}.gz": gzip.compress(data, mtime=0) for suffix, data in found.items()}


def _documents() -> dict[str, bytes]:
    if not _DOCUMENTS:
        rows: list[dict[str, object]] = [
            {"text": f"Story {number}. {STORY}", "title": f"Number {number}", "rank": number} for number in range(4)
        ]
        texts = {".md": STORY, ".txt": STORY, "": STORY, ".html": PAGE, ".htm": PAGE}
        _DOCUMENTS.update({suffix: text.encode() for suffix, text in texts.items()})
        _DOCUMENTS.update(
            {
                ".markdown": STORY.encode("utf-16"),
                ".pdf": pdf(("The Harbour", "He came down at dawn."), ("Night", "Nobody slept."), outline=True),
                ".docx": b"PK\x03\x04",
            }
        )
        _DOCUMENTS.update(_rows(rows))
    return _DOCUMENTS


def _preferences() -> dict[str, bytes]:
    if not _PREFERENCES:
        messages = [{"role": "user", "content": "Which harbour?"}, {"role": "assistant", "content": "The old one."}]
        rows: list[dict[str, object]] = [
            {"prompt": f"Question {number}?", "chosen": "Yes, it is.", "rejected": "No.", "margin": 0.5, "rater": "r1"}
            for number in range(4)
        ]
        pairs: list[dict[str, object]] = [
            {"prompt": "Q", "first": "One.", "second": "Two.", "label": label, "weight": 2, "group": "g"}
            for label in (1, 0, 0.5, "tie", "first")
        ]
        talks: list[dict[str, object]] = [{"chosen": messages, "rejected": [messages[0]], "id": "7"}] * 3
        _PREFERENCES.update(_rows(rows))
        _PREFERENCES.update({f".pairs{suffix}": data for suffix, data in _rows(pairs[:3]).items()})
        _PREFERENCES[".words.jsonl"] = "".join(json.dumps(row) + "\n" for row in pairs).encode()
        _PREFERENCES[".talks.jsonl"] = "".join(json.dumps(row) + "\n" for row in talks).encode()
    return _PREFERENCES


_DOCUMENTS: dict[str, bytes] = {}
_PREFERENCES: dict[str, bytes] = {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="in all, shared by the readers")
    parser.add_argument("--reader", choices=list(READERS), help="one of them only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="case to begin with")
    parser.add_argument("--cases", type=int, help="so many cases a reader, however long they take")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    names = [wanted.reader] if wanted.reader else list(READERS)
    seconds = None if wanted.cases is not None else wanted.seconds / len(names)
    summary: dict[str, object] = {"seed": wanted.seed, "seconds": wanted.seconds}
    for name in names:
        found = fuzz(name, seed=wanted.seed, seconds=seconds, cases=wanted.cases, first=wanted.first)
        print(
            f"{name}: {found.cases} cases, {found.read} read, {found.refused} refused, {found.items} items, "
            f"slowest {found.slowest:.2f} s, {sum(found.faults.values())} findings"
        )
        for fault, count in found.faults.most_common():
            print(f"  {count} x {fault} (first: case {found.first[fault]})")
        summary[name] = {
            "cases": found.cases,
            "read": found.read,
            "refused": found.refused,
            "items": found.items,
            "slowest_seconds": round(found.slowest, 3),
            "findings": dict(found.faults),
        }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
