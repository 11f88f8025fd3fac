"""The page, in a real headless browser: a deliberation as it goes on, on screens light and dark, wide and narrow."""

import re
import threading

import pytest

from pyramid_core.gateway import Keys, Settings
from pyramid_core.gateway.page import page
from pyramid_core.prices import Price
from pyramid_core.routers import ConstantRouter
from pyramid_core.types import Usage
from tests.gateway.browser import browsing, missing
from tests.gateway.serving import HARD, Told, running, told_build

KEY = "a-key-that-is-long-enough"

needs_browser = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


def test_needs_nothing_from_elsewhere():
    found = page()
    assert not re.findall(rb"(?:src|href)=[\"'](?!data:)|https?://|url\(", found.html)
    assert "default-src 'none'" in found.headers["content-security-policy"]


@needs_browser
class TestInABrowser:
    def ask(self, browser, server, text, *, model=None):
        browser.open(server.url)
        browser.until("document.querySelector('#model').options.length")
        if model is not None:
            browser.run("document.querySelector('#model').value = arguments[0]", model)
        browser.type("#question", text)
        browser.click("#ask")

    def test_shows_a_deliberation_to_its_end(self, browser, server):
        self.ask(browser, server, "Ann has 12 apples. She finds 7 more. How many apples does Ann have now?")
        browser.until("!document.querySelector('#final').hidden")
        assert "19" in browser.text("#answer")
        assert browser.text("#verdict") == "accept"
        assert 0 <= float(browser.text("#p_fail")) <= 1
        assert float(browser.text("#cost_barrier")) + float(browser.text("#imperfection_barrier")) > 0
        members = browser.run(
            "return [...document.querySelectorAll('.card[data-member]')].map(c => c.dataset.member)"
        )
        assert members == ["tiny-times", "tiny-short", "tiny-add"]
        assert browser.text("#bill").startswith("cost $")

    def test_shows_an_escalation(self, browser):
        price, usage = Price(input=1e-6, output=1e-6), Usage(input_tokens=5, output_tokens=5)
        crowd = [Told(name, price=price, usage=usage) for name in ("a", "b")]
        oracle = Told("big", text="43", price=price, usage=usage)
        with running(told_build(*crowd, oracle=oracle, router=ConstantRouter(0.8))) as found:
            self.ask(browser, found, "six times seven?")
            browser.until("!document.querySelector('#final').hidden")
            assert browser.text("#verdict") == "escalate"
            assert browser.text("#p_fail") == "0.800"
            assert float(browser.text("#cost_barrier")) < 1
            assert browser.text("#answer") == "43"
            assert browser.text("#by") == "by big, escalated"
            browser.until("document.querySelector('#rate').innerText === '100.0 %'")

    def test_shows_answers_as_they_arrive(self, browser):
        wait = threading.Event()
        with running(told_build(Told("quick"), Told("slow", wait=wait), oracle=Told("big"))) as found:
            self.ask(browser, found, "six times seven?")
            browser.until("document.querySelector('[data-member=quick] .said').innerText === '42'")
            assert browser.text("[data-member=slow]").endswith("asked …")
            browser.until("document.querySelector('#verdict').innerText.startsWith('so far')")
            wait.set()
            browser.until("!document.querySelector('#final').hidden")

    def test_shows_a_member_that_fails(self, browser):
        with running(told_build(Told("a", error=ConnectionError("it is away")), oracle=Told("big"))) as found:
            self.ask(browser, found, "six times seven?")
            browser.until("!document.querySelector('#final').hidden")
            assert "it is away" in browser.text("[data-member=a]")

    def test_shows_what_a_model_wrote_as_text(self, browser):
        evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
        with running(told_build(Told("a", text=evil), Told("b", text=evil), oracle=Told("big"))) as found:
            self.ask(browser, found, "six times seven?")
            browser.until("!document.querySelector('#final').hidden")
            assert browser.text("#answer") == evil
            assert browser.run("return document.title") == "Pyramid"

    def test_asks_for_the_key_of_a_locked_server(self, browser):
        settings = Settings(port=0, keys=Keys([KEY]))
        with running(told_build(Told("a"), Told("b"), oracle=Told("big")), settings) as found:
            browser.open(found.url)
            browser.until("!document.querySelector('#keys').hidden")
            browser.click("#ask")
            browser.until("!document.querySelector('#problem').hidden")
            assert "API key" in browser.text("#problem")
            browser.type("#key", KEY)
            browser.click("#ask")
            browser.until("!document.querySelector('#final').hidden")
            assert browser.text("#answer") == "42"

    def test_breaks_no_rule_of_its_own(self, browser, server):
        browser.complaints()
        self.ask(browser, server, HARD)
        browser.until("!document.querySelector('#final').hidden")
        assert browser.complaints() == []

    @pytest.mark.parametrize("dark", [False, True])
    @pytest.mark.parametrize("width", [360, 1200])
    def test_fits_screens(self, browser, server, width, dark, tmp_path):
        browser.screen(width, dark=dark)
        self.ask(browser, server, HARD)
        browser.until("!document.querySelector('#final').hidden")
        (tmp_path / f"page-{width}-{'dark' if dark else 'light'}.png").write_bytes(browser.screenshot())
        assert browser.run("return document.documentElement.scrollWidth") <= width

    @pytest.mark.parametrize("dark", [False, True])
    def test_can_be_read(self, browser, server, dark):
        """Every text has the contrast that WCAG 2.1 asks for, 4.5 to 1."""
        browser.screen(1200, dark=dark)
        self.ask(browser, server, HARD)
        browser.until("!document.querySelector('#final').hidden")
        assert browser.run(CONTRAST) == []


CONTRAST = """
const light = c => { const v = c / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const luminance = rgb => 0.2126 * light(rgb[0]) + 0.7152 * light(rgb[1]) + 0.0722 * light(rgb[2]);
const colour = text => text.match(/[\\d.]+/g).map(Number);
const ground = element => {
  for (let e = element; e; e = e.parentElement) {
    const found = colour(getComputedStyle(e).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
const poor = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
  const [a, b] = [luminance(colour(getComputedStyle(element).color)), luminance(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(walk.currentNode.data.trim().slice(0, 40) + " " + ratio.toFixed(2));
}
return poor;
"""
