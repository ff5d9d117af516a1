import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from reelsense.cli import cli
from reelsense.errors import InputError, SettingsError
from reelsense.server.middleware import api_keys
from reelsense.server.middleware.api_keys import Key

A, B = (hashlib.sha256(secret).hexdigest() for secret in (b"a", b"b"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" \n\t\n;;\n", []),
        ("# nothing here\n  # nor here", []),
        (f"shop {A}", [Key("shop", A)]),
        (f"  shop\t{A}  \r\n", [Key("shop", A)]),
        (f"shop {A} 600/minute", [Key("shop", A, "600/minute")]),
        (f"shop {A} 600 / minute", [Key("shop", A, "600/minute")]),
        (f"shop {A} 10/second,600/hour", [Key("shop", A, "10/second,600/hour")]),
        (f"ops {A} admin", [Key("ops", A, admin=True)]),
        (f"ops {A} 5/second admin", [Key("ops", A, "5/second", admin=True)]),
        (f"ops {A} admin 5/second", [Key("ops", A, "5/second", admin=True)]),
        (f"admin {A}", [Key("admin", A)]),
        (f"a.b-c_d@e.example {A}", [Key("a.b-c_d@e.example", A)]),
        (f"shop {A}  # of the shop, admin", [Key("shop", A)]),
        (f"# old: shop {B}\nshop {A}", [Key("shop", A)]),
        (f"shop {A}\ntill {B} admin\n", [Key("shop", A), Key("till", B, admin=True)]),
        (f"shop {A} ; till {B} admin;", [Key("shop", A), Key("till", B, admin=True)]),
        (f"shop {A}\ntill {A}", [Key("shop", A), Key("till", A)]),
    ],
)
def test_what_is_read(text: str, found: list[Key]) -> None:
    assert api_keys.read(text, "the.keys") == found


LEAKED = "rs_Zq7-a-key-in-the-place-of-its-hash"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (LEAKED, 1),
        (f"{LEAKED} {A}x", 1),
        (f"shop {LEAKED}", 1),
        (f"\n# a comment\nshop {LEAKED}", 3),
        (f"till {B}; shop {LEAKED} admin", 1),
        (f"shop {A[:-1]}", 1),
        (f"shop {A.upper()}", 1),
        (f"shop {A}0", 1),
        (f"{A} shop", 1),
        (f"two words {A}", 1),
        (f"{'x' * 65} {A}", 1),
        (f"schön {A}", 1),
        (f"till {B}\n\nshop: {A}", 3),
    ],
)
def test_what_is_wrong_is_told_by_file_and_line_and_not_shown(text: str, line: int) -> None:
    with pytest.raises(SettingsError) as error:
        api_keys.read(text, "the.keys")
    message = str(error.value)
    assert message.startswith(f"the.keys, line {line}: ")
    assert error.value.code == "malformed-key"
    for word in (LEAKED, A, B, A.upper(), A[:-1], "shop", "words", "schön"):
        assert word not in message


@pytest.mark.parametrize(
    "rate", ["often", "600", "600/", "-1/minute", "1.5/minute", "600/fortnight"]
)
def test_a_rate_that_is_none_is_told_by_file_and_line(rate: str) -> None:
    with pytest.raises(SettingsError, match=r"^the\.keys, line 2: .*N/minute") as error:
        api_keys.read(f"till {B}\nshop {A} {rate}", "the.keys")
    assert error.value.code == "malformed-key"


def test_a_key_in_the_place_of_the_rate_is_not_shown() -> None:
    with pytest.raises(SettingsError) as error:
        api_keys.read(f"shop {A} {LEAKED}", "the.keys")
    assert LEAKED not in str(error.value)


def test_a_comment_ends_with_its_line() -> None:
    assert api_keys.read(f"shop {A}  # the shop; since May\n", "the.keys") == [Key("shop", A)]


def test_a_name_stands_there_once() -> None:
    with pytest.raises(SettingsError) as error:
        api_keys.read(f"shop {A}\ntill {A}\nshop {B} admin", "the.keys")
    assert error.value.code == "duplicate-key"
    assert str(error.value).startswith("the.keys, line 3: ")


Pieces = st.lists(
    st.sampled_from(
        [
            A,
            B,
            "shop",
            "till",
            "admin",
            "5/second",
            "per",
            "/",
            "9",
            "#",
            ";",
            "\n",
            " ",
            "\r",
            "\0",
        ]
    )
    | st.text(max_size=3)
).map("".join)


@given(st.text() | Pieces)
def test_any_text_is_keys_or_a_settings_error(text: str) -> None:
    found = read_or_told(text)
    if isinstance(found, str):
        assert found.startswith("the.keys, line ")
        return
    assert len({key.name for key in found}) == len(found)
    assert api_keys.read("\n".join(key.line() for key in found), "again") == found
    assert api_keys.read(";".join(key.line() for key in found), "again") == found


def read_or_told(text: str) -> list[Key] | str:
    """The keys of `text`, or what is said against it."""
    try:
        return api_keys.read(text, "the.keys")
    except SettingsError as error:
        return str(error)


Names = st.from_regex(r"[A-Za-z0-9_.@-]{1,64}", fullmatch=True)
Rates = st.none() | st.builds(
    "{}/{}".format, st.integers(1, 10**6), st.sampled_from(["second", "minute", "hour", "day"])
)


@given(Names, Rates, st.booleans())
def test_what_is_made_is_read_again_and_found(name: str, rate: str | None, admin: bool) -> None:
    secret, made = api_keys.make(name, rate, admin=admin)
    assert api_keys.read(made.line(), "") == [made]
    assert made == Key(name, made.digest, rate, admin)
    assert api_keys.find([made], secret) == made
    assert secret not in repr(made)


def test_keys_are_long_and_begin_so_that_scanners_know_them() -> None:
    secrets = {api_keys.make("shop")[0] for _ in range(20)}
    assert len(secrets) == 20
    # 256 bits, as base64 has them
    assert all(secret.startswith("rs_") and len(secret) == 3 + 43 for secret in secrets)


@pytest.mark.parametrize("name", ["", "two words", "a;b", "a#b", "a\n", "schön", "x" * 65, "a/b"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InputError) as error:
        api_keys.make(name)
    assert error.value.code == "invalid-key-name"


@pytest.mark.parametrize("rate", ["often", "600", "600/minute#", "600/minute\nshop", "9" * 5000])
def test_rates_that_are_none(rate: str) -> None:
    with pytest.raises(InputError) as error:
        api_keys.make("shop", rate)
    assert error.value.code == "invalid-rate"


def test_no_key_is_made_that_cannot_be_read_again() -> None:
    try:
        _, made = api_keys.make("shop", "600/minute;10/second")
    except InputError:
        return
    assert api_keys.read(made.line(), "") == [made]


MADE = [api_keys.make(f"key-{n}", admin=n == 2) for n in range(5)]
KNOWN = [key for _, key in MADE]


def test_every_key_is_found_and_what_is_nearly_one_is_not() -> None:
    for secret, key in MADE:
        assert api_keys.find(KNOWN, secret) == key
        assert api_keys.find([], secret) is None
        assert api_keys.find([other for other in KNOWN if other != key], secret) is None
        for near in (secret[:-1], secret + "0", f" {secret}", secret.swapcase(), secret[3:]):
            assert api_keys.find(KNOWN, near) is None
        assert api_keys.find(KNOWN, key.digest) is None
        assert api_keys.find(KNOWN, key.name) is None


def test_no_key_is_compared_in_a_time_that_tells_how_near_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [api_keys.make(name) for name in ("one", "two", "three")]
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert api_keys.find([key for _, key in made], made[0][0]) == made[0][1]
    assert compared == [key.digest for _, key in made]


@given(st.text(st.characters(codec=None)))
def test_no_other_string_is_a_key(text: str) -> None:
    assert api_keys.find(KNOWN, text) is None


@given(st.lists(st.text(st.characters(codec=None)), unique=True, max_size=6))
def test_each_of_several_is_told_from_the_others(secrets: list[str]) -> None:
    known = [
        Key(str(n), hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest())
        for n, secret in enumerate(secrets)
    ]
    assert [api_keys.find(known, secret) for secret in secrets] == known


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A place for a file of keys, where new files are for everyone to read."""
    before = os.umask(0o022)
    yield tmp_path / "the.keys"
    os.umask(before)


def test_a_new_file_is_for_its_owner_alone(file: Path) -> None:
    api_keys.add(file, Key("shop", A, "5/second"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == f"shop {A} 5/second\n"
    assert list(file.parent.iterdir()) == [file]


def test_whoever_may_read_a_file_may_read_it_with_one_key_more(file: Path) -> None:
    api_keys.add(file, Key("shop", A))
    api_keys.add(file, Key("till", B))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    api_keys.add(file, Key("desk", B))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_nor_may_others_read_it_while_it_is_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    replace = os.replace

    def seen(part: Path, path: Path) -> None:
        modes.append(stat.S_IMODE(part.stat().st_mode))
        replace(part, path)

    monkeypatch.setattr("os.replace", seen)
    api_keys.add(file, Key("shop", A))
    api_keys.add(file, Key("till", B))
    assert modes == [0o600, 0o600]


def test_a_link_to_the_file_stays_one(file: Path) -> None:
    api_keys.add(file, Key("shop", A))
    link = file.with_name("link.keys")
    link.symlink_to(file)
    api_keys.add(link, Key("till", B))
    assert [key.name for key in api_keys.read(file.read_text(), "")] == ["shop", "till"]


@pytest.mark.parametrize("before", [f"# ours\nshop {A}\n", f"# ours\nshop {A}", f"# ours;shop {A}"])
def test_what_was_there_stays_there(file: Path, before: str) -> None:
    file.write_text(before)
    api_keys.add(file, Key("till", B, admin=True))
    assert file.read_text() == f"{before.rstrip()}\ntill {B} admin\n"


def test_a_second_key_of_a_name_is_refused_and_the_file_stays(file: Path) -> None:
    api_keys.add(file, Key("shop", A))
    before = file.read_bytes(), file.stat()
    with pytest.raises(SettingsError, match=r"the\.keys, line 2: .* named shop"):
        api_keys.add(file, Key("shop", B))
    assert (file.read_bytes(), file.stat()) == before
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_is_no_file_of_keys_stays_as_it_is(file: Path) -> None:
    file.write_text(f"{LEAKED}\n")
    with pytest.raises(SettingsError) as error:
        api_keys.add(file, Key("shop", A))
    assert "line 1" in str(error.value)
    assert LEAKED not in str(error.value)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"the\.keys: it is not a text file"):
        api_keys.add(file, Key("shop", A))
    assert file.read_bytes() == b"\xff\xfe"


def test_a_file_is_written_whole_or_not_at_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api_keys.add(file, Key("shop", A))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(SettingsError, match="No space left"):
        api_keys.add(file, Key("till", B))
    assert file.read_text() == f"shop {A}\n"
    assert list(file.parent.iterdir()) == [file]


def test_a_place_where_no_file_can_be(file: Path) -> None:
    nowhere = file.parent / "nowhere"
    for path, said in (
        (nowhere / "the.keys", f"there is no folder {nowhere}"),
        (file.parent, f"cannot read and write {file.parent}: "),
    ):
        with pytest.raises(SettingsError, match=re.escape(said)):
            api_keys.add(path, Key("shop", A))
    assert not nowhere.exists()


def test_the_command_prints_the_key_once_and_its_hash_elsewhere() -> None:
    found = CliRunner().invoke(cli, ["key", "shop", "--rate-limit", "5/second", "--admin"])
    assert found.exit_code == 0
    secret = found.stdout.removesuffix("\n")
    (made,) = api_keys.read(found.stderr.split(": ")[1], "")
    assert made == Key("shop", hashlib.sha256(secret.encode()).hexdigest(), "5/second", admin=True)
    assert secret not in found.stderr


def test_the_command_adds_to_a_file(file: Path) -> None:
    secrets = []
    for name, *more in (["shop"], ["till", "--rate-limit", "600/minute"], ["ops", "--admin"]):
        found = CliRunner().invoke(cli, ["key", name, *more, "--keys-file", str(file)])
        assert found.exit_code == 0
        secrets.append(found.stdout.removesuffix("\n"))
        assert found.stderr.count("\n") == 1
        assert str(file) in found.stderr
        assert secrets[-1] not in found.stderr
    known = api_keys.read(file.read_text(), "")
    assert [(key.name, key.rate, key.admin) for key in known] == [
        ("shop", None, False),
        ("till", "600/minute", False),
        ("ops", None, True),
    ]
    assert [api_keys.find(known, secret) for secret in secrets] == known
    assert not any(secret in file.read_text() for secret in secrets)


@pytest.mark.parametrize(
    "asked",
    [["shop"], ["two words"], ["till", "--rate-limit", "often"]],
    ids=["twice", "name", "rate"],
)
def test_where_no_key_is_kept_none_is_shown(file: Path, asked: list[str]) -> None:
    api_keys.add(file, Key("shop", A))
    found = CliRunner().invoke(cli, ["key", *asked, "--keys-file", str(file)])
    assert isinstance(found.exception, InputError | SettingsError)
    assert found.stdout == ""
    assert file.read_text() == f"shop {A}\n"
