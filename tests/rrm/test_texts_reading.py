"""Texts out of files: what is text, what is not, and that everything is accounted for."""

import gzip
import json
from pathlib import Path

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_readers import fuzz
from benchmarks.pdf_files import pdf
from reward_models.errors import ArtifactError
from rrm.texts.html_text import read_html
from rrm.texts.markdown_text import read_markdown
from rrm.texts.reading import read_texts
from rrm.texts.source_text import Section, sections_of
from rrm.texts.words import paragraphs

LONG = "a line that a machine broke because it had become too long for"


def read_one(path: Path, data: bytes, **settings: str) -> tuple[Section, ...]:
    path.write_bytes(data)
    return read_texts(path, encoding=settings.get("encoding")).texts[0].sections


def test_markdown_falls_into_sections_at_the_headings_of_commonmark() -> None:
    title, sections = read_markdown(
        "before\n\n# One *two*\n\nfirst\n\n```\n# no heading\n\nin code\n```\n"
        "> # quoted\n\nSet\next\n---\n[a]: b\n- x\n- y\n"
    )
    assert title == "One two"
    assert sections == (
        Section(0, "", ("before",)),
        Section(1, "One two", ("first", "```\n# no heading\n\nin code\n```", "> # quoted")),
        Section(2, "Set ext", ("[a]: b", "- x\n- y")),
    )


def test_front_matter_gives_the_title_and_a_line_above_the_text_is_none() -> None:
    title, sections = read_markdown('---\ntitle: "A name"\ndate: 1\n---\nText.\n')
    assert (title, sections) == ("A name", (Section(0, "", ("Text.",)),))
    assert read_markdown("---\n\nText.\n\n---\nMore.\n")[1] == (Section(0, "", ("---", "Text.", "---", "More.")),)


@given(st.lists(st.sampled_from(["# a", "b c", "", "- d", "> e", "```", "    f", "g\n===", "<div>", "[h]: i", "---"])))
@settings(deadline=None, max_examples=40)
def test_no_word_of_markdown_is_lost(lines: list[str]) -> None:
    text = "\n".join(lines)
    _, sections = read_markdown(f"x\n{text}")
    found = "".join(section.heading + "".join(section.paragraphs) for section in sections)
    for letter in "bcdefghi":
        assert found.count(letter) == text.count(letter)


def test_a_page_is_read_without_what_is_not_for_readers() -> None:
    title, sections = read_html(
        b"<title>The &amp; title</title><script>'<p>no</p>'</script><nav>no</nav><h1>One <b>two</b></h1>"
        b"loose <i>te</i>xt"
        b"<p>first\nline<br>second<!-- no --><div>a<p>b</p>c</div><h3>Three</h3><pre> x\n  y</pre>"
        b"<table><tr><td>1<td>2</tr></table><ul><li>d<li>e</ul>",
        None,
    )
    assert title == "The & title"
    assert sections == (
        Section(1, "One two", ("loose text", "first line\nsecond", "a", "b", "c")),
        Section(3, "Three", (" x\n  y", "1 2", "d", "e")),
    )


def test_a_page_is_read_in_the_encoding_that_it_declares() -> None:
    page = "<meta charset='latin-1'><p>Größe".encode("latin-1")
    assert read_html(page, None)[1] == (Section(0, "", ("Größe",)),)
    # Saved again as UTF-8 it still declares what it was.
    assert read_html("<meta charset='ascii'><p>Größe".encode(), None)[1] == (Section(0, "", ("Größe",)),)


def test_openings_that_nothing_closes_cost_no_text() -> None:
    assert read_html(b"<p>one<!-- two <p>three", None)[1] == (Section(0, "", ("one two", "three")),)
    assert read_html(b"<p>one</p><? two <b", None)[1] == (Section(0, "", ("one", "<? two <b")),)


def test_a_pdf_has_the_sections_of_its_outline(tmp_path: Path) -> None:
    pages = (("The Harbour", "He came down."), ("Night", "Nobody slept."))
    assert read_one(tmp_path / "a.pdf", pdf(*pages, outline=True)) == (
        Section(1, "The Harbour", ("He came down.",)),
        Section(1, "Night", ("Nobody slept.",)),
    )
    words = " ".join(read_texts(write(tmp_path / "b.pdf", pdf(*pages))).texts[0].text.split())
    assert words == "The Harbour He came down. Night Nobody slept."


def test_hard_wrapped_lines_are_joined_and_short_lines_stay() -> None:
    assert paragraphs(f"{LONG}\n{LONG}\nend\n \n\n  verse\n    indented\n\nlast") == [
        f"{LONG} {LONG} end",
        "  verse\n    indented",
        "last",
    ]


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_folder_is_read_in_the_order_of_names_and_everything_is_accounted_for(tmp_path: Path) -> None:
    files = {
        "b/two.txt": b"Two words",
        "a.md": b"# Head\n\nOne",
        "README": b"No suffix",
        ".hidden/c.txt": b"never seen",
        "d.txt": b" \n\t ",
        "e.txt": b"\xff\x00\x01",
        "f.txt": b"with a \x00 zero",
        "g.docx": b"PK",
        "h.pdf": b"%PDF-1.4 broken",
        "i.pdf": pdf((), ()),
        "j.pdf": pdf(("Secret",), password="x"),
        "k.html": b"<script>only</script>",
        "l.txt": b"Two\n words ",
        "m.txt": b"x" * 2000,
        "n.jsonl": b'{"text": "From a row"}\n{"text": null}\n{"text": ["x"]}\n{"other": 1}\nnonsense\n{"text": NaN}\n',
        "o.csv": b"left,right\na,b\n",
        "p.txt": "UTF-16 Größe".encode("utf-16"),
    }
    for name, data in files.items():
        write(tmp_path / name, data)
    reading = read_texts(tmp_path, largest=1999)
    report = reading.report
    assert [text.name for text in reading.texts] == ["README", "a.md", "b/two.txt", "n.jsonl:1", "p.txt"]
    assert [text.title for text in reading.texts] == ["README", "Head", "two", "n.jsonl, row 1", "p"]
    assert [text.text for text in reading.texts][3:] == ["From a row", "UTF-16 Größe"]
    assert (report.given, report.read, report.rejected) == (21, 5, 16)
    assert dict(report.rejected_by_kind) == {
        "empty": 2,
        "not text": 2,
        "of a format that is not read": 1,
        "damaged": 1,
        "without text": 1,
        "encrypted": 1,
        "repeated": 1,
        "too large": 1,
        "without text in the column": 3,
        "without the column": 1,
        "not a row": 1,
        "that cannot be read": 1,
    }
    assert report.words == 2 + 2 + 2 + 3 + 2
    assert report.columns == ("text",)
    told = report.text()
    assert told.startswith("5 of 21 texts read from the column text (11 words), 16 rejected")
    assert "l.txt says what b/two.txt says, word for word; it is kept once" in told
    assert "n.jsonl:2 has nothing in the column 'text'; expected a text" in told
    assert "o.csv cannot be read: " in told and "the columns 'left', 'right'" in told


def test_the_same_rows_come_out_of_every_format(tmp_path: Path) -> None:
    rows = [{"number": number, "story": f"Story {number}.\n\nThe end, number {number}."} for number in range(3)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = datasets.Dataset.from_list(rows)
    write(tmp_path / "a.jsonl", lines)
    write(tmp_path / "b.jsonl.gz", gzip.compress(lines))
    table.to_csv(tmp_path / "c.csv")
    table.to_parquet(tmp_path / "d.parquet")
    table.save_to_disk(tmp_path / "e")
    for source in ("a.jsonl", "b.jsonl.gz", "c.csv", "d.parquet", "e"):
        reading = read_texts(tmp_path / source)
        assert [text.sections[0].paragraphs[1] for text in reading.texts] == [f"The end, number {n}." for n in range(3)]
        assert reading.report.columns == ("story",)


def test_the_text_column_is_named_guessed_or_asked_for(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", b'{"Text": "one", "more": "two", "id": 3}\n')
    assert read_texts(data).texts[0].text == "one"
    assert read_texts(data, column="more").texts[0].text == "two"
    with pytest.raises(ArtifactError, match=r"has no column 'mroe'; it has 'Text', 'more', 'id'"):
        read_texts(data, column="mroe")
    alone = write(tmp_path / "b.jsonl", b'{"anything": "one", "id": 3, "list": []}\n')
    assert read_texts(alone).texts[0].text == "one"
    both = write(tmp_path / "c.jsonl", b'{"left": "one", "right": "two"}\n')
    with pytest.raises(ArtifactError, match="columns 'left', 'right', and text stands in 2 of them; name the one"):
        read_texts(both)


def test_a_split_takes_the_data_files_that_have_its_name(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", b'{"text": "one"}\n')
    write(tmp_path / "test.jsonl", b'{"text": "two"}\n')
    reading = read_texts(tmp_path, split="train")
    assert [text.text for text in reading.texts] == ["one"]
    assert reading.report.rejected_by_kind == (("of another split", 1),)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"\xff\xfe\xff", "1 not text: a.txt is no text in UTF-8, or UTF-16"),
        ("a.txt", b"", r"1 empty: a.txt is empty"),
        ("a.docx", b"x", r"of no known format; give a text \(.md"),
        ("a.jsonl", b"", "no row that can be read"),
        ("a.jsonl", b"[1]\n", "line 1 is a JSON list"),
        ("a.csv", b'"', "is no line of column names"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.jsonl.gz", b"\x1f\x8bxx", "cannot be read"),
        ("a.md", b'a\xed\xa0\x80', "not text"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"half a character \(U\+D800\)"),
    ],
)  # fmt: skip
def test_a_source_with_nothing_usable_says_why(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(ArtifactError, match=reason) as caught:
        read_texts(write(tmp_path / name, data))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    for source, reason in (
        ("words " * 1000, "cannot be opened"),
        ("a\0b", "cannot be opened"),
        (tmp_path / "none.txt", "does not exist"),
        (tmp_path, "holds no text that can be used .it is empty"),
    ):
        with pytest.raises(ArtifactError, match=reason):
            read_texts(source)


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "Größe".encode("latin-1"))
    assert read_texts(path, encoding="latin-1").texts[0].text == "Größe"
    for encoding in ("base64", "no such"):
        with pytest.raises(ArtifactError, match="which is no encoding of text"):
            read_texts(path, encoding=encoding)


def test_names_and_titles_hold_nothing_that_is_not_seen(tmp_path: Path) -> None:
    write(tmp_path / "a\nb\u202e.txt", b"one")
    write(tmp_path / "a b.txt", b"two")
    reading = read_texts(tmp_path)
    assert [text.name for text in reading.texts][1] == "a b.txt"
    # The name that had to change carries a digest, so that it is still its own.
    assert reading.texts[0].name.startswith("a b .txt~") and reading.texts[0].title == "a b"


def test_sections_and_blocks_are_two_ways_to_say_the_same() -> None:
    blocks = [(0, "a"), (2, "b"), (0, "c"), (0, "d"), (1, "e")]
    sections = sections_of(blocks)
    assert [(section.rank, len(section.paragraphs)) for section in sections] == [(0, 1), (2, 2), (1, 0)]


def test_real_stories_are_read_whole(shared_data: Path) -> None:
    path = shared_data / "documents" / "squality-dev.jsonl.gz"
    reading = read_texts(path)
    with gzip.open(path, "rt") as lines:
        expected = [json.loads(line)["document"].split() for line in lines]
    assert [text.text.split() for text in reading.texts] == expected
    assert (reading.report.given, reading.report.rejected, reading.report.columns) == (25, 0, ("document",))
    # The second story is hard-wrapped: its paragraphs are of one line all the same.
    assert max(len(block) for block in reading.texts[1].sections[0].paragraphs) > 400


@pytest.mark.parametrize("reader", ["documents", "trees", "preferences"])
def test_mutated_bytes_give_data_or_one_sentence(reader: str) -> None:
    found = fuzz(reader, seed=1, cases={"documents": 120, "trees": 8, "preferences": 400}[reader])
    assert not found.faults, found.faults
    assert found.read > 2 and found.refused > 2
