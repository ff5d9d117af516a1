import re

from flask.testing import FlaskClient


def test_the_page_and_what_it_loads_come_from_here(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    text = page.get_data(as_text=True)
    loaded = re.findall(r'(?:src|href)="(/[^"]+)"', text)
    assert [path.rpartition("/")[2] for path in loaded] == [
        "page.css",
        "page.js",
        "docs",
    ]
    for path in loaded:
        with client.get(path) as answer:
            assert answer.status_code == 200
            text += answer.get_data(as_text=True)
    assert not re.search(r"https?:|[\"'(]//|@import", text)
