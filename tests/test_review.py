from hypothesis import given
from hypothesis import strategies as st

from reelsense.review import clean


def test_html_breaks_and_entities_are_read_as_a_person_would() -> None:
    assert clean("Good.<br /><br />Not great &amp; not bad") == "Good.  Not great & not bad"


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert clean("a\ud800b") == "a\ufffdb"


@given(st.text(alphabet=st.characters()))
def test_any_text_can_be_encoded_afterwards(text: str) -> None:
    clean(text).encode("utf-8")
