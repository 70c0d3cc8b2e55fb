"""Takes the pictures of docs/labeling.md from the real page: a small run, judged by keys pressed in a real browser.

python docs/screenshots.py                     the pictures of the documentation, 1280 wide
python docs/screenshots.py --every FOLDER      every room at 1280 and 400, light and dark, for looking at
"""

import argparse
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from rrm.judging.queue import answer, draw_any  # noqa: E402
from rrm.opening import open_workbench  # noqa: E402
from rrm.people.accounts import Role, add_account  # noqa: E402
from rrm.rounds import climb, play_round  # noqa: E402
from rrm.run_folder import open_run_folder  # noqa: E402
from rrm.sessions.records import AT_WORK  # noqa: E402
from rrm.sessions.settings import start_reward_model  # noqa: E402
from rrm.sessions.store import session, state_of  # noqa: E402
from rrm.starting import start_run  # noqa: E402
from rrm.store import Choice, Run, Stage, utc_now  # noqa: E402
from tests.ui.page.browser import Served, chromium, serving  # noqa: E402

PICTURES = ROOT / "docs" / "figures" / "page"
PASSWORD = "a long enough password"
SETTINGS = (
    "run.levels=2",
    "rounds.rounds_per_level=2",
    "sampling.train_documents=80",
    "sampling.validation_documents=30",
    "sampling.test_documents=40",
    "judging.judgements_per_round=240",
    "judging.validation_judgements=60",
    "judging.promotion_judgements=60",
    "judging.raters_per_comparison=2",
    "reward.acquisition=spread",
    "agent.steps=40",
)
IN_THE_DOCUMENTATION = ("label", "label-aids", "train", "rounds", "watch", "people")
ROOMS = ("practice", "train", "rounds", "watch", "people")
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 400, "height": 800}}


def main() -> None:
    """Make the run, serve it, and look at every room."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=Path, help="a folder for every room at every size, light and dark")
    parser.add_argument("--run", type=Path, help="a folder where the run is made, or kept from the last time")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = wanted.run or Path(scratch) / "shift-logs"
        if not folder.exists():
            make_run(folder)
        with serving(folder) as served, chromium() as browser:
            if wanted.every is None:
                take_all(browser, served, PICTURES, size="wide", scheme="light", suffix="")
                return
            for size in SIZES:
                for scheme in ("light", "dark"):
                    take_all(browser, served, wanted.every, size=size, scheme=scheme, suffix=f"-{size}-{scheme}")


def make_run(folder: Path) -> None:
    """Level 0 judged by the simulated reader, level 1 waiting for two people, who have answered some of it."""
    start_run(folder, ["judging.rater=people", *SETTINGS])
    with open_workbench(folder, overrides=["judging.rater=simulated", "run.levels=1"]) as bench:
        climb(bench)
    with open_workbench(folder) as bench:
        play_round(bench, level=1, round=0)
    with Run.open(folder) as run:
        people = [
            add_account(run, name=name, password=PASSWORD, role=role, now=utc_now())
            for name, role in (("Ada", Role.LEAD), ("Ben", Role.RATER))
        ]
        _train(folder, started_by=people[0].rater_id)
        for person, offset in zip(people, (0, 1), strict=True):
            _answer_some(run, person.rater_id, offset)


def _train(folder: Path, *, started_by: str) -> None:
    """A session on the judgements of level 0, to its end."""
    with open_run_folder(folder) as opened:
        settings = opened.config.reward.model_dump(mode="json")
        begun = start_reward_model(opened.run, level=0, settings=settings, started_by=started_by, now=utc_now())
        while state_of(opened.run, session(opened.run, begun.id)) in AT_WORK:
            time.sleep(0.2)


def _answer_some(run: Run, rater_id: str, offset: int) -> None:
    choices = (Choice.FIRST, Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SECOND)
    for number, drawn in enumerate(draw_any(run, rater_id=rater_id, count=60, now=utc_now())):
        pick = choices[(number + (offset if number % 4 == 0 else 0)) % len(choices)]
        answer(run, drawn.lease_id, stage=Stage.ALONE, choice=pick, now=utc_now())
        if drawn.comparison.aids_planned:
            answer(run, drawn.lease_id, stage=Stage.AIDED, choice=pick, now=utc_now())


def take_all(browser: Any, served: Served, folder: Path, *, size: str, scheme: str, suffix: str) -> None:
    """Every room once, in one size and colour scheme."""
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()

    def take(name: str, *, full: bool = True) -> None:
        page.wait_for_timeout(400)
        if suffix or name in IN_THE_DOCUMENTATION:
            picture = Image.open(BytesIO(page.screenshot(full_page=full))).convert("RGB")
            # A page has few colours: a palette makes the file a third as large.
            picture.quantize(colors=128, dither=Image.Dither.NONE).save(folder / f"{name}{suffix}.png", optimize=True)

    page.goto(f"{served.url}/sign-in")
    take("sign-in", full=False)
    page.fill("input[name=name]", "Ada")
    page.fill("input[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.locator("[data-lease]").first.wait_for()
    take("label", full=False)
    page.keyboard.press("1")
    page.locator("[data-stage=aided]").first.wait_for()
    take("label-aids", full=False)
    for key, name in (("h", "history"), ("g", "guidelines")):
        page.keyboard.press(key)
        take(name, full=False)
        page.keyboard.press("Escape")
    for room in ROOMS:
        page.goto(f"{served.url}/{room}")
        page.locator("h1").first.wait_for()
        page.wait_for_timeout(1500)
        take(room)
    context.close()


if __name__ == "__main__":
    main()
