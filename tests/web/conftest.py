"""One site for all web tests; each uses workflow ids of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.web.site import Caller, Site

CHROMIUM = os.environ.get("PERDURE_TEST_CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browsers last: from the first on, their driver's event loop runs on the tests' thread."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway before an embedded engine, for the session."""
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


@pytest.fixture
def caller(site: Site) -> Iterator[Caller]:
    """Somebody who asks it."""
    made = Caller(site.url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of the system; nothing is downloaded."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the path: apt-get install chromium, or PERDURE_TEST_CHROMIUM")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


class Window:
    """A page of the browser, and what went wrong in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrongs: list[str] = []
        self.asked: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.wrongs.append(str(error)))
        page.on(
            "console",
            lambda said: self.wrongs.append(said.text) if said.type == "error" else None,
        )


@pytest.fixture
def window(browser: Browser, site: Site) -> Iterator[Window]:
    """A fresh window on the site; errors in it fail the test."""
    context = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    made = Window(context.new_page())
    yield made
    context.close()
    assert made.wrongs == []
