"""The page as a person meets it: a real Chromium, the real server, the model that comes along."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import (
    element_to_be_clickable,
    visibility_of_element_located,
)
from selenium.webdriver.support.ui import WebDriverWait

from reelsense.server import keys
from tests.processes import server

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the PATH"
    ),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server() as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    for option in (
        "--headless",
        "--disable-gpu",
        "--disable-background-networking",
        "--window-size=900,900",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        # Chromium's sandbox refuses to run as root, as in many a container.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> webdriver.Chrome:
    browser.get(address)
    return browser


def shown(page: webdriver.Chrome, name: str) -> str:
    """Wait until the element `name` is there and shown, and return its text.

    A key that was pressed may only now bring the page that has it.
    """
    waiting = WebDriverWait(page, 20, ignored_exceptions=[StaleElementReferenceException])
    return waiting.until(visibility_of_element_located((By.ID, name))).text


def judge(page: webdriver.Chrome, text: str) -> None:
    page.find_element(By.ID, "text").send_keys(text)
    page.find_element(By.TAG_NAME, "button").click()


@pytest.mark.parametrize(
    ("text", "label"),
    [("A joy from the first scene to the last.", "positive"), ("A dull, lazy mess.", "negative")],
)
def test_a_review_gets_its_verdict(page: webdriver.Chrome, text: str, label: str) -> None:
    judge(page, text)
    answer = shown(page, "answer")
    assert answer.startswith(f"{label} ")
    assert float(answer.split()[1]) > 50
    assert "Read whole" in answer
    share = page.find_element(By.ID, "bar").get_attribute("aria-label")
    assert share is not None
    assert (float(share.split()[1]) > 50) == (label == "positive")
    assert not page.find_element(By.ID, "problem").is_displayed()


def test_an_unsure_verdict_is_shown_as_such(page: webdriver.Chrome) -> None:
    judge(page, "It has its moments, good ones and bad ones.")
    answer = shown(page, "answer")
    assert answer.startswith("unsure leans ")
    assert "counts as unsure" in answer
    assert page.find_element(By.ID, "marker").is_displayed()


def test_the_keyboard_is_enough(page: webdriver.Chrome) -> None:
    page.find_element(By.ID, "text").send_keys("Wonderful!", Keys.CONTROL, Keys.ENTER)
    assert "positive" in shown(page, "answer")


def test_what_cannot_be_scored_is_said_and_the_next_one_is_answered(page: webdriver.Chrome) -> None:
    judge(page, "   ")
    assert "blank" in shown(page, "problem")
    page.find_element(By.ID, "text").clear()
    judge(page, "Wonderful!")
    assert "positive" in shown(page, "answer")


def test_a_server_that_is_gone_is_said(browser: webdriver.Chrome) -> None:
    with server() as (address, _):
        browser.get(address)
    judge(browser, "Wonderful!")
    assert shown(browser, "problem") == "The server cannot be reached."


def test_markup_in_a_review_stays_text(page: webdriver.Chrome) -> None:
    judge(page, "<img src=x onerror=\"document.title='x'\"> A fine film.")
    shown(page, "answer")
    assert page.title == "reelsense"


def test_the_interface_is_shown_and_tried_without_anything_from_elsewhere(
    page: webdriver.Chrome, address: str
) -> None:
    page.get_log("browser")
    page.get(f"{address}/docs")
    waiting = WebDriverWait(page, 20)
    waiting.until(lambda _: page.find_elements(By.CLASS_NAME, "opblock"))
    page.find_element(By.CSS_SELECTOR, "#operations-reelsense-predict button").click()
    for name in ("try-out__btn", "execute"):
        waiting.until(element_to_be_clickable((By.CLASS_NAME, name))).click()
    found = waiting.until(
        lambda _: page.find_elements(By.CSS_SELECTOR, ".live-responses-table .response")
    )
    assert '"verdict": "negative"' in found[0].text
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert all(name.startswith((address, "data:")) for name in page.execute_script(script))
    assert page.get_log("browser") == []


def test_nothing_is_loaded_from_elsewhere_and_nothing_goes_wrong(
    page: webdriver.Chrome, address: str, tmp_path: Path
) -> None:
    page.get_log("browser")
    page.get(address)
    judge(page, "A fine film.")
    shown(page, "answer")
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert all(name.startswith((address, "data:")) for name in page.execute_script(script))
    assert page.get_log("browser") == []


def test_the_plots_of_the_model_are_drawn_and_the_report_is_styled(
    page: webdriver.Chrome, address: str
) -> None:
    page.get_log("browser")
    page.get(f"{address}/model")
    pictures = page.find_elements(By.CSS_SELECTOR, ".plot img")
    assert len(pictures) == 14
    for picture in pictures:
        page.execute_script("arguments[0].scrollIntoView()", picture)
    WebDriverWait(page, 20).until(
        lambda _: all(picture.get_property("naturalWidth") == 480 for picture in pictures)
    )
    # Red, green and blue where a bar is: without the styles in the picture it would be black.
    script = """const canvas = document.createElement("canvas").getContext("2d");
        canvas.drawImage(arguments[0], 0, 0);
        return [...canvas.getImageData(0, 0, 480, 400).data]
            .some((value, n, all) => n % 4 == 2 && all[n + 1] == 255 && value > all[n - 2] + 100)"""
    assert page.execute_script(script, pictures[0])
    page.find_element(By.CSS_SELECTOR, ".plot a").click()
    WebDriverWait(page, 20).until(lambda _: page.title.endswith("how good it is"))
    assert page.current_url == f"{address}/model/report#probabilities"
    nav = page.find_element(By.TAG_NAME, "nav")
    assert nav.value_of_css_property("display") == "flex"
    nav.find_element(By.LINK_TEXT, "Model card").click()
    WebDriverWait(page, 20).until(lambda _: page.current_url == f"{address}/model/MODEL_CARD.md")
    assert page.get_log("browser") == []


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a server with keys, and one of them."""
    secret, key = keys.make("shop")
    keys.add(tmp_path / "keys", key)
    with server("--keys-file", str(tmp_path / "keys")) as (address, _):
        yield address, secret


def test_with_keys_one_signs_in(browser: webdriver.Chrome, keyed: tuple[str, str]) -> None:
    address, secret = keyed
    browser.get_log("browser")
    browser.get(address)
    assert browser.current_url == f"{address}/sign-in"
    browser.find_element(By.ID, "key").send_keys("rs_guessed", Keys.ENTER)
    assert "not known" in shown(browser, "problem")
    browser.get_log("browser")  # that there was a 401
    browser.find_element(By.ID, "key").send_keys(secret, Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.ID, "text"))
    judge(browser, "Wonderful!")
    assert "positive" in shown(browser, "answer")
    assert browser.execute_script("return document.cookie") == ""
    # The report is in a sandbox, whose links must bring the cookie still.
    browser.get(f"{address}/model/report")
    browser.find_element(By.LINK_TEXT, "Model card").click()
    WebDriverWait(browser, 20).until(lambda _: "minilm-l6-movies" in browser.page_source)
    assert browser.find_element(By.TAG_NAME, "pre").text.startswith("---")
    browser.get(address)
    assert "Signed in as shop" in browser.find_element(By.TAG_NAME, "main").text
    assert browser.get_log("browser") == []
    browser.find_element(By.CLASS_NAME, "quiet").click()
    WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.ID, "key"))
    browser.get(address)
    assert browser.current_url == f"{address}/sign-in"


def test_a_session_that_has_ended_is_said(
    browser: webdriver.Chrome, keyed: tuple[str, str]
) -> None:
    address, secret = keyed
    browser.get(address)
    browser.find_element(By.ID, "key").send_keys(secret, Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.ID, "text"))
    browser.delete_all_cookies()
    judge(browser, "Wonderful!")
    assert "Sign in again" in shown(browser, "problem")
