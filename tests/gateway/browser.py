"""A real headless browser, driven by the W3C WebDriver protocol through its own driver."""

import base64
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def missing():
    """What is missing for a browser test, or None."""
    lacking = [name for name, found in (("chromium", CHROMIUM), ("chromedriver", DRIVER)) if found is None]
    return f"{' and '.join(lacking)} not found on PATH" if lacking else None


@dataclass
class Browser:
    """One session."""

    http: httpx.Client
    session: str

    def call(self, method, path, **body):
        response = self.http.request(
            method, f"/session/{self.session}{path}", json=body if method == "POST" else None
        )
        assert response.status_code == 200, response.text
        return response.json()["value"]

    def open(self, url):
        self.call("POST", "/url", url=url)

    def run(self, script, *arguments):
        """What `return ...` in the page gives."""
        return self.call("POST", "/execute/sync", script=script, args=list(arguments))

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def type(self, selector, text):
        element = self.element(selector)
        self.call("POST", f"/element/{element}/clear")
        self.call("POST", f"/element/{element}/value", text=text)

    def click(self, selector):
        self.call("POST", f"/element/{self.element(selector)}/click")

    def element(self, selector):
        found = self.call("POST", "/element", using="css selector", value=selector)
        return next(iter(found.values()))

    def until(self, condition, seconds=20):
        """Wait until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"{condition} did not become true"
            time.sleep(0.02)

    def command(self, name, **parameters):
        """A command of Chrome's own."""
        return self.call("POST", "/goog/cdp/execute", cmd=name, params=parameters)

    def screen(self, width, height=900, *, dark=False):
        """Show the page as on a screen of this size."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", features=scheme)

    def screenshot(self):
        return base64.b64decode(self.call("GET", "/screenshot"))

    def complaints(self):
        """What the page's console says."""
        return [entry["message"] for entry in self.call("POST", "/se/log", type="browser")]


@contextmanager
def browsing(folder):
    """A browser whose profile is in `folder`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    driver = subprocess.Popen(
        [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            wait_for(http)
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={folder}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = http.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            browser = Browser(http, made["sessionId"])
            try:
                yield browser
            finally:
                browser.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait(30)


def wait_for(http):
    end = time.monotonic() + 30
    while True:
        try:
            if http.get("/status").json()["value"]["ready"]:
                return
        except httpx.TransportError:
            assert time.monotonic() < end
        time.sleep(0.05)
