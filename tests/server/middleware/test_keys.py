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
from reelsense.server.middleware import keys
from reelsense.server.middleware.keys import Key

A, B = (hashlib.sha256(secret).hexdigest() for secret in (b"a", b"b"))


def parse(text: str) -> list[Key]:
    return keys.parse({"the.keys": text})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"shop {A}", [Key("shop", A)]),
        (f"  shop\t{A}  \r\n", [Key("shop", A)]),
        (f"shop {A} 600/minute", [Key("shop", A, "600/minute")]),
        (f"shop {A} 600 / minute", [Key("shop", A, "600/minute")]),
        (f"shop {A} 10/second,600/hour", [Key("shop", A, "10/second,600/hour")]),
        (f"ops {A} admin", [Key("ops", A, admin=True)]),
        (f"ops {A} 5/second admin", [Key("ops", A, "5/second", admin=True)]),
        (f"ops {A} admin 5/second", [Key("ops", A, "5/second", admin=True)]),
        (f"admin {A}", [Key("admin", A)]),
        (f"shop {A} feedback", [Key("shop", A, feedback=True)]),
        (f"shop {A} feedback 5/second", [Key("shop", A, "5/second", feedback=True)]),
        (f"feedback {A}", [Key("feedback", A)]),
        (f"a.b-c_d@e.example {A}", [Key("a.b-c_d@e.example", A)]),
        (f"shop {A}  # of the shop, admin; since May\n", [Key("shop", A)]),
        (f"# old: shop {B}\nshop {A}", [Key("shop", A)]),
        (f"shop {A}\ntill {B} admin\n", [Key("shop", A), Key("till", B, admin=True)]),
        (f"shop {A} ; till {B} admin;", [Key("shop", A), Key("till", B, admin=True)]),
        (f"shop {A}\ntill {A}", [Key("shop", A), Key("till", A)]),
    ],
)
def test_parse_returns_keys(text: str, expected: list[Key]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", " \n\t\n;;\n", "# a comment\n  # another"])
def test_parse_rejects_text_without_keys(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(text)
    assert error.value.code == "no-keys"


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
        (f"shop {A} {LEAKED}", 1),
    ],
)
def test_malformed_key_error_names_line_but_shows_no_content(text: str, line: int) -> None:
    with pytest.raises(SettingsError) as error:
        parse(text)
    message = str(error.value)
    assert message.startswith(f"the.keys, line {line}: ")
    assert error.value.code == "malformed-key"
    for word in (LEAKED, A, B, A.upper(), A[:-1], "shop", "words", "schön"):
        assert word not in message


@pytest.mark.parametrize(
    "rate", ["often", "600", "600/", "-1/minute", "1.5/minute", "600/fortnight"]
)
def test_invalid_rate_error_names_line(rate: str) -> None:
    with pytest.raises(SettingsError, match=r"^the\.keys, line 2: .*N/minute") as error:
        parse(f"till {B}\nshop {A} {rate}")
    assert error.value.code == "malformed-key"


def test_parse_rejects_duplicate_name() -> None:
    with pytest.raises(SettingsError) as error:
        parse(f"shop {A}\ntill {A}\nshop {B} admin")
    assert error.value.code == "duplicate-key"
    assert str(error.value).startswith("the.keys, line 3: ")


Pieces = st.lists(
    st.sampled_from(
        [
            A,
            B,
            *(
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
            ),
        ]
    )
    | st.text(max_size=3)
).map("".join)


@given(st.text() | Pieces)
def test_any_text_gives_keys_or_settings_error(text: str) -> None:
    try:
        parsed = parse(text)
    except SettingsError:
        return
    assert len({key.name for key in parsed}) == len(parsed)
    assert parse("\n".join(key.line() for key in parsed)) == parsed
    assert parse(";".join(key.line() for key in parsed)) == parsed


Names = st.from_regex(r"[A-Za-z0-9_.@-]{1,64}", fullmatch=True)
Rates = st.none() | st.builds(
    "{}/{}".format, st.integers(1, 10**6), st.sampled_from(["second", "minute", "hour", "day"])
)


@given(Names, Rates, st.sampled_from([{}, {"admin": True}, {"feedback": True}]))
def test_made_key_is_parsed_and_found(
    name: str, rate: str | None, permission: dict[str, bool]
) -> None:
    secret, made = keys.make(name, rate, **permission)
    assert parse(made.line()) == [made]
    assert made == Key(name, made.digest, rate, **permission)
    assert keys.find([made], secret) == made
    assert secret not in repr(made)


def test_made_keys_have_256_bits_and_prefix() -> None:
    secrets = {keys.make("shop")[0] for _ in range(20)}
    assert len(secrets) == 20
    # 256 bits, as base64 has them
    assert all(secret.startswith("rs_") and len(secret) == 3 + 43 for secret in secrets)


@pytest.mark.parametrize("name", ["", "two words", "a;b", "a#b", "a\n", "schön", "x" * 65, "a/b"])
def test_make_rejects_invalid_name(name: str) -> None:
    with pytest.raises(InputError) as error:
        keys.make(name)
    assert error.value.code == "invalid-key-name"


@pytest.mark.parametrize(
    "rate", ["often", "600", "600/minute#", "600/minute;10/second", "600/minute\nshop", "9" * 5000]
)
def test_make_rejects_invalid_rate(rate: str) -> None:
    with pytest.raises(InputError) as error:
        keys.make("shop", rate)
    assert error.value.code == "invalid-rate"


MADE = [keys.make(f"key-{n}", admin=n == 2) for n in range(5)]
KNOWN = [key for _, key in MADE]


def test_find_matches_exact_keys_only() -> None:
    for secret, key in MADE:
        assert keys.find(KNOWN, secret) == key
        assert keys.find([], secret) is None
        assert keys.find([other for other in KNOWN if other != key], secret) is None
        for near in (secret[:-1], secret + "0", f" {secret}", secret.swapcase(), secret[3:]):
            assert keys.find(KNOWN, near) is None
        assert keys.find(KNOWN, key.digest) is None
        assert keys.find(KNOWN, key.name) is None


def test_find_compares_all_keys_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [keys.make(name) for name in ("one", "two", "three")]
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert keys.find([key for _, key in made], made[0][0]) == made[0][1]
    assert compared == [key.digest for _, key in made]


@given(st.text(st.characters(codec=None)))
def test_find_returns_none_for_any_other_string(text: str) -> None:
    assert keys.find(KNOWN, text) is None


@given(st.lists(st.text(st.characters(codec=None)), unique=True, max_size=6))
def test_find_distinguishes_several_keys(secrets: list[str]) -> None:
    known = [
        Key(str(n), hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest())
        for n, secret in enumerate(secrets)
    ]
    assert [keys.find(known, secret) for secret in secrets] == known


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A path for a keys file, with a umask under which new files are readable by everyone."""
    before = os.umask(0o022)
    yield tmp_path / "the.keys"
    os.umask(before)


def test_add_creates_file_readable_by_owner_only(file: Path) -> None:
    keys.add(file, Key("shop", A, "5/second"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == f"shop {A} 5/second\n"
    assert list(file.parent.iterdir()) == [file]


def test_add_keeps_file_mode(file: Path) -> None:
    keys.add(file, Key("shop", A))
    keys.add(file, Key("till", B))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    keys.add(file, Key("desk", B))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_temporary_file_is_readable_by_owner_only(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    replace = os.replace

    def record_mode(part: Path, path: Path) -> None:
        modes.append(stat.S_IMODE(part.stat().st_mode))
        replace(part, path)

    monkeypatch.setattr("os.replace", record_mode)
    keys.add(file, Key("shop", A))
    keys.add(file, Key("till", B))
    assert modes == [0o600, 0o600]


def test_add_keeps_symbolic_link(file: Path) -> None:
    keys.add(file, Key("shop", A))
    link = file.with_name("link.keys")
    link.symlink_to(file)
    keys.add(link, Key("till", B))
    assert [key.name for key in parse(file.read_text())] == ["shop", "till"]


@pytest.mark.parametrize("before", [f"# ours\nshop {A}\n", f"# ours\nshop {A}", f"# ours;shop {A}"])
def test_add_keeps_previous_content(file: Path, before: str) -> None:
    file.write_text(before)
    keys.add(file, Key("till", B, admin=True))
    assert file.read_text() == f"{before.rstrip()}\ntill {B} admin\n"


def test_add_rejects_duplicate_name_and_keeps_file(file: Path) -> None:
    keys.add(file, Key("shop", A))
    before = file.read_bytes(), file.stat()
    with pytest.raises(SettingsError, match=r"the\.keys, line 2: .* named shop"):
        keys.add(file, Key("shop", B))
    assert (file.read_bytes(), file.stat()) == before
    assert list(file.parent.iterdir()) == [file]


def test_add_keeps_file_that_is_not_a_keys_file(file: Path) -> None:
    file.write_text(f"{LEAKED}\n")
    with pytest.raises(SettingsError) as error:
        keys.add(file, Key("shop", A))
    assert "line 1" in str(error.value)
    assert LEAKED not in str(error.value)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"the\.keys: it is not a text file"):
        keys.add(file, Key("shop", A))
    assert file.read_bytes() == b"\xff\xfe"


def test_add_is_atomic(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.add(file, Key("shop", A))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(SettingsError, match="No space left"):
        keys.add(file, Key("till", B))
    assert file.read_text() == f"shop {A}\n"
    assert list(file.parent.iterdir()) == [file]


def test_add_rejects_unusable_path(file: Path) -> None:
    missing = file.parent / "missing"
    for path, message in (
        (missing / "the.keys", f"the folder {missing} does not exist"),
        (file.parent, f"cannot read and write {file.parent}: "),
    ):
        with pytest.raises(SettingsError, match=re.escape(message)):
            keys.add(path, Key("shop", A))
    assert not missing.exists()


def test_key_command_prints_key_to_stdout_and_hash_to_stderr() -> None:
    result = CliRunner().invoke(cli, ["key", "shop", "--rate-limit", "5/second", "--admin"])
    assert result.exit_code == 0
    secret = result.stdout.removesuffix("\n")
    (made,) = parse(result.stderr.split(": ")[1])
    assert made == Key("shop", hashlib.sha256(secret.encode()).hexdigest(), "5/second", admin=True)
    assert secret not in result.stderr


def test_key_command_adds_to_file(file: Path) -> None:
    secrets = []
    for name, *more in (
        ["shop", "--feedback"],
        ["till", "--rate-limit", "600/minute"],
        ["ops", "--admin"],
    ):
        result = CliRunner().invoke(cli, ["key", name, *more, "--keys-file", str(file)])
        assert result.exit_code == 0
        secrets.append(result.stdout.removesuffix("\n"))
        assert result.stderr.count("\n") == 1
        assert str(file) in result.stderr
        assert secrets[-1] not in result.stderr
    known = parse(file.read_text())
    assert [(key.name, key.rate, key.admin, key.feedback) for key in known] == [
        ("shop", None, False, True),
        ("till", "600/minute", False, False),
        ("ops", None, True, False),
    ]
    assert [keys.find(known, secret) for secret in secrets] == known
    assert not any(secret in file.read_text() for secret in secrets)


def test_key_is_admin_or_feedback() -> None:
    with pytest.raises(SettingsError) as error:
        parse(f"shop {A} feedback admin")
    assert error.value.code == "malformed-key"
    result = CliRunner().invoke(cli, ["key", "shop", "--admin", "--feedback"])
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    "arguments",
    [["shop"], ["two words"], ["till", "--rate-limit", "often"]],
    ids=["twice", "name", "rate"],
)
def test_key_command_prints_no_key_if_it_cannot_store_it(file: Path, arguments: list[str]) -> None:
    keys.add(file, Key("shop", A))
    result = CliRunner().invoke(cli, ["key", *arguments, "--keys-file", str(file)])
    assert isinstance(result.exception, InputError | SettingsError)
    assert result.stdout == ""
    assert file.read_text() == f"shop {A}\n"
