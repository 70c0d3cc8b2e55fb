"""Trees out of texts: nothing lost, nothing doubled, cut where a reader would."""

import json
from collections.abc import Iterator
from itertools import accumulate, combinations, pairwise
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from reward_models.errors import ArtifactError, InvalidInput
from rrm.tasks.document import Document, count_words
from rrm.tasks.task import Split
from rrm.texts.partition import Parts, partition
from rrm.texts.pieces import Pieces
from rrm.texts.reading import read_texts
from rrm.texts.source_text import Section, SourceText, sections_of
from rrm.texts.splits import assign, split_of
from rrm.texts.store import TreesHeader, read_trees, write_trees
from rrm.texts.trees import grow_trees

HEADER = TreesHeader(levels=3, leaf_tokens=50, fan_out=4, seed=7, source="folder")


def text_of(*blocks: tuple[int, str] | str, title: str = "Book") -> SourceText:
    return SourceText(
        "book.md", title, sections_of([(0, block) if isinstance(block, str) else block for block in blocks])
    )


def words(count: int, of: str = "w") -> str:
    return " ".join(f"{of}{number}" for number in range(count))


def nodes(document: Document) -> Iterator[Document]:
    yield document
    for part in document.parts:
        yield from nodes(part)


def leaves(roots: tuple[Document, ...]) -> list[str]:
    return [leaf.text for root in roots for leaf in root.leaves()]


def grow(text: SourceText, levels: int, leaf: int, fan_out: int) -> tuple[Document, ...]:
    return grow_trees(text, levels=levels, leaf_tokens=leaf, fan_out=fan_out, count=count_words)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 0, 0, 1, 2, 3]),
            st.lists(st.sampled_from(["a", "Bee.", "see!", "Mr.", "x\ny", "dee"]), min_size=1, max_size=60),
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 4),
    st.integers(2, 40),
    st.integers(2, 6),
)
@settings(deadline=None, max_examples=40)
def test_every_tree_keeps_its_promises(
    blocks: list[tuple[int, list[str]]], levels: int, leaf: int, fan_out: int
) -> None:
    text = text_of(*((rank, " ".join(found)) for rank, found in blocks))
    roots = grow(text, levels, leaf, fan_out)
    assert " ".join(leaves(roots)).split() == text.text.split()
    found = [node for root in roots for node in nodes(root)]
    assert all(count_words(node.text) <= leaf for node in found if not node.parts)
    assert all(2 <= len(node.parts) <= fan_out for node in found if node.parts and count_words(node.text) > 1)
    assert all(part.height == node.height - 1 for node in found for part in node.parts)
    assert len({node.id for node in found}) == len(found)
    total = count_words(text.text)
    height = 0 if total <= leaf else max(height for height in range(levels) if total >= 2**height * leaf / 2)
    assert {root.height for root in roots} == {height}
    for node in found:
        assert " ".join(part.text for part in node.parts).split() == (node.text.split() if node.parts else [])
    assert len(roots) == 1 or sum(count_words(root.text) for root in roots) > fan_out**height * leaf / 3


def cost_by_hand(sizes: list[int], strengths: list[int], ends: list[int], wanted: Parts) -> float:
    """What the docstring of `partition` says, part by part; `ends` are the pieces that parts begin and end with."""
    inner_strengths = strengths[1:]
    strongest = max(inner_strengths)
    total = 0.0
    for begin, end in pairwise(ends):
        size = sum(sizes[begin:end])
        total += inf if size > wanted.cap else (size / wanted.ideal - 1) ** 2
        total += 4 * (1 - size / wanted.least) if size < wanted.least else 0
        edges = [strengths[edge] for edge in (begin, end) if 0 < edge < len(sizes)]
        within = max(strengths[begin + 1 : end], default=0)
        total += within > 3 and within > min(edges)
        if begin:
            total += {2: 0.1, 1: 1.0, 0: 3.0}.get(strengths[begin], 0.0)
            total += 0.3 * (strengths[begin] < strongest and strongest > 3)
    return total


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0, 1, 2, 3, 8, 9])), min_size=2, max_size=8), st.data())
@settings(deadline=None, max_examples=60)
def test_cuts_are_the_cheapest_of_all(pieces: list[tuple[int, int]], data: st.DataObject) -> None:
    sizes, strengths = [list(found) for found in zip(*pieces, strict=True)]
    most = data.draw(st.integers(2, 4))
    ideal, cap = (float(data.draw(st.integers(*between))) for between in ((3, 20), (9, 60)))
    wanted = Parts(most=most, ideal=ideal, least=2.0, cap=cap)
    tokens = [0, *accumulate(sizes)]
    text = "".join("x" * size for size in sizes)
    run = Pieces(text=text, starts=tokens, tokens=tokens, strengths=strengths, headings={}, largest=max(sizes))
    every = [
        [0, *cuts, len(sizes)] for parts in range(2, most + 1) for cuts in combinations(range(1, len(sizes)), parts - 1)
    ]
    best = min(cost_by_hand(sizes, strengths, ends, wanted) for ends in every)
    found = partition(run, 0, len(sizes), wanted)
    ends = [begin for begin, _ in found] + [found[-1][1]]
    if best < inf:
        assert cost_by_hand(sizes, strengths, ends, wanted) == pytest.approx(best)
    assert ends[0] == 0 and ends[-1] == len(sizes) and 2 <= len(found) <= most and ends == sorted(set(ends))


def test_a_text_that_fits_is_a_leaf() -> None:
    (root,) = grow(text_of((1, "Book"), "One.", "Two."), 3, 4, 4)
    assert (root.height, root.text, root.title) == (0, "Book\n\nOne.\n\nTwo.", "Book")


def test_chapters_are_the_parts_even_if_they_are_not_equal() -> None:
    text = text_of((1, "A"), words(60), (1, "B"), words(90), (1, "C"), words(70))
    (root,) = grow(text, 2, 100, 4)
    assert [part.text.split()[0] for part in root.parts] == ["A", "B", "C"]
    assert [part.title for part in root.parts] == ["Book / A", "Book / B", "Book / C"]


def test_groups_end_where_a_stronger_heading_begins() -> None:
    """Sections of 40 words in chapters of 2, 4 and 2: three parts end at chapters, leaves at sections."""
    blocks: list[tuple[int, str] | str] = []
    for chapter, sections in (("One", 2), ("Two", 4), ("Three", 2)):
        blocks.append((1, chapter))
        for number in range(sections):
            blocks += [(2, f"{chapter}.{number}"), words(39)]
    (root,) = grow(text_of(*blocks), 3, 45, 4)
    assert [part.text.split()[0] for part in root.parts] == ["One", "Two", "Three"]
    assert [len(part.parts) for part in root.parts] == [2, 4, 2]
    assert root.parts[1].parts[2].title == "Book / Two / Two.2"
    assert root.parts[0].parts[0].text.split()[:2] == ["One", "One.0"]


def test_a_heading_stays_with_what_follows_it() -> None:
    (root,) = grow(text_of(words(40), (1, "A"), (1, "B"), words(40)), 2, 50, 4)
    assert [part.text.split()[0] for part in root.parts] == ["w0", "A"]


def test_paragraphs_are_kept_whole_where_there_is_room() -> None:
    paragraphs = [words(count, f"p{number}-") for number, count in enumerate([8, 12, 9, 11, 10, 10, 12, 8])]
    (root,) = grow(text_of(*paragraphs), 2, 25, 8)
    starts = [leaf.text.split()[0] for leaf in root.leaves()]
    assert all(start.endswith("-0") for start in starts)
    assert [count_words(leaf.text) for leaf in root.leaves()] == [20, 20, 20, 20]


def test_long_paragraphs_are_cut_at_the_ends_of_sentences() -> None:
    sentence = "Then Mr. Hale of the U.S. Navy said “No!” and went home at 3 p.m. without me. "
    (root,) = grow(text_of(sentence * 12), 2, 60, 8)
    assert all(leaf.text.startswith("Then Mr.") and leaf.text.endswith("me.") for leaf in root.leaves())
    uneven = f"{words(30).capitalize()}. {words(50).capitalize()}."
    (root,) = grow(text_of(uneven), 2, 60, 8)
    assert [count_words(leaf.text) for leaf in root.leaves()] == [30, 50]


def test_a_tiny_rest_is_avoided() -> None:
    (root,) = grow(text_of(words(101)), 2, 100, 8)
    assert min(count_words(leaf.text) for leaf in root.leaves()) >= 40


def test_a_text_too_long_for_one_tree_becomes_several() -> None:
    roots = grow(text_of(words(1000)), 2, 50, 4)
    # One tree holds at most 4 x 50 words, and a little less where cuts must fall between pieces of 6.
    assert 5 <= len(roots) <= 7
    assert [root.title for root in roots][1] == f"Book, 2 of {len(roots)}"
    sizes = [count_words(root.text) for root in roots]
    assert max(sizes) <= 200 and min(sizes) > max(sizes) / 2
    assert all(root.height == 1 for root in roots)


def test_chapters_that_need_a_tree_each_get_one() -> None:
    roots = grow(text_of(*(block for name in "ABC" for block in ((1, name), words(150)))), 2, 50, 4)
    assert [root.text.split()[0] for root in roots] == ["A", "B", "C"]


def test_parts_without_headings_go_by_their_number() -> None:
    (root,) = grow(text_of(words(200)), 3, 50, 4)
    assert root.title == "Book"
    assert [part.title for part in root.parts] == ["Book, part 1 of 2", "Book, part 2 of 2"]
    assert [leaf.title for leaf in root.parts[1].parts][:2] == ["Book, part 2.1", "Book, part 2.2"]
    (root,) = grow(text_of((1, "A"), words(120), (1, "B"), words(40), (1, "C"), words(40)), 2, 90, 4)
    titles = [part.title for part in root.parts]
    assert titles[:2] == ["Book / A, part 1 of 2", "Book / A, part 2 of 2"]
    assert titles[2] == "Book / B to C"


def test_a_word_longer_than_a_leaf_is_cut_and_nothing_else_is() -> None:
    text = text_of("short words and " + "x" * 100 + " then more short words")
    roots = grow_trees(text, levels=2, leaf_tokens=30, fan_out=8, count=len)
    assert "".join("".join(leaf.split()) for leaf in leaves(roots)) == "".join(text.text.split())
    whole = [word for leaf in leaves(roots) for word in leaf.split() if "x" not in word]
    assert whole == ["short", "words", "and", "then", "more", "short", "words"]


def test_the_tokens_that_every_text_has_are_counted_once() -> None:
    def count(text: str) -> int:
        return count_words(text) + 2

    roots = grow_trees(text_of(words(400)), levels=2, leaf_tokens=52, fan_out=8, count=count)
    assert max(count(leaf) for leaf in leaves(roots)) <= 52
    assert leaves(roots) == leaves(grow(text_of(words(400)), 2, 50, 8))


def test_a_counter_that_finds_more_in_the_whole_than_in_the_pieces_is_obeyed() -> None:
    def count(text: str) -> int:
        return len(text.split()) + len(text) // 60

    roots = grow_trees(text_of(words(500)), levels=3, leaf_tokens=40, fan_out=4, count=count)
    assert max(count(leaf) for leaf in leaves(roots)) <= 40


def test_other_content_has_other_ids_and_the_same_content_the_same() -> None:
    first, again = grow(text_of(words(160)), 2, 50, 4), grow(text_of(words(160)), 2, 50, 4)
    other = grow(text_of(words(159) + " end"), 2, 50, 4)
    assert first == again
    assert first[0].id.startswith("book.md#1~") and first[0].parts[1].id.startswith("book.md#1.2~")
    assert first[0].id != other[0].id and first[0].parts[-1].id != other[0].parts[-1].id


@pytest.mark.parametrize("changed", [{"levels": 0}, {"leaf_tokens": 1}, {"fan_out": 1}])
def test_numbers_that_allow_no_tree_are_refused(changed: dict[str, int]) -> None:
    numbers = {"levels": 2, "leaf_tokens": 10, "fan_out": 4} | changed
    (name,) = changed
    with pytest.raises(InvalidInput, match=f"{name} is {changed[name]}"):
        grow_trees(
            text_of("a b"),
            levels=numbers["levels"],
            leaf_tokens=numbers["leaf_tokens"],
            fan_out=numbers["fan_out"],
            count=count_words,
        )


def test_a_leaf_too_small_for_one_letter_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"book\.md cannot be cut into leaves of 3 tokens"):
        grow_trees(text_of("ab cd"), levels=2, leaf_tokens=3, fan_out=4, count=lambda text: 4 * len(text))
    with pytest.raises(InvalidInput, match=r"book\.md holds no words"):
        grow(SourceText("book.md", "Book", (Section(0, "", (" ",)),)), 2, 10, 4)


def test_real_stories_become_trees_of_real_tokens(shared_data: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "models" / "stories260k")
    seen = 0

    def count(text: str) -> int:
        nonlocal seen
        seen += len(text)
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    texts = read_texts(shared_data / "documents" / "squality-dev.jsonl.gz").texts[:2]
    for text in texts:
        roots = grow_trees(text, levels=3, leaf_tokens=600, fan_out=4, count=count)
        found = leaves(roots)
        assert " ".join(found).split() == text.text.split()
        assert {root.height for root in roots} == {2}
        sizes = [count(leaf) for leaf in found]
        assert max(sizes) <= 600 and sum(sizes) / len(sizes) > 400 and min(sizes) > 200
        # Most leaves end where a sentence does; the rest end at a title or within speech.
        assert sum(leaf[-1] in ".!?\"”'" for leaf in found) >= 0.9 * len(found)
    assert seen < 8 * sum(len(text.text) for text in texts)


@given(st.lists(st.text(max_size=5), unique=True, min_size=3, max_size=40), st.integers(0, 5), st.randoms())
@settings(deadline=None, max_examples=40)
def test_no_split_is_empty_and_the_order_does_not_matter(keys: list[str], seed: int, chance: object) -> None:
    found = assign(keys, seed=seed)
    assert set(found.values()) == set(Split)
    assert assign(sorted(keys, reverse=True), seed=seed) == found
    moved = [key for key in keys if found[key] is not split_of(key, seed=seed)]
    assert len(moved) <= 2


def test_shares_are_kept() -> None:
    keys = [f"text {number}" for number in range(4000)]
    found = list(assign(keys, seed=3).values())
    # Three standard deviations of a share of 0.15 in 4,000 are 0.017.
    assert found.count(Split.VALIDATION) / 4000 == pytest.approx(0.15, abs=0.017)
    assert found.count(Split.TEST) / 4000 == pytest.approx(0.15, abs=0.017)
    assert assign(keys, seed=3) != assign(keys, seed=4)


def test_one_text_is_for_training_and_the_second_for_validation() -> None:
    for name in "abcdefghij":
        assert assign([name], seed=0) == {name: Split.TRAIN}
        assert set(assign([name, "other"], seed=0).values()) == {Split.TRAIN, Split.VALIDATION}


def test_impossible_shares_and_keys_are_refused() -> None:
    for shares in ((0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (0.7, 0.15, float("nan"))):
        with pytest.raises(InvalidInput, match="give three that sum to 1"):
            assign(["a"], seed=0, shares=shares)
    with pytest.raises(InvalidInput, match="'a' comes twice"):
        assign(["a", "a"], seed=0)


@pytest.fixture(scope="module")
def some_trees() -> dict[Split, tuple[Document, ...]]:
    return {
        Split.TRAIN: grow(text_of(words(300, "größe\u2028")), 3, 50, 4),
        Split.VALIDATION: grow(text_of("one line"), 3, 50, 4),
        Split.TEST: (),
    }


def test_trees_come_back_from_their_file(some_trees: dict[Split, tuple[Document, ...]], tmp_path: Path) -> None:
    path = tmp_path / "new" / "trees.jsonl"
    write_trees(path, some_trees, header=HEADER)
    found = read_trees(path)
    assert (found.header, found.trees) == (HEADER, some_trees)
    assert [file.name for file in path.parent.iterdir()] == ["trees.jsonl"]


def test_any_change_of_the_file_is_noticed(some_trees: dict[Split, tuple[Document, ...]], tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    write_trees(path, some_trees, header=HEADER)
    whole = path.read_bytes()
    first, *lines = whole.splitlines(keepends=True)
    header = json.loads(first)
    cases = {
        whole[:-30]: "line 3 is damaged",
        b"".join([first, *lines[:-1]]): "it has 1 trees, not 2",
        whole.replace(b"one line", b"one lime"): "some line of it was changed",
        b"": "line 1 is no header",
        first.replace(b'"levels": 3', b'"levels": "3"') + b"".join(lines): "line 1 is no header of texts .levels: ",
        json.dumps(header | {"format_version": 2}).encode(): "format version 2, expected 1",
    }
    for data, reason in cases.items():
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=reason):
            read_trees(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_trees(tmp_path / "none.jsonl")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "trees.jsonl").mkdir()
    with pytest.raises(ArtifactError, match="could not save the texts"):
        write_trees(tmp_path / "trees.jsonl", {}, header=HEADER)
    assert [file.name for file in tmp_path.iterdir()] == ["trees.jsonl"]
    with pytest.raises(InvalidInput, match=r"half a character .U\+D800"):
        write_trees(tmp_path / "other.jsonl", {Split.TEST: [Document("a", "A", "\ud800")]}, header=HEADER)


def test_leaves_of_one_text_follow_each_other_without_a_gap() -> None:
    text = text_of(*(words(20 + number, f"{number}-") for number in range(10)))
    (root,) = grow(text, 2, 60, 8)
    places = [text.text.index(leaf.text) for leaf in root.leaves()]
    assert places == sorted(places)
    for (begin, leaf), (end, _) in pairwise(zip(places, root.leaves(), strict=True)):
        assert text.text[begin + len(leaf.text) : end].strip() == ""
