"""Small PDF files, made as they are needed: for fuzzing readers, and for their tests."""

import io

import pypdf
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject


def pdf(*pages: tuple[str, ...], outline: bool = False, password: str | None = None) -> bytes:
    """A page for each tuple of lines, if wanted with an outline of their first lines, or behind a password."""
    writer = pypdf.PdfWriter()
    names = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    font = DictionaryObject({NameObject(name): NameObject(value) for name, value in names.items()})
    for lines in pages:
        page = writer.add_blank_page(width=300, height=300)
        stream = DecodedStreamObject()
        shown = " ".join(f"({line}) Tj 0 -20 Td" for line in lines)
        stream.set_data(f"BT /F1 12 Tf 20 250 Td {shown} ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        if outline and lines:
            writer.add_outline_item(title=lines[0], page_number=len(writer.pages) - 1)
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    packed = io.BytesIO()
    writer.write(packed)
    return packed.getvalue()
