"""One browser for the tests of a file; every page that they open in it has cookies and storage of its own."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser."""
    from tests.ui.page.browser import chromium

    with chromium() as found:
        yield found
