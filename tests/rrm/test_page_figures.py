"""Figures in pages follow the page: its ink, its font, shades that stand out on light and dark, ids of their own."""

import re
from xml.etree import ElementTree

import pytest

from rrm.figures import COLOURS, Curve, as_page_svg, as_svg, level_figure, training_figure
from rrm.page_svg import ON_PAGES


def drawn(*, description: str = "Accuracy by level", height: float = 0.6) -> str:
    figure = level_figure({"Accuracy": [Curve("alone", [0.0, 1.0], [0.7, height], [0.6, 0.5], [0.8, 0.7])]})
    return as_page_svg(figure, description=description)


def test_a_figure_takes_ink_and_font_from_the_page() -> None:
    text = drawn()
    assert not re.search(r"#0{6}|#f{6}|background|font-family|<style|<metadata|xlink", text)
    assert 'fill="currentColor"' in text
    assert "stroke: currentColor" in text
    assert "stroke: #858a93" in text
    assert ">0.70<" in text


def test_a_figure_has_a_name_whatever_is_in_it() -> None:
    root = ElementTree.fromstring(drawn(description='a <b> & "c"'))
    assert root.attrib["role"] == "img"
    title = root[0]
    assert (title.tag, title.text) == ("title", 'a <b> & "c"')
    assert root.attrib["aria-labelledby"] == title.attrib["id"]


def test_a_figure_grows_with_the_room_up_to_its_size() -> None:
    root = ElementTree.fromstring(drawn())
    assert (root.attrib["width"], "height" in root.attrib) == ("100%", False)
    assert re.fullmatch(r"0 0 331.2 [\d.]+", root.attrib["viewBox"])
    assert "max-width: 447px" in root.attrib["style"]


def test_ids_do_not_clash_and_every_reference_is_met() -> None:
    first, second, described = drawn(), drawn(height=0.65), drawn(description="The same, for level 1")
    assert drawn() == first
    names = [set(re.findall(r' id="([^"]+)"', text)) for text in (first, second, described)]
    assert all(names)
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    for text, known in zip((first, second, described), names, strict=True):
        assert len(known) == len(re.findall(r' id="', text))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= known


def test_reports_keep_their_figures() -> None:
    text = as_svg(level_figure({"Accuracy": [Curve("alone", [0.0, 1.0], [0.7, 0.6])]}))
    assert "#8a8f98" in text and "<svg" in text and "currentColor" not in text


@pytest.mark.parametrize("ground", ["#ffffff", "#27272a", "#1f2937"])
def test_every_line_stands_out_on_light_and_on_dark(ground: str) -> None:
    curves = [Curve(f"level {level}", [0.0, 1.0], [0.0, float(level)]) for level in range(8)]
    text = as_page_svg(training_figure({"Reward": curves}), description="Reward")
    shades = set(re.findall(r"stroke: (#[0-9a-f]{6}); stroke-width: 1.4", text)) | {
        ON_PAGES[one] for one in COLOURS.values()
    }
    assert len(shades) >= 8
    assert min(contrast(shade, ground) for shade in shades) >= 3.0


def contrast(one: str, other: str) -> float:
    """WCAG 2: the contrast of two colours."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
