"""Files of reviews in a real Chromium, with a real server and the bundled model."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from reelsense import Classifier
from tests.processes import server
from tests.scoring import score_file
from tests.server.chromium import (
    chromium,
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

TEXTS = [
    "A joy from the first scene to the last, number {}.",
    "A dull, lazy mess, number {}.",
    "It has its moments, good ones and bad ones, number {}.",
    "",
    "<script>document.title = 'x'</script> <b>Fine</b> film, number {}.",
]


def write(path: Path, count: int, longer: int = 1) -> Path:
    """Write a table with `count` rows, of which every fifth is blank."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "site", "their words"])
        for n in range(count):
            table.writerow([n, f"site {n % 3}", TEXTS[n % 5].format(n) * longer])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with server("--database", f"sqlite:///{folder / 'jobs.db'}") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[webdriver.Chrome]:
    with chromium(folder / "profile") as driver:
        yield driver


def send(browser: webdriver.Chrome, address: str, file: Path) -> str:
    """Upload `file` on the page and return the address of the job."""
    browser.get(f"{address}/jobs")
    browser.find_element(By.ID, "file").send_keys(str(file))
    shown(browser, "preview")
    browser.find_element(By.ID, "send").click()
    shown(browser, "state")
    return browser.current_url


def is_done(browser: webdriver.Chrome) -> bool:
    return "Done" in shown(browser, "state")


def cells(browser: webdriver.Chrome, column: int) -> list[str]:
    """Return the texts of a column of the table."""
    script = (
        "return [...document.querySelectorAll('.rows tbody tr')]"
        ".map((row) => row.cells[arguments[0]]?.innerText)"
    )
    texts: list[str] = browser.execute_script(script, column)
    return texts


def caption(browser: webdriver.Chrome) -> str:
    """Return the caption of the table."""
    return str(browser.execute_script("return document.querySelector('caption').innerText"))


def test_file_is_uploaded_scored_and_downloaded(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    file = write(folder / "films.csv", 100)
    browser.get_log("browser")
    browser.get(f"{address}/jobs")
    browser.find_element(By.ID, "file").send_keys(str(file))
    assert "their words" in shown(browser, "preview")
    column = browser.find_element(By.CSS_SELECTOR, "#preview th input:checked")
    assert column.get_attribute("value") == "their words"
    assert len(browser.find_elements(By.CSS_SELECTOR, "#preview tbody tr")) == 5
    browser.find_element(By.ID, "send").click()
    WebDriverWait(browser, 30).until(lambda _: is_done(browser))
    assert "100 of 100 rows" in shown(browser, "state")
    assert "20 rows could not be scored" in shown(browser, "state")
    charts = browser.find_element(By.CLASS_NAME, "charts").text.split("\n")
    assert "not scored" in charts
    assert charts[charts.index("not scored") + 1] == "20 20.0 %"

    # The download equals the output of the command line.
    browser.find_element(By.LINK_TEXT, "Download results").click()
    download = folder / "profile" / "films-scored.csv"
    wait_until(download.exists, 20)
    score_file(Classifier.load(), file, folder / "predicted.csv", "their words")
    with (
        download.open(newline="") as actual,
        (folder / "predicted.csv").open(newline="") as expected,
    ):
        rows = list(csv.DictReader(actual))
        assert len(rows) == 100
        assert rows == list(csv.DictReader(expected))

    # Markup in the file stays text.
    assert browser.title == "films.csv: reelsense"
    assert "<b>Fine</b>" in cells(browser, 1)[4]
    assert not browser.find_elements(By.CSS_SELECTOR, ".rows b, .rows script")
    assert browser.get_log("browser") == []

    browser.get(f"{address}/jobs")
    assert re.search(
        r"^films\.csv uploaded on \d+ [A-Z][a-z]+, \d\d:\d\d UTC$", shown(browser, "recent"), re.M
    )


def test_table_is_filtered_searched_sorted_and_paged(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    page = send(browser, address, write(folder / "table.csv", 100))
    WebDriverWait(browser, 30).until(lambda _: is_done(browser))
    browser.get(page)
    assert len(cells(browser, 0)) == 25
    browser.find_element(By.LINK_TEXT, "Next").click()
    WebDriverWait(browser, 10).until(lambda _: cells(browser, 0)[0] == "26")
    browser.find_element(By.LINK_TEXT, "Positive").click()
    WebDriverWait(browser, 10).until(lambda _: cells(browser, 2)[0] == "negative")
    browser.find_element(By.PARTIAL_LINK_TEXT, "Positive").click()
    WebDriverWait(browser, 10).until(lambda _: cells(browser, 2)[0] == "positive")
    shares = [float(cell.split()[0]) for cell in cells(browser, 3)]
    assert shares == sorted(shares, reverse=True)
    browser.find_element(By.NAME, "search").send_keys("LAZY")
    WebDriverWait(browser, 10).until(lambda _: caption(browser) == "20 rows")
    assert all("lazy mess" in text for text in cells(browser, 1))
    browser.refresh()  # the URL contains the filters
    assert len(cells(browser, 1)) == 20
    browser.get(f"{page}?verdict=error")
    assert {cell.split(":")[0] for cell in cells(browser, 2)} == {"not scored"}
    browser.get(f"{page}?verdict=unsure")
    browser.find_element(By.CSS_SELECTOR, ".rows summary").click()
    browser.find_element(By.PARTIAL_LINK_TEXT, "explanation").click()
    assert shown(browser, "verdict") == "unsure"
    assert "It has its moments" in shown(browser, "review")


def sites(browser: webdriver.Chrome) -> list[str]:
    """Return the column "site" of the table."""
    script = "return [...document.querySelectorAll('td[data-name=site]')].map((e) => e.innerText)"
    names: list[str] = browser.execute_script(script)
    return names


def groups(browser: webdriver.Chrome) -> list[str]:
    """Return the names in the table of groups."""
    script = "return [...document.querySelectorAll('.groups tbody .name')].map((e) => e.innerText)"
    names: list[str] = browser.execute_script(script)
    return names


def test_summary_follows_search_filter_and_sorting(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    page = send(browser, address, write(folder / "groups.csv", 90))
    WebDriverWait(browser, 30).until(lambda _: is_done(browser))
    browser.get(page)
    browser.get_log("browser")
    assert "Of 36 rows with a verdict" in browser.find_element(By.CLASS_NAME, "findings").text
    assert groups(browser) == ["site 0", "site 1", "site 2"]
    browser.find_element(By.LINK_TEXT, "Share of positive").click()
    WebDriverWait(browser, 10).until(lambda _: "by=share" in browser.current_url)
    assert browser.find_element(By.CSS_SELECTOR, ".groups [aria-sort=descending]").text.startswith(
        "Share of positive"
    )
    browser.find_element(By.NAME, "search").send_keys("SITE 2")
    WebDriverWait(browser, 10).until(lambda _: caption(browser) == "30 rows")
    WebDriverWait(browser, 10).until(lambda _: groups(browser) == ["site 2"])
    assert set(sites(browser)) == {"site 2"}
    counts = browser.find_element(By.CLASS_NAME, "charts").text.split("\n")
    listed = {counts[n]: int(counts[n + 1].split()[0]) for n in range(1, 9, 2)}
    assert sum(listed.values()) == 30
    browser.refresh()  # the URL contains the search and the order
    assert groups(browser) == ["site 2"]
    with screen(browser, 390):  # the heads are not shown
        browser.get(page)
        Select(browser.find_element(By.NAME, "by")).select_by_visible_text("name")
        WebDriverWait(browser, 10).until(lambda _: groups(browser)[0] == "site 2")
    assert not browser.find_element(By.NAME, "by").is_displayed()
    browser.get(page)
    browser.find_element(By.LINK_TEXT, "site 1").click()
    WebDriverWait(browser, 10).until(lambda _: caption(browser) == "30 rows")
    assert set(sites(browser)) == {"site 1"}
    browser.find_element(By.CSS_SELECTOR, ".chips a").click()
    WebDriverWait(browser, 10).until(lambda _: caption(browser) == "90 rows")
    Select(browser.find_element(By.NAME, "group")).select_by_visible_text("id")
    WebDriverWait(browser, 10).until(lambda _: "By id" in shown(browser, "groups"))
    assert browser.get_log("browser") == []


def test_job_is_cancelled_and_deleted(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    page = send(browser, address, write(folder / "long.csv", 4000, longer=20))
    WebDriverWait(browser, 30).until(lambda _: " left" in shown(browser, "state"))
    browser.find_element(By.XPATH, "//button[text()='Cancel']").click()
    WebDriverWait(browser, 10).until(lambda _: "Cancelled" in shown(browser, "state"))
    assert browser.find_elements(By.LINK_TEXT, "Download partial results")
    assert page.rpartition("/")[2] in remembered(browser)
    press_delete(browser)
    WebDriverWait(browser, 10).until(lambda _: browser.current_url == f"{address}/jobs")
    wait_until(lambda: page.rpartition("/")[2] not in remembered(browser), 10)
    browser.get(page)
    assert "No such job" in browser.find_element(By.TAG_NAME, "main").text


def press_delete(browser: webdriver.Chrome) -> None:
    """Delete a job on its page, which asks for confirmation."""
    button = browser.find_element(By.XPATH, "//button[text()='Delete now']")
    assert not button.is_displayed()
    browser.find_element(By.CSS_SELECTOR, ".ask summary").click()
    assert ".csv and its results?" in browser.find_element(By.CSS_SELECTOR, ".ask p").text
    button.click()


def remembered(browser: webdriver.Chrome) -> str:
    """Return what the browser stores about its jobs."""
    return str(browser.execute_script("return localStorage.getItem('reelsense.jobs')"))


def delete(page: str) -> None:
    """Delete the job of a `page` over the API."""
    address, _, name = page.partition("/jobs/")
    request = Request(f"{address}/v1/jobs/{name}", method="DELETE")  # noqa: S310
    with urlopen(request, timeout=10) as answer:  # noqa: S310
        assert answer.status == 204


def test_recent_jobs_are_listed_and_cleared(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    deleted, existing = [
        send(browser, address, write(folder / name, 5)) for name in ("deleted.csv", "existing.csv")
    ]
    assert deleted.rpartition("/")[2] in remembered(browser)
    assert "deleted" not in remembered(browser)  # file names may be private
    delete(deleted)
    browser.get_log("browser")
    browser.get(f"{address}/jobs")
    assert "existing.csv" in shown(browser, "recent")
    assert "deleted.csv" not in shown(browser, "recent")
    wait_until(lambda: deleted.rpartition("/")[2] not in remembered(browser), 10)
    assert browser.get_log("browser") == []
    browser.find_element(By.LINK_TEXT, "existing.csv").click()
    WebDriverWait(browser, 10).until(lambda _: browser.current_url == existing)
    browser.get(f"{address}/jobs")
    shown(browser, "recent")
    browser.find_element(By.ID, "forget").click()
    assert not browser.find_element(By.ID, "recent").is_displayed()
    assert remembered(browser) == "[]"
    browser.get(existing)  # the job itself was not deleted
    assert "existing.csv" in shown(browser, "main")


def test_job_page_reports_deleted_job(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    delete(send(browser, address, write(folder / "gone.csv", 4000, longer=20)))
    WebDriverWait(browser, 10).until(lambda _: "No such job" in shown(browser, "main"))


def test_job_page_continues_after_restart_of_server(
    browser: webdriver.Chrome, folder: Path
) -> None:
    file = write(folder / "restart.csv", 1200, longer=5)
    options = ("--database", f"sqlite:///{folder / 'restart.db'}")
    with server(*options) as (address, _):
        page = send(browser, address, file)
        WebDriverWait(browser, 30).until(
            lambda _: re.search(r"[1-9]\d* of 1,200 rows \(", shown(browser, "state"))
        )
    port = address.rpartition(":")[2]
    with server("--port", port, *options):
        # The open page continues without a reload.
        assert browser.current_url == page
        WebDriverWait(browser, 60).until(lambda _: is_done(browser))
        assert "1,200 of 1,200 rows" in shown(browser, "state")
        (folder / "profile" / "restart-scored.csv").unlink(missing_ok=True)
        browser.find_element(By.LINK_TEXT, "Download results").click()
        download = folder / "profile" / "restart-scored.csv"
        wait_until(download.exists, 20)
    with download.open(newline="") as table:
        assert [row["id"] for row in csv.DictReader(table)] == [str(n) for n in range(1200)]


def test_job_works_without_javascript(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    file = write(folder / "plain.csv", 10)
    with without_javascript(browser):
        browser.get(f"{address}/jobs")
        browser.find_element(By.ID, "file").send_keys(str(file))
        browser.find_element(By.XPATH, "//button[text()='Analyse file']").click()
        assert "no column is called text or review" in shown(browser, "problem")
        browser.find_element(By.ID, "file").send_keys(str(file))
        browser.find_element(By.ID, "column").send_keys("their words")
        browser.find_element(By.XPATH, "//button[text()='Analyse file']").click()
        WebDriverWait(browser, 20).until(lambda _: is_done(browser))
        browser.get(f"{browser.current_url}?verdict=error")
        assert "is blank" in browser.find_element(By.CLASS_NAME, "rows").text
        press_delete(browser)
        WebDriverWait(browser, 10).until(lambda _: browser.current_url == f"{address}/jobs")


def test_job_applies_selected_risk(browser: webdriver.Chrome, address: str, folder: Path) -> None:
    browser.get(f"{address}/jobs")
    Select(browser.find_element(By.ID, "risk")).select_by_value("0.1")
    browser.find_element(By.ID, "file").send_keys(str(write(folder / "risk.csv", 10)))
    shown(browser, "preview")
    browser.find_element(By.ID, "send").click()
    WebDriverWait(browser, 30).until(lambda _: is_done(browser))
    assert "target error rate 10 %" in shown(browser, "state")
    assert set(cells(browser, 2)) <= {
        "positive",
        "negative",
        "not scored: 'their words' is blank",
    }


def test_unusable_files_are_rejected(browser: webdriver.Chrome, address: str, folder: Path) -> None:
    (folder / "a.xlsx").write_bytes(b"PK\x03\x04")
    (folder / "empty.csv").write_text("")
    for name, problem in (
        ("a.xlsx", "a.xlsx is not a readable .xlsx file"),
        ("empty.csv", "contains no rows"),
    ):
        browser.get(f"{address}/jobs")
        browser.find_element(By.ID, "file").send_keys(str(folder / name))
        assert problem in shown(browser, "problem")


def test_too_large_file_is_not_uploaded(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    huge = folder / "huge.csv"
    with huge.open("w") as file:
        file.truncate(112 * 2**20 - 5000)
    browser.get(f"{address}/jobs")
    browser.find_element(By.ID, "file").send_keys(str(huge))
    assert "huge.csv is 112 MB; the limit of this server is 100 MB" in shown(browser, "problem")
    assert not browser.find_element(By.ID, "preview").is_displayed()
    browser.find_element(By.ID, "file").send_keys(str(write(folder / "small.csv", 5)))
    shown(browser, "preview")
    assert not browser.find_element(By.ID, "problem").is_displayed()


def test_rows_in_other_encoding_show_warning(
    browser: webdriver.Chrome, address: str, folder: Path
) -> None:
    for name, encoding in (("windows.csv", "cp1252"), ("utf-8.csv", "utf-8")):
        (folder / name).write_text("id,text\n1,A caf\u00e9.\n", encoding=encoding)
        browser.get(f"{address}/jobs")
        browser.find_element(By.ID, "file").send_keys(str(folder / name))
        shown(browser, "preview")
        assert browser.find_element(By.ID, "undecoded").is_displayed() == (encoding == "cp1252")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_job_page_is_accessible_on_all_screens(
    browser: webdriver.Chrome, address: str, folder: Path, colours: str, width: int
) -> None:
    file = write(folder / "fit.csv", 60)
    with scheme(browser, colours), screen(browser, width):
        browser.get(f"{address}/jobs")
        browser.find_element(By.ID, "file").send_keys(str(file))
        shown(browser, "preview")
        assert serious_faults(browser) == []
        assert not overflows(browser)
        browser.find_element(By.ID, "send").click()
        WebDriverWait(browser, 30).until(lambda _: is_done(browser))
        browser.find_element(By.CSS_SELECTOR, ".ask summary").click()
        assert serious_faults(browser) == []
        assert not overflows(browser)
