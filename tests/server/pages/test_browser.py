"""The pages in a real Chromium, with a real server and the bundled model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import (
    element_to_be_clickable,
    text_to_be_present_in_element,
)
from selenium.webdriver.support.ui import Select, WebDriverWait

from reelsense.bundle import DEFAULT_BUNDLE, read_bundle, write_bundle
from reelsense.server.middleware import keys
from tests.evaluation.records import make
from tests.processes import ask, server
from tests.server.chromium import (
    needs_chromium,
    overflows,
    scheme,
    screen,
    serious_faults,
    shown,
    touch,
    without_javascript,
)

pytestmark = needs_chromium

# Milliseconds until the first contentful paint.
PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"

# Bytes of the page and everything that it loaded.
WEIGHT = """
return ["navigation", "resource"]
  .flatMap((type) => performance.getEntriesByType(type))
  .reduce((sum, entry) => sum + entry.transferSize, 0)
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundled model with the evaluation of a tiny one, which has real plots."""
    folder = tmp_path_factory.mktemp("evaluated") / "bundle"
    write_bundle(folder, replace(read_bundle(DEFAULT_BUNDLE), evaluation=make().to_json()))
    return folder


@pytest.fixture(scope="module")
def address(evaluated: Path) -> Iterator[str]:
    with server("--model", str(evaluated)) as (address, _):
        yield address


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> webdriver.Chrome:
    browser.get(address)
    return browser


def analyse(page: webdriver.Chrome, text: str) -> None:
    page.find_element(By.ID, "text").send_keys(text)
    page.find_element(By.ID, "analyse").click()


@pytest.mark.parametrize(
    ("text", "label"),
    [("A joy from the first scene to the last.", "positive"), ("A dull, lazy mess.", "negative")],
)
def test_review_gets_verdict(page: webdriver.Chrome, text: str, label: str) -> None:
    analyse(page, text)
    assert shown(page, "verdict") == label
    assert "the whole text" in shown(page, "details")
    assert "of 10 stars" in page.find_element(By.CLASS_NAME, "stars").text
    gauge = page.find_element(By.CLASS_NAME, "gauge").get_attribute("aria-label")
    assert gauge is not None
    share = float(gauge.split()[-2])
    assert (share > 96) == (label == "positive")
    needle = page.find_element(By.CSS_SELECTOR, "path.needle").get_attribute("transform")
    assert needle is not None
    assert float(needle.split("(")[1].split()[0]) == pytest.approx(1.8 * share, abs=0.3)
    assert not page.find_element(By.ID, "problem").is_displayed()


def test_unsure_verdict_is_shown(page: webdriver.Chrome) -> None:
    analyse(page, "It has its moments, good ones and bad ones.")
    assert shown(page, "verdict") == "unsure"
    assert "Most probable label: positive" in shown(page, "confidence")


def copied(page: webdriver.Chrome, button: str, address: str) -> str:
    """Click a button that copies, and return the content of the clipboard."""
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    page.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": permissions, "origin": address}
    )
    page.find_element(By.ID, button).click()
    WebDriverWait(page, 5).until(lambda _: "copied" in shown(page, button))
    script = "navigator.clipboard.readText().then(arguments[0])"
    text: str = page.execute_async_script(script)
    return text


def test_link_to_a_result_shows_it_again(page: webdriver.Chrome, address: str) -> None:
    choose(page, "10 %")
    analyse(page, "It has its moments & good ones.\nBut +1 bad.")
    verdict, confidence = shown(page, "verdict"), shown(page, "confidence")
    link = copied(page, "copy-link", address)
    assert link.startswith(f"{address}/#")
    page.get("about:blank")
    page.get(link)
    assert (shown(page, "verdict"), shown(page, "confidence")) == (verdict, confidence)
    assert Select(page.find_element(By.ID, "risk")).first_selected_option.text == "10 %"
    value = page.find_element(By.ID, "text").get_attribute("value")
    assert value == "It has its moments & good ones.\nBut +1 bad."


def test_copied_json_is_the_response_of_the_api(page: webdriver.Chrome, address: str) -> None:
    analyse(page, "A lovely film.")
    shown(page, "verdict")
    body = {"text": "A lovely film.", "risk": 0.02}
    assert json.loads(copied(page, "copy-json", address)) == ask(f"{address}/v1/predict", body).body


def test_history_lists_recent_texts_until_it_is_cleared(page: webdriver.Chrome) -> None:
    page.execute_script("localStorage.clear()")
    page.refresh()
    assert not page.find_element(By.ID, "history").is_displayed()
    for text in ("A lovely film.", "A <b>dull</b> mess."):
        page.find_element(By.ID, "text").clear()
        analyse(page, text)
        wait = WebDriverWait(page, 20)
        wait.until(text_to_be_present_in_element((By.ID, "history"), text))
    page.refresh()
    first, second = page.find_elements(By.CSS_SELECTOR, "#history li")
    assert re.fullmatch(r"negative\s+\d+\.\d %\s+A <b>dull</b> mess.", first.text)
    second.find_element(By.TAG_NAME, "a").click()
    assert shown(page, "verdict") == "positive"
    page.find_element(By.ID, "clear").click()
    assert not page.find_element(By.ID, "history").is_displayed()
    assert page.execute_script("return localStorage.getItem('reelsense.history')") == "[]"


@pytest.mark.parametrize("stored", ["{", "{}", "[1, null]", '[{"text": 3}]'])
def test_damaged_history_is_ignored(page: webdriver.Chrome, stored: str) -> None:
    page.execute_script("localStorage.setItem('reelsense.history', arguments[0])", stored)
    page.refresh()
    analyse(page, "A lovely film.")
    assert shown(page, "verdict") == "positive"


def choose(page: webdriver.Chrome, risk: str) -> None:
    Select(page.find_element(By.ID, "risk")).select_by_visible_text(risk)


def test_selected_risk_determines_threshold(page: webdriver.Chrome) -> None:
    chosen = Select(page.find_element(By.ID, "risk")).first_selected_option
    assert chosen.text == "2 %"
    text = "It has its moments, good ones and bad ones."
    analyse(page, text)
    assert shown(page, "verdict") == "unsure"
    assert shown(page, "threshold-note").startswith(
        "Unsure below 96.3 %, to meet a target error rate of 2 %"
    )
    choose(page, "10 %")  # which analyses the review again
    WebDriverWait(page, 20).until(
        lambda _: shown(page, "threshold-note").startswith("Never unsure")
    )
    assert shown(page, "verdict") != "unsure"


def test_selected_risk_works_without_javascript(browser: webdriver.Chrome, address: str) -> None:
    with without_javascript(browser):
        browser.get(address)
        choose(browser, "10 %")
        analyse(browser, "It has its moments, good ones and bad ones.")
        assert shown(browser, "threshold-note").startswith("Never unsure")
        chosen = Select(browser.find_element(By.ID, "risk")).first_selected_option
        assert chosen.text == "10 %"


def test_sentence_shows_weight_for_mouse_keyboard_and_screen_reader(
    page: webdriver.Chrome,
) -> None:
    analyse(page, "The music is lovely, and so is she. The plot is a dull, lazy mess. I went home.")
    shown(page, "review")
    first, second, *_ = page.find_elements(By.CSS_SELECTOR, "#review .s")
    assert "for" in (first.get_attribute("class") or "").split()
    assert {"against", "s4", "decisive"} <= set((second.get_attribute("class") or "").split())
    value = second.find_element(By.CLASS_NAME, "value")

    def is_shown() -> bool:
        return int(value.size["width"]) > 50 and value.value_of_css_property("clip-path") == "none"

    assert not is_shown()
    ActionChains(page).move_to_element(second).perform()
    WebDriverWait(page, 5).until(lambda _: is_shown())
    assert re.search(r"Without this sentence: \d+\.\d % positive\. Weight \u2212\d", value.text)
    ActionChains(page).move_to_element(page.find_element(By.TAG_NAME, "h1")).perform()
    WebDriverWait(page, 5).until(lambda _: not is_shown())
    first.send_keys("")  # scrolls to it
    page.execute_script("arguments[0].focus()", first)
    ActionChains(page).send_keys(Keys.TAB).perform()
    assert page.switch_to.active_element == second
    assert is_shown()
    assert "Weight" in (second.get_attribute("textContent") or "")
    assert "would be positive" in shown(page, "counterfactual")


def test_keyboard_submits_form(page: webdriver.Chrome) -> None:
    page.find_element(By.ID, "text").send_keys("Wonderful!", Keys.CONTROL, Keys.ENTER)
    assert shown(page, "verdict") == "positive"


@pytest.mark.parametrize(("phone", "width"), [(False, 1280), (True, 1280), (False, 390)])
def test_hints_match_input_device(
    browser: webdriver.Chrome, address: str, phone: bool, width: int
) -> None:
    with touch(browser) if phone else nullcontext(), screen(browser, width):
        browser.get(address)
        by_mouse = not phone and width > 600
        assert ("Ctrl + Enter" in browser.find_element(By.ID, "form").text) == by_mouse
        analyse(browser, "A dull, lazy mess.")
        shown(browser, "review")
        legend = browser.find_element(By.CLASS_NAME, "legend").text
        assert ("Point at a sentence" in legend) == by_mouse
        assert ("Tap a sentence" in legend) != by_mouse
        assert "A stronger colour means a larger weight;" in legend


def test_example_is_analysed_with_one_click(page: webdriver.Chrome) -> None:
    page.find_element(By.LINK_TEXT, "Negative").click()
    assert shown(page, "verdict") == "negative"
    assert "Two hours" in str(page.find_element(By.ID, "text").get_property("value"))


def test_pasting_20_000_characters_stays_smooth(page: webdriver.Chrome) -> None:
    text = ("The plot is thin. The songs are lovely, and I laughed a lot. " * 400)[:20_000]
    # Longest time in which the page could not have painted, in milliseconds.
    page.execute_script(
        """
        window.worst = 0;
        new PerformanceObserver((list) => {
          for (const { duration } of list.getEntries()) worst = Math.max(worst, duration);
        }).observe({ type: "longtask" });
        const field = document.getElementById("text");
        field.focus();
        document.execCommand("insertText", false, arguments[0]);
    """,
        text,
    )
    page.find_element(By.ID, "analyse").click()
    assert shown(page, "verdict")
    shown(page, "review", 60)
    assert page.execute_script("return document.getElementById('text').value.length") == 20_000
    assert page.execute_script("return worst") < 500


def test_blank_review_shows_problem_until_next_review(page: webdriver.Chrome) -> None:
    analyse(page, "   ")
    assert shown(page, "problem") == "Write or paste the review first."
    page.find_element(By.ID, "text").clear()
    analyse(page, "Wonderful!")
    assert shown(page, "verdict") == "positive"
    assert not page.find_element(By.ID, "problem").is_displayed()


def test_unreachable_server_is_reported(browser: webdriver.Chrome) -> None:
    with server() as (address, _):
        browser.get(address)
    analyse(browser, "Wonderful!")
    assert shown(browser, "problem") == "Cannot reach the server."


def test_markup_in_review_stays_text(page: webdriver.Chrome) -> None:
    evil = "<img src=x onerror=\"document.title='x'\"><script>document.title='y'</script>"
    analyse(page, f"{evil} A fine film. <b>Truly</b> fine.")
    assert "<img src=x" in shown(page, "review")
    assert not page.find_elements(By.CSS_SELECTOR, "#review img, #review script, #review b")
    assert page.title == "reelsense"


def test_form_works_without_javascript(browser: webdriver.Chrome, address: str) -> None:
    with without_javascript(browser):
        browser.get(address)
        analyse(browser, "The plot is a mess. But the songs are lovely.")
        assert shown(browser, "verdict")
        assert shown(browser, "review").startswith("The plot is a mess.")
        assert browser.find_element(By.ID, "text").text.startswith("The plot")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_accessible_on_all_screens(
    browser: webdriver.Chrome, address: str, colours: str, width: int
) -> None:
    with scheme(browser, colours), screen(browser, width):
        browser.get(address)
        analyse(browser, "The music is lovely, and so is she. The plot is a dull, lazy mess.")
        shown(browser, "review")
        assert serious_faults(browser) == []
        assert not overflows(browser)
        paper = browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        assert (lightness(paper) < 60) == (colours == "dark")
        for path in ("/jobs", "/model", "/docs/errors", "/nowhere"):
            browser.get(address + path)
            assert serious_faults(browser) == [], path
            assert not overflows(browser), path


def test_pages_paint_early_and_are_small(browser: webdriver.Chrome, address: str) -> None:
    for path in ("/", "/jobs", "/model"):
        browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        browser.get(address + path)
        if path == "/model":
            for picture in browser.find_elements(By.CSS_SELECTOR, ".plot img"):
                browser.execute_script("arguments[0].scrollIntoView()", picture)
        paint = WebDriverWait(browser, 10).until(lambda _: browser.execute_script(PAINT))
        assert paint < 1000, path
        assert browser.execute_script(WEIGHT) < 150_000, path


def test_api_documentation_loads_only_local_files(page: webdriver.Chrome, address: str) -> None:
    page.get_log("browser")
    page.get(f"{address}/docs")
    wait = WebDriverWait(page, 20)
    wait.until(lambda _: page.find_elements(By.CLASS_NAME, "opblock"))
    page.find_element(By.CSS_SELECTOR, "#operations-reelsense-predict button").click()
    for name in ("try-out__btn", "execute"):
        wait.until(element_to_be_clickable((By.CLASS_NAME, name))).click()
    responses = wait.until(
        lambda _: page.find_elements(By.CSS_SELECTOR, ".live-responses-table .response")
    )
    assert '"verdict": "negative"' in responses[0].text
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert all(name.startswith((address, "data:")) for name in page.execute_script(script))
    assert page.get_log("browser") == []


@pytest.mark.parametrize("width", [1280, 390])
def test_api_documentation_has_navigation(
    browser: webdriver.Chrome, address: str, width: int
) -> None:
    with scheme(browser, "dark"), screen(browser, width):
        browser.get(f"{address}/docs")
        WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.CLASS_NAME, "opblock"))
        assert not overflows(browser)
        text = browser.find_element(By.CSS_SELECTOR, ".opblock-summary-path, .info p")
        assert lightness(text.value_of_css_property("color")) > 150  # on dark
        assert browser.find_element(By.CSS_SELECTOR, "nav [aria-current]").text == "API"
        browser.find_element(By.LINK_TEXT, "Single review").click()
        WebDriverWait(browser, 10).until(lambda _: browser.current_url == f"{address}/")
    with without_javascript(browser):
        browser.get(f"{address}/docs")
        assert browser.find_element(By.LINK_TEXT, "OpenAPI document").is_displayed()
        assert browser.find_element(By.LINK_TEXT, "Model").is_displayed()


def lightness(colour: str) -> int:
    """Return the red component of a CSS colour."""
    return int(re.findall(r"\d+", colour)[0])


def test_review_page_loads_only_local_files(
    page: webdriver.Chrome, address: str, tmp_path: Path
) -> None:
    page.get_log("browser")
    page.get(address)
    analyse(page, "A fine film.")
    shown(page, "review")
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert all(name.startswith((address, "data:")) for name in page.execute_script(script))
    assert page.get_log("browser") == []


def test_plots_are_drawn_and_report_is_styled(page: webdriver.Chrome, address: str) -> None:
    page.get_log("browser")
    page.get(f"{address}/model")
    pictures = page.find_elements(By.CSS_SELECTOR, ".plot img")
    assert len(pictures) >= 8
    for picture in pictures:
        page.execute_script("arguments[0].scrollIntoView()", picture)
    WebDriverWait(page, 20).until(
        lambda _: all(picture.get_property("naturalWidth") == 480 for picture in pictures)
    )
    # Some pixels are blue: without the styles inside the plot, its bars would be black.
    script = """const canvas = document.createElement("canvas").getContext("2d");
        canvas.drawImage(arguments[0], 0, 0);
        return [...canvas.getImageData(0, 0, 480, 400).data]
            .some((value, n, all) => n % 4 == 2 && all[n + 1] == 255 && value > all[n - 2] + 100)"""
    assert page.execute_script(script, pictures[0])
    page.find_element(By.CSS_SELECTOR, ".plot a").click()
    WebDriverWait(page, 20).until(lambda _: "/model/report#" in page.current_url)
    nav = page.find_element(By.TAG_NAME, "nav")
    assert nav.value_of_css_property("display") == "flex"
    nav.find_element(By.LINK_TEXT, "Model card").click()
    WebDriverWait(page, 20).until(lambda _: page.current_url == f"{address}/model/MODEL_CARD.md")
    assert page.get_log("browser") == []


@pytest.fixture
def keyed(tmp_path: Path, evaluated: Path) -> Iterator[tuple[str, str]]:
    """The address of a server with keys, and one of them."""
    secret, key = keys.make("shop")
    keys.add(tmp_path / "keys", key)
    options = ("--model", str(evaluated), "--keys-file", str(tmp_path / "keys"))
    with server(*options) as (address, _):
        yield address, secret


def test_sign_in_with_key(browser: webdriver.Chrome, keyed: tuple[str, str]) -> None:
    address, secret = keyed
    browser.get_log("browser")
    browser.get(address)
    assert browser.current_url == f"{address}/sign-in"
    browser.find_element(By.ID, "key").send_keys("rs_guessed", Keys.ENTER)
    assert "Invalid key" in shown(browser, "problem")
    browser.get_log("browser")  # drops the 401
    browser.find_element(By.ID, "key").send_keys(secret, Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.ID, "text"))
    analyse(browser, "Wonderful!")
    assert shown(browser, "verdict") == "positive"
    assert browser.execute_script("return document.cookie") == ""
    # Links in the sandboxed report send the session cookie.
    browser.get(f"{address}/model/report")
    browser.find_element(By.LINK_TEXT, "Model card").click()
    WebDriverWait(browser, 20).until(lambda _: "minilm-l6-movies" in browser.page_source)
    assert browser.find_element(By.TAG_NAME, "pre").text.startswith("---")
    browser.get(address)
    assert "Signed in as shop" in browser.find_element(By.TAG_NAME, "footer").text
    assert browser.get_log("browser") == []
    browser.find_element(By.CSS_SELECTOR, "footer button").click()
    WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.ID, "key"))
    browser.get(address)
    assert browser.current_url == f"{address}/sign-in"


def test_ended_session_is_reported(browser: webdriver.Chrome, keyed: tuple[str, str]) -> None:
    address, secret = keyed
    browser.get(address)
    browser.find_element(By.ID, "key").send_keys(secret, Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.ID, "text"))
    browser.delete_all_cookies()
    analyse(browser, "Wonderful!")
    assert "sign in again" in shown(browser, "problem")
