"""The real page in a process of its own, and a real browser that looks at it."""

import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

import pytest

from tests.nursery import NURSERY, serve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 60
"""How long anything may take on a machine that is busy with other tests."""


@dataclass
class Served:
    """A page that is being served."""

    folder: Path
    process: BaseProcess
    port: int
    said: deque[str]
    """The last lines that it printed."""
    arguments: tuple[str, ...] = ()
    fresh_workers: bool = False
    """Whether the workers of its sessions are Python processes that import everything, which takes them seconds."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        self.process.kill()
        self.process.join(SECONDS)

    def restart(self) -> None:
        """Serve the same run at the same place again."""
        self.process, self.port, self.said = start(
            self.folder, port=self.port, arguments=self.arguments, fresh_workers=self.fresh_workers
        )


def start(
    folder: Path, *, port: int = 0, arguments: tuple[str, ...] = (), fresh_workers: bool = False
) -> tuple[BaseProcess, int, deque[str]]:
    """Run `rrm ui` on the folder and wait until it says where it listens."""
    reading, writing = NURSERY.Pipe(duplex=False)
    command = ["ui", str(folder), "--port", str(port), *arguments]
    process = NURSERY.Process(target=serve, args=(command, writing, fresh_workers))
    process.start()
    writing.close()
    output = os.fdopen(os.dup(reading.fileno()), encoding="utf-8")
    reading.close()
    said = ""
    for line in output:
        said += line
        if "http://" in line:
            lines: deque[str] = deque(maxlen=1000)
            # A pipe that nobody reads fills up, and the page would wait for a reader in the middle of a sentence.
            Thread(target=_listen, args=(output, lines), daemon=True).start()
            return process, int(line.rsplit(":", 1)[1].strip().rstrip("/")), lines
    raise AssertionError(f"the page did not start:\n{said}")


def _listen(output: TextIO, lines: deque[str]) -> None:
    with output:
        lines.extend(output)


@contextmanager
def serving(folder: Path, *arguments: str, fresh_workers: bool = False) -> Iterator[Served]:
    """Serve a run as long as the block lasts; it must not fail where nobody looks."""
    process, port, said = start(folder, arguments=arguments, fresh_workers=fresh_workers)
    served = Served(folder, process, port, said, arguments, fresh_workers)
    try:
        yield served
    finally:
        if served.process.is_alive():
            served.kill()
    lines = list(served.said)
    assert not any(line.startswith("Traceback") for line in lines), "".join(lines)


@dataclass
class Watched:
    """A browser page that writes down what it should never do."""

    page: Any
    errors: list[str] = field(default_factory=list)
    """What it said on the console as an error, and scripts that failed."""
    elsewhere: list[str] = field(default_factory=list)
    """Requests to any other host."""
    waiting: set[Any] = field(default_factory=set)
    """Requests that are on their way."""

    def watch(self, url: str) -> None:
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "request",
            lambda request: (
                self.elsewhere.append(request.url) if not request.url.startswith((url, "data:", "blob:")) else None
            ),
        )
        # Gradio keeps one request open as long as a page is, to learn that it was closed.
        self.page.on("request", lambda request: None if "/heartbeat/" in request.url else self.waiting.add(request))
        for ended in ("requestfinished", "requestfailed"):
            self.page.on(ended, lambda request: self.waiting.discard(request))

    def settle(self) -> None:
        """Wait until the page has what it asked for: who leaves sooner tears its requests off, and it complains."""
        quiet = 0
        for _ in range(SECONDS * 20):
            quiet = 0 if self.waiting else quiet + 1
            if quiet == 4:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"the page still waits for {[request.url for request in self.waiting]}")


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none, unless RRM_NEEDS_BROWSER says there must be one."""
    if CHROMIUM is None:
        if os.environ.get("RRM_NEEDS_BROWSER"):
            pytest.fail("RRM_NEEDS_BROWSER is set, but there is no chromium on the path; install it")
        pytest.skip("there is no chromium on the path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Any, served: Served, path: str = "/", **options: Any) -> Iterator[Watched]:
    """A fresh page (its own cookies and storage) at a path; at the end it must have kept quiet."""
    context = browser.new_context(**options)
    context.set_default_timeout(SECONDS * 1000)
    watched = Watched(context.new_page())
    watched.watch(served.url)
    try:
        watched.page.goto(served.url + path, wait_until="load")
        yield watched
        assert watched.elsewhere == [], f"requests to other hosts: {watched.elsewhere}"
        assert watched.errors == [], f"errors on the console: {watched.errors}"
    finally:
        context.close()


def serious_findings(page: Any) -> list[str]:
    """What axe-core finds serious or critical on the page as it is now."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
