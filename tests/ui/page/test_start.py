"""The page is there quickly, because it loads nothing of what only training needs."""

import subprocess
import sys


def test_the_page_needs_no_torch() -> None:
    code = "import sys, ui.page.app; print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
