"""The live page in a real browser, against the demo.

Needs Playwright and a Chromium (``apt install chromium``, or one named by ``CHROMIUM``).
With ``MESHLIB_SCREENSHOTS`` set to a directory, the pictures of the documentation are made.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meshlib.admin import AdminApp
from meshlib.admin.server import serve_admin
from meshlib.cli.demo import stage as demo_stage
from meshlib.cli.demo.stage import Stage
from tests.adapters.servers import upstream
from tests.admin.bookshop import load

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
MISSING = "no browser: the tests of the live page need the package 'playwright' and a Chromium (or CHROMIUM=path)"

try:
    from playwright.async_api import Browser, Page, async_playwright, expect
except ImportError:
    pytest.skip(MISSING, allow_module_level=True)
if CHROMIUM is None:
    pytest.skip(MISSING, allow_module_level=True)

TRAFFIC = Path(demo_stage.__file__).with_name("bookinfo") / "traffic"
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)  # a busy machine takes its time for everything


class Visit:
    """A page with everything that went wrong on it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url.partition("#")[0]
        self.troubles: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", self._on_console)
        page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(message.text)

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith(self.url):
            self.elsewhere.append(request.url)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        await made.close()


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[str]:
    """The demo with its own rules, but for longer ejections; gives the URL of its page."""
    for file in TRAFFIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("baseEjectionTime: 1s", "baseEjectionTime: 3s")
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    interrupted = asyncio.Event()
    stage = Stage(seconds=0, interrupted=interrupted, config=tmp_path, seed=288)
    run = asyncio.create_task(stage.run())
    while not stage.page:
        await asyncio.wait({run}, timeout=0.05)
        assert not run.done() or run.exception() is None
    yield stage.page
    interrupted.set()
    await run


async def visit(browser: Browser, url: str, scheme: Any = "light") -> Visit:
    page = await browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    made = Visit(page, url)
    await page.goto(url)
    return made


async def picture(page: Page, name: str) -> None:
    """A picture for the documentation, where they are asked for."""
    folder = os.environ.get("MESHLIB_SCREENSHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=False)


@pytest.mark.skipif(sys.platform == "win32", reason="Playwright's driver and the selector loop do not go together")
async def test_the_page_shows_the_demo(browser: Browser, demo: str) -> None:
    """Graph, ejection and return, events, routes with hits, in both colours; no error, and nothing from elsewhere."""
    seen = await visit(browser, demo)
    page = seen.page
    for name in ("client", "productpage", "details", "reviews", "ratings"):
        await expect(page.locator(".node-title", has_text=name).first).to_be_visible(timeout=PATIENCE)
    edge = page.get_by_role("button", name="productpage.default calls reviews.default")
    await expect(edge).to_have_class("edge good", timeout=PATIENCE)
    await expect(edge.locator(".edge-label")).to_contain_text("/s")
    await expect(page.get_by_role("button", name="reviews.default calls ratings.default")).to_have_class(
        "edge bad", timeout=PATIENCE
    )
    await expect(page.locator("circle.dot.out").first).to_be_visible(timeout=PATIENCE)
    await edge.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#details")).to_contain_text("subset v1")
    await picture(page, "dashboard-light")
    await expect(page.locator("circle.dot.out")).to_have_count(0, timeout=PATIENCE)
    await page.keyboard.press("6")
    await expect(page.locator("#events li.warn").first).to_contain_text("ejected for at least 3 s")
    await expect(page.locator("#events li.good").first).to_contain_text("is back", timeout=PATIENCE)
    await page.keyboard.press("/")
    await page.keyboard.type("everyone")
    row = page.locator("#routes tbody tr", has_text="productpage.default").first
    await expect(row).to_contain_text("v1 80 %, v2 20 %")
    await expect(row.locator("td").nth(7)).not_to_have_text("0", timeout=PATIENCE)
    await row.get_by_role("button", name="reviews.yaml").click()
    await expect(page.locator("#source-text .here")).to_be_visible()
    assert (seen.troubles, seen.elsewhere) == ([], [])
    dark = await visit(browser, demo, "dark")
    await expect(dark.page.locator(".edge.bad")).to_have_count(1, timeout=PATIENCE)
    await expect(dark.page.locator("circle.dot.out").first).to_be_visible(timeout=PATIENCE)
    await picture(dark.page, "dashboard-dark")
    assert (dark.troubles, dark.elsewhere) == ([], [])


async def test_the_explainer_answers_on_the_page(browser: Browser) -> None:
    """Where the request would go, and the rule that matched."""
    async with serve_admin(load().admin_app()) as url:
        seen = await visit(browser, f"{url}#explain")
        page = seen.page
        await expect(page.locator("#explain-member")).to_have_value("web.shop", timeout=PATIENCE)
        await page.get_by_label("URL").fill("http://reviews:9080/a")
        await page.get_by_label("Headers").fill("end-user: jason")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#explanation .matched")).to_contain_text(
            "VirtualService shop/reviews", timeout=PATIENCE
        )
        await expect(page.locator("#explanation")).to_contain_text(
            "75 %  reviews.shop.svc.cluster.local:9080 subset v1"
        )
        await picture(page, "dashboard-explain")
        assert (seen.troubles, seen.elsewhere) == ([], [])


async def test_a_fault_is_switched_on_and_off(browser: Browser) -> None:
    """With ``allow_control``: in the dialog, by keyboard, and taken back with one button."""
    async with upstream() as first, upstream() as second:
        mesh = load(first.port, second.port)
        async with serve_admin(mesh.admin_app(allow_control=True)) as url:
            seen = await visit(browser, f"{url}#routes")
            page = seen.page
            row = page.locator("#routes tbody tr", has_text="reviews.shop.svc.cluster.local:9080").filter(
                has_text="75 %"
            )
            await row.get_by_role("button", name="inject").click(timeout=PATIENCE)
            await page.get_by_label("Abort with status").fill("418")
            await page.keyboard.press("Enter")
            await expect(row).to_contain_text("418 for 100 % (set here)", timeout=PATIENCE)
            async with mesh.aiohttp() as client, client.get("http://reviews:9080/") as response:
                assert response.status == 418
            await page.get_by_role("button", name="Take back all faults").click()
            await expect(row.get_by_role("button", name="inject")).to_be_visible(timeout=PATIENCE)
            assert seen.troubles == []


async def test_tabs_and_colours_work_by_keyboard(browser: Browser) -> None:
    """Arrows between tabs, digits to them, ``t`` for the colours, which last; without control there is no switch."""
    async with serve_admin(AdminApp([load(), load()])) as url:
        seen = await visit(browser, url)
        page = seen.page
        await expect(page.locator("#status")).to_have_text("live", timeout=PATIENCE)
        await page.get_by_role("tab", name="Graph").focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("tab", name="Routes")).to_be_focused()
        await expect(page.get_by_role("tab", name="Routes")).to_have_attribute("aria-selected", "true")
        await expect(page.locator("#routes tbody tr").first).to_be_visible(timeout=PATIENCE)
        await expect(page.get_by_role("button", name="inject")).to_have_count(0)
        await page.keyboard.press("End")
        await expect(page.locator("#view-events")).to_be_visible()
        await page.keyboard.press("t")
        await page.keyboard.press("t")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.reload()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await expect(page.locator("#view-events")).to_be_visible()
        assert seen.troubles == []


async def test_a_process_that_goes_away_is_told(browser: Browser) -> None:
    """The page says so, and takes up again when it is back."""
    app = load().admin_app()
    async with serve_admin(app) as url:
        seen = await visit(browser, url)
        await expect(seen.page.locator("#status")).to_have_text("live", timeout=PATIENCE)
    await expect(seen.page.locator("#status")).to_contain_text("no answer", timeout=PATIENCE)
    port = int(url.rpartition(":")[2].strip("/"))
    async with serve_admin(app, port=port):
        await expect(seen.page.locator("#status")).to_have_text("live", timeout=PATIENCE)
