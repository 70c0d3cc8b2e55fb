"""The page behind a reverse proxy: links, files, calls and signing in keep to the prefix."""

from pathlib import Path

from tests.ui.page.browser import Watched, chromium, serving
from tests.ui.page.filled_runs import people_run
from tests.ui.page.proxy import proxied


def test_rooms_and_answers_below_a_prefix(tmp_path: Path) -> None:
    folder = people_run(tmp_path / "run", comparisons=3)
    with (
        serving(folder, "--root-path", "/rrm") as served,
        proxied(served.url, prefix="/rrm") as address,
        chromium() as browser,
    ):
        page = browser.new_page()
        watched = Watched(page)
        watched.watch(address)
        page.goto(f"{address}/")
        page.locator("[data-lease]").first.wait_for()
        page.locator("header.top").get_by_role("link", name="Rounds").click()
        page.wait_for_url(f"{address}/rounds")
        page.locator("h1").first.wait_for()
        assert watched.elsewhere == []
        assert watched.errors == []
