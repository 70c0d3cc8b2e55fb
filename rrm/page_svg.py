"""From an SVG that matplotlib wrote to one that stands in a page: its ink, its font, its own ids, a name."""

import re
from hashlib import sha256
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_INK = "#000000"
"""What matplotlib draws text, axes and ticks in."""

ON_PAGES = {
    "#8a8f98": "#858a93",
    "#c58b2a": "#b87d1c",
    "#2f6fb0": "#3d85cc",
    "#9b6fb5": "#9b6fb5",
    "#3f8f5b": "#3f9460",
    "#1f77b4": "#3d85cc",
    "#ff7f0e": "#b87d1c",
    "#2ca02c": "#3f9460",
    "#d62728": "#cf5b52",
    "#9467bd": "#9b6fb5",
    "#8c564b": "#a87868",
    "#e377c2": "#c46aa8",
    "#7f7f7f": "#858585",
}
"""The shades that lines have in a page, by those they were drawn in: of medium lightness, so that each keeps a contrast
of 3 to 1 with white and with a dark page alike."""

_IGNORED = {f"{{{_SVG}}}{name}" for name in ("metadata", "style")}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def page_svg(drawn: str, *, description: str) -> str:
    """The picture as an element of a page. Equal pictures with equal descriptions give equal text."""
    root = ElementTree.fromstring(drawn)
    _drop_what_pages_have(root)
    width = float(root.attrib["viewBox"].split()[2])
    root.attrib.pop("height")
    root.attrib.pop("version")
    root.attrib |= {
        "width": "100%",
        # A point is a third more than a pixel; a figure is never shown larger than its type is meant to be.
        "style": f"max-width: {width * 1.35:.0f}px; height: auto; display: block",
        "role": "img",
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    for element in root.iter():
        _repaint(element)
    salt = sha256((description + _drawn(root)).encode()).hexdigest()[:8]
    _rename(root, salt)
    title = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{salt}-title"})
    title.text = description
    root.insert(0, title)
    root.attrib["aria-labelledby"] = f"{salt}-title"
    return _text(root)


def _drawn(root: ElementTree.Element) -> str:
    """What is drawn, in an order of its own, so that ids that were made at random do not matter."""
    return "\n".join(
        f"{element.tag} {element.text} {sorted(item for item in element.attrib.items() if not _names(item))}"
        for element in root.iter()
    )


def _names(item: tuple[str, str]) -> bool:
    name, value = item
    return name in ("id", _LINK) or bool(_REFERENCE.search(value))


def _drop_what_pages_have(root: ElementTree.Element) -> None:
    """Without metadata, and without a style sheet: that would hold for the whole page."""
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in _IGNORED]:
            parent.remove(child)


def _repaint(element: ElementTree.Element) -> None:
    style = element.attrib.get("style")
    if style is None:
        return
    found = {name.strip(): value.strip() for name, _, value in (part.partition(":") for part in style.split(";"))}
    found.pop("font-family", None)
    shades = {_INK: "currentColor", **ON_PAGES}
    element.attrib["style"] = "; ".join(f"{name}: {shades.get(value, value)}" for name, value in found.items() if name)


def _rename(root: ElementTree.Element, salt: str) -> None:
    """Give what is referred to a name of this picture, and drop the names of all else."""
    referred = {element.attrib[_LINK].removeprefix("#") for element in root.iter() if _LINK in element.attrib}
    values = [value for element in root.iter() for value in element.attrib.values()]
    referred |= {name for value in values for name in _REFERENCE.findall(value)}
    names: dict[str, str] = {}
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        if identifier in referred:
            names[identifier] = element.attrib["id"] = f"{salt}-{len(names)}"
    for element in root.iter():
        if _LINK in element.attrib:
            element.attrib["href"] = "#" + names[element.attrib.pop(_LINK).removeprefix("#")]
        for name, value in element.attrib.items():
            element.attrib[name] = _REFERENCE.sub(lambda match: f"url(#{names[match[1]]})", value)


def _text(root: ElementTree.Element) -> str:
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        element.tail = None
        if element.tag not in ("text", "title"):
            element.text = None
    return ElementTree.tostring(root, encoding="unicode")
