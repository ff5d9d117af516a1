"""A real Chromium, driven by Selenium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

wanted = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the PATH"
)


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Run Chromium with its profile and downloads in the folder `profile`."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    for option in (
        "--headless",
        "--disable-gpu",
        "--disable-background-networking",
        "--window-size=1280,900",
        f"--user-data-dir={profile}",
        # Chromium's sandbox cannot run as root, for example in containers.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(profile)}
    )
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def screen(browser: webdriver.Chrome, width: int, height: int = 844) -> Iterator[None]:
    """Emulate a screen of that size, that of a phone if it is narrow."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@contextmanager
def scheme(browser: webdriver.Chrome, name: str) -> Iterator[None]:
    """Emulate the colour scheme `name`: light or dark."""
    feature = {"name": "prefers-color-scheme", "value": name}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@contextmanager
def touch(browser: webdriver.Chrome) -> Iterator[None]:
    """Emulate a touch screen."""
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


@contextmanager
def without_javascript(browser: webdriver.Chrome) -> Iterator[None]:
    """Disable scripts of pages."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def shown(page: webdriver.Chrome, name: str, seconds: float = 20) -> str:
    """Wait until the element `name` is visible, and return its text."""

    def look(_: webdriver.Chrome) -> tuple[str] | None:
        try:
            element = page.find_element(By.ID, name)
            return (element.text,) if element.is_displayed() else None
        except WebDriverException:  # the page is being replaced
            return None

    text = WebDriverWait(page, seconds).until(look)
    assert text is not None
    return text[0]


def overflows(page: webdriver.Chrome) -> bool:
    """Return whether the page is wider than its window."""
    wider = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    return bool(page.execute_script(wider))


def serious_faults(page: webdriver.Chrome) -> list[str]:
    """Return the serious and critical accessibility violations that axe-core finds."""
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.execute_script(axe)
    violations = page.execute_async_script(
        "const done = arguments[0];"
        "axe.run().then((result) => done(result.violations), (error) => done([{id: `${error}`}]))"
    )
    return [
        f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for violation in violations
        if violation.get("impact", "critical") in ("serious", "critical")
        for node in violation.get("nodes", [{"html": ""}])
    ]
