"""Tables of plain text."""

from ui.tables import cell, text_table

ROWS = [
    {"arm": "alone", "level": 0, "accuracy": 0.9, "gold": None},
    {"arm": "assisted", "level": 1, "accuracy": None, "gold": "0.50 [0.40, 0.60]"},
]


def test_numbers_stand_on_the_right_and_words_on_the_left() -> None:
    assert text_table(ROWS, width=80).splitlines() == [
        "arm       level  accuracy  gold",
        "alone         0      0.90  -",
        "assisted      1         -  0.50 [0.40, 0.60]",
    ]


def test_a_wide_table_is_broken_into_blocks_without_empty_rows() -> None:
    # 8 + 2 + 5 + 2 for the repeated columns, 8 for accuracy: 25 columns; gold needs 19 more.
    for width in (25, 43):
        assert text_table(ROWS, width=width, repeat=2).splitlines() == [
            "arm       level  accuracy",
            "alone         0      0.90",
            "",
            "arm       level  gold",
            "assisted      1  0.50 [0.40, 0.60]",
        ]
    assert "\n\n" not in text_table(ROWS, width=44, repeat=2)


def test_a_column_wider_than_the_screen_still_comes() -> None:
    assert text_table([{"name": "x" * 30, "score": 1.5}], width=10).splitlines()[-1].endswith("1.50")


def test_names_alone_are_a_table() -> None:
    assert text_table([{"name": "a"}, {"name": "b"}], width=10).splitlines() == ["name", "a", "b"]


def test_cells() -> None:
    assert [cell(value) for value in (None, True, False, 3, 0.126, "text")] == ["-", "yes", "no", "3", "0.13", "text"]
