"""Models with other labels than positive and negative, in a real Chromium with a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from reelsense.bundle import Bundle, write_bundle
from tests import any_labels
from tests.processes import server
from tests.server.chromium import (
    needs_chromium,
    overflows,
    scheme,
    screen,
    serious_faults,
    shown,
)
from tests.waiting import wait_until

pytestmark = needs_chromium

ROWS = {
    "tickets": ["charged for an invoice", "a crash and an error", "great, thanks"],
    "stars": [
        "awful awful",
        "bad bad",
        "fair fair",
        "good good",
        "nice nice",
        "great great",
        "joy joy",
    ],
}


@pytest.fixture(scope="module", params=["tickets", "stars"])
def model(request: pytest.FixtureRequest) -> Bundle:
    if request.param == "tickets":
        return any_labels.tickets()
    return any_labels.bundle(any_labels.STARS, name="stars")


@pytest.fixture(scope="module")
def address(model: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("labels")
    write_bundle(folder / "bundle", model)
    database = f"sqlite:///{folder / 'jobs.db'}"
    with server("--model", str(folder / "bundle"), "--database", database) as (address, _):
        yield address


@pytest.fixture(scope="module")
def job(
    model: Bundle, address: str, browser: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Upload one row for each label, and return the address of the finished job."""
    path = tmp_path_factory.mktemp("file") / "rows.csv"
    path.write_text("\n".join(["body", *(f'"{row}"' for row in ROWS[model.manifest.name])]))
    browser.get(f"{address}/jobs")
    browser.find_element(By.ID, "file").send_keys(str(path))
    shown(browser, "send")
    browser.find_element(By.ID, "send").click()
    wait_until(lambda: "<strong>Done</strong>" in browser.page_source)
    browser.refresh()
    return browser.current_url


def colour(browser: webdriver.Chrome, selector: str, name: str) -> list[str]:
    script = (
        "return [...document.querySelectorAll(arguments[0])]"
        ".map((element) => getComputedStyle(element)[arguments[1]])"
    )
    colours: list[str] = browser.execute_script(script, selector, name)
    return colours


def test_page_for_one_text_uses_labels_and_unit(
    browser: webdriver.Chrome, address: str, model: Bundle
) -> None:
    manifest = model.manifest
    browser.get(address)
    assert browser.find_element(By.TAG_NAME, "h1").text == manifest.heading
    chips = browser.find_elements(By.CSS_SELECTOR, "#examples a")
    assert [chip.text for chip in chips] == list(manifest.examples)
    text = ROWS[manifest.name][1]
    if chips:
        chips[1].click()
    else:
        browser.find_element(By.ID, "text").send_keys(text)
        browser.find_element(By.ID, "analyse").click()
    label = manifest.labels[1]
    assert shown(browser, "verdict") == label.capitalize() or shown(browser, "verdict") == label
    shown(browser, "why-title")
    assert f"supports {label}" in browser.find_element(By.CLASS_NAME, "legend").text
    listed = [element.text for element in browser.find_elements(By.CSS_SELECTOR, ".others dt")]
    assert sorted(listed) == sorted(manifest.labels)
    [verdict] = colour(browser, "#verdict", "color")
    assert verdict == colour(browser, ".others rect", "fill")[listed.index(label)]
    page = browser.find_element(By.TAG_NAME, "body").text
    assert not any(word in page for word in ("positive", "negative", "review", "stars"))


def test_job_page_has_columns_and_colours_of_the_labels(
    browser: webdriver.Chrome, job: str, model: Bundle
) -> None:
    browser.get(job)
    labels = model.manifest.labels
    heads = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, ".rows th")]
    assert heads == ["Row \u2191", "Text", "Verdict", "Probability"]
    verdicts = browser.find_elements(By.CSS_SELECTOR, ".rows strong")
    assert [verdict.text for verdict in verdicts] == list(labels)
    bars = dict(
        zip(
            [name.text for name in browser.find_elements(By.CSS_SELECTOR, ".bars dt")],
            colour(browser, ".bars rect", "fill"),
            strict=True,
        )
    )
    assert set(bars) == {*labels, "unsure"}
    assert colour(browser, ".rows strong", "color") == [bars[label] for label in labels]
    assert len(set(bars.values())) >= min(len(labels), 5) + 1
    sort = Select(browser.find_element(By.NAME, "sort"))
    assert [option.text for option in sort.options] == [
        "row",
        "probability of the label",
        "verdict",
    ]
    assert {"positive", "review"}.isdisjoint(browser.find_element(By.TAG_NAME, "main").text.split())


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["light", "dark"])
def test_pages_fit_and_are_accessible(
    browser: webdriver.Chrome, address: str, job: str, model: Bundle, width: int, name: str
) -> None:
    text = " ".join(f"{row}." for row in ROWS[model.manifest.name])
    with screen(browser, width), scheme(browser, name):
        for url in (job, f"{address}/jobs", f"{address}/model", address):
            browser.get(url)
            if url == address:
                browser.find_element(By.ID, "text").send_keys(f"{text} {text.split('.')[0]}")
                browser.find_element(By.ID, "analyse").click()
                shown(browser, "why-title")
            assert not overflows(browser), url
            assert serious_faults(browser) == [], url
