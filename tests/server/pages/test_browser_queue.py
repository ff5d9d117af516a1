"""The review queue in a real Chromium, with a real server and models for other labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from reelsense.bundle import Bundle, write_bundle
from tests import any_labels, tiny
from tests.processes import ask, server
from tests.server.chromium import (
    needs_chromium,
    overflows,
    scheme,
    screen,
    serious_faults,
    shown,
    without_javascript,
)
from tests.waiting import wait_until

pytestmark = needs_chromium

NUMBERS = count()


@pytest.fixture(scope="module", params=["tickets", "stars"])
def model(request: pytest.FixtureRequest) -> Bundle:
    if request.param == "tickets":
        return any_labels.tickets()
    stars = any_labels.bundle(any_labels.STARS, name="stars")
    return replace(stars, manifest=replace(stars.manifest, risk_control=tiny.RISKS))


@pytest.fixture(scope="module")
def address(model: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("queue")
    write_bundle(folder / "bundle", model)
    database = f"sqlite:///{folder / 'jobs.db'}"
    options = ("--model", str(folder / "bundle"), "--database", database)
    with server(*options, "--keep-predictions", "all", "--keep-texts") as (address, _):
        yield address


def predict(address: str, *texts: str) -> list[str]:
    """Store predictions of new texts and return their ids."""
    texts = tuple(f"{text} {next(NUMBERS)}" for text in texts)
    answer = ask(f"{address}/v1/predict", {"texts": texts})
    return [prediction["prediction_id"] for prediction in answer.body["predictions"]]


@pytest.fixture
def page(browser: webdriver.Chrome, address: str, model: Bundle) -> webdriver.Chrome:
    """The first item; each reason has some."""
    labels = model.manifest.labels
    words = any_labels.TICKETS if "bug" in labels else any_labels.STARS
    sure = " ".join(words[labels[-1]] * 4)
    predict(address, *["the the"] * 24)
    for id_ in predict(address, *[sure] * 12):
        body = {"prediction_id": id_, "label": labels[0]}
        assert ask(f"{address}/v1/feedback", body).status == 201
    browser.get(f"{address}/queue")
    return browser


def press(page: webdriver.Chrome, keys: str) -> None:
    """Press `keys` wherever the focus is, and wait for the next item."""
    form = page.find_element(By.CLASS_NAME, "review")
    page.switch_to.active_element.send_keys(keys)
    wait_until(lambda: is_gone(form))


def is_gone(element: WebElement) -> bool:
    try:
        return not element.is_displayed()
    except Exception:  # noqa: BLE001  # stale, in one of several ways
        return True


def number(page: webdriver.Chrome) -> str:
    return shown(page, "item").split(" of ")[0]


def sources(address: str) -> list[tuple[str, str]]:
    entries = ask(f"{address}/v1/feedback?limit=500").body["feedback"]
    return [(e["source"], e["label"]) for e in entries if e["source"].startswith("queue")]


def test_keys_label_skip_and_undo(page: webdriver.Chrome, address: str, model: Bundle) -> None:
    before, noun = len(sources(address)), model.manifest.noun.capitalize()
    text = shown(page, "text")
    assert number(page) == f"{noun} 1"
    assert "Random" in shown(page, "reason")
    press(page, "2")
    label = "bug" if "bug" in model.manifest.labels else "2"
    assert sources(address)[0] == ("queue-random", label)
    assert f"Saved as {label}." in shown(page, "message")
    assert page.switch_to.active_element.get_attribute("id") == "item"
    announced = page.find_element(By.ID, "announcement").get_attribute("textContent")
    assert f"Saved as {label}." in str(announced)
    assert "Unsure" in shown(page, "reason")
    press(page, "S")
    assert "Suspected wrong label" in shown(page, "reason")
    assert number(page) == f"{noun} 3"
    press(page, "u")
    press(page, "u")
    assert (number(page), shown(page, "text")) == (f"{noun} 1", text)
    assert len(sources(address)) == before
    progress = page.find_element(By.TAG_NAME, "progress")
    assert progress.get_attribute("value") == "0"


def test_shortcuts_can_be_turned_off_and_ignore_modifiers(
    page: webdriver.Chrome, address: str
) -> None:
    before, first = len(sources(address)), shown(page, "item")
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.CONTROL, "1")
    body.send_keys(Keys.ALT, "1")
    body.send_keys("x")
    page.find_element(By.ID, "shortcuts").click()
    body.send_keys("1")
    page.find_element(By.ID, "shortcuts").click()
    assert shown(page, "item") == first
    assert len(sources(address)) == before
    press(page, "s")


def test_every_label_has_a_button_in_its_colour(page: webdriver.Chrome, model: Bundle) -> None:
    buttons = page.find_elements(By.CSS_SELECTOR, ".review [name=label]")
    values = [button.get_attribute("value") for button in buttons]
    assert sorted(map(str, values)) == sorted(model.manifest.labels)
    colours = {button.value_of_css_property("border-left-color") for button in buttons}
    assert len(colours) >= min(len(values), 5)
    names = [str(button.accessible_name).strip() for button in buttons]
    assert names == values
    keys = [button.get_attribute("aria-keyshortcuts") for button in buttons]
    assert keys == (["1", "2", "3"] if "bug" in values else values)
    main = page.find_element(By.TAG_NAME, "main").text
    assert not any(word in main for word in ("positive", "negative"))


def test_queue_works_without_javascript(page: webdriver.Chrome, address: str) -> None:
    before = len(sources(address))
    with without_javascript(page):
        page.get(f"{address}/queue")
        page.find_element(By.CSS_SELECTOR, "[name=label]").click()
        assert number(page).endswith(" 2")
        assert len(sources(address)) == before + 1
        page.find_element(By.CSS_SELECTOR, "[aria-keyshortcuts=u]").click()
        assert number(page).endswith(" 1")
        assert len(sources(address)) == before


def test_unreachable_server_is_reported(page: webdriver.Chrome) -> None:
    page.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    page.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        page.find_element(By.TAG_NAME, "body").send_keys("1")
        assert shown(page, "problem") == "Cannot reach the server."
    finally:
        online = offline | {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        page.execute_cdp_cmd("Network.emulateNetworkConditions", online)
    press(page, "s")
    assert not page.find_element(By.ID, "problem").is_displayed()
    page.get_log("browser")  # the failed request


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_queue_is_accessible_and_fits(
    page: webdriver.Chrome, address: str, width: int, colours: str, tmp_path: Path
) -> None:
    with screen(page, width), scheme(page, colours):
        page.get(f"{address}/queue")
        reasons = set()
        for _ in range(3):
            reasons.add(shown(page, "reason").split(":")[0])
            assert not overflows(page)
            assert serious_faults(page) == []
            page.save_screenshot(str(tmp_path / "item.png"))
            press(page, "s")
        assert reasons == {"Random", "Unsure", "Suspected wrong label"}
        assert page.get_log("browser") == []


def test_long_text_scrolls_with_the_keyboard(page: webdriver.Chrome) -> None:
    text = page.find_element(By.ID, "text")
    long = "the word\n\n" * 2000 + "x" * 500
    page.execute_script("arguments[0].textContent = arguments[1]", text, long)
    with screen(page, 390):
        assert not overflows(page)
        assert text.size["height"] < 500
        assert serious_faults(page) == []
        text.send_keys(Keys.END)
        WebDriverWait(page, 10).until(lambda _: text.get_property("scrollTop"))
