"""The question "Was this right?" in a real Chromium, with a real server and the bundled model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

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

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server("--keep-predictions", "all") as (address, _):
        yield address


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> webdriver.Chrome:
    browser.get(address)
    browser.find_element(By.ID, "text").send_keys("A joy from the first scene to the last.")
    return browser


def press(page: webdriver.Chrome, text: str) -> None:
    page.find_element(By.XPATH, f"//form[@id='feedback']//button[text()='{text}']").click()


def wait_for(page: webdriver.Chrome, text: str) -> None:
    WebDriverWait(page, 20).until(lambda _: text in shown(page, "feedback"))


def stored(address: str) -> list[Any]:
    entries: list[Any] = ask(f"{address}/v1/feedback").body["feedback"]
    return entries


def test_correction_is_confirmed_and_undone(page: webdriver.Chrome, address: str) -> None:
    page.find_element(By.ID, "analyse").click()
    wait_for(page, "Was this right?")
    press(page, "No, negative")
    wait_for(page, "Thank you. Saved as negative.")
    (entry,) = stored(address)
    assert (entry["label"], entry["predicted"]["label"]) == ("negative", "positive")
    assert page.switch_to.active_element.text == "Undo"
    press(page, "Undo")
    wait_for(page, "Was this right?")
    assert stored(address) == []


def test_feedback_works_without_javascript(page: webdriver.Chrome, address: str) -> None:
    with without_javascript(page):
        page.get(address)
        page.find_element(By.ID, "text").send_keys("A bore.")
        page.find_element(By.ID, "analyse").click()
        press(page, "Yes, negative")
        wait_for(page, "Saved as negative.")
        assert [entry["label"] for entry in stored(address)] == ["negative"]
        press(page, "Undo")
        wait_for(page, "Was this right?")
        assert stored(address) == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_question_is_accessible_and_fits(
    page: webdriver.Chrome, width: int, colours: str, tmp_path: Path
) -> None:
    with screen(page, width), scheme(page, colours):
        page.find_element(By.ID, "analyse").click()
        wait_for(page, "Was this right?")
        assert not overflows(page)
        assert serious_faults(page) == []
        page.save_screenshot(str(tmp_path / "asked.png"))
        press(page, "No, negative")
        wait_for(page, "Saved")
        assert not overflows(page)
        assert serious_faults(page) == []
        press(page, "Undo")
        wait_for(page, "Was this right?")
