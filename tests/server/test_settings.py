import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr

from reelsense.errors import SettingsError
from reelsense.server.settings import GROUPS, Settings
from reelsense.server.settings_sources import EffectiveSettings, read_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "serve.toml"
    path.write_text("port = 1\nmax_texts = 2\nmax_characters = 3\ndeadline = 4\n")
    return path


def test_flags_override_environment_override_file(file: Path) -> None:
    environment = {"REELSENSE_MAX_TEXTS": "20", "REELSENSE_PORT": "10", "REELSENSE_CACHE_SIZE": ""}
    effective = read_settings({"port": "100"}, environment, file)
    assert effective.settings == Settings(port=100, max_texts=20, max_characters=3, deadline=4)
    assert effective.origins == {
        "port": "--port",
        "max_texts": "REELSENSE_MAX_TEXTS",
        "max_characters": str(file),
        "deadline": str(file),
    }


def test_environment_variable_names_file(file: Path) -> None:
    assert read_settings({}, {"REELSENSE_CONFIG": str(file)}).settings.port == 1
    assert read_settings({}, {"REELSENSE_CONFIG": ""}).settings == Settings()


def test_environment_variables_are_converted() -> None:
    environment = {
        "REELSENSE_MODEL": "some/folder",
        "REELSENSE_DEADLINE": "0.5",
        "REELSENSE_LOG_LEVEL": "debug",
        "HOME": "/home/somebody",
    }
    settings = read_settings({}, environment).settings
    assert settings == Settings(model="some/folder", deadline=0.5, log_level="debug")


@pytest.mark.parametrize(
    ("flags", "environment", "faults"),
    [
        ({"port": "x"}, {}, ['--port: invalid value "x": expected a whole number']),
        (
            {},
            {"REELSENSE_LOG_TEXTS": "x"},
            ['REELSENSE_LOG_TEXTS: invalid value "x": expected true or false'],
        ),
        ({"deadline": "x"}, {}, ['--deadline: invalid value "x": expected a number']),
        (
            {"secret": "short"},
            {},
            ["--secret: invalid value: expected at least 16 characters", "`openssl rand"],
        ),
        ({"port": "65536", "max_texts": "0"}, {}, ["--port: ", "65535", "--max-texts: "]),
        ({}, {"REELSENSE_DEADLINE": "inf"}, ["REELSENSE_DEADLINE: ", "86400"]),
        ({}, {"REELSENSE_DEADLINE": "nan"}, ["REELSENSE_DEADLINE: ", "86400"]),
        ({}, {"REELSENSE_LOG_LEVEL": "loud"}, ["REELSENSE_LOG_LEVEL: ", "'debug'"]),
        (
            {"keep_predictions": "some", "keep_days": "0"},
            {},
            ['--keep-predictions: invalid value "some": expected all, unsure,', "--keep-days: "],
        ),
        ({}, {"REELSENSE_PROT": "1"}, ["REELSENSE_PROT: ", "did you mean REELSENSE_PORT?"]),
        ({}, {"REELSENSE_ZZZ": "1"}, ["REELSENSE_ZZZ: unknown setting"]),
        ({}, {"REELSENSE_PORT": "tcp://10.0.0.1:80"}, ["REELSENSE_PORT: ", "enableServiceLinks"]),
        ({}, {"REELSENSE_SERVICE_HOST": "10.0.0.1"}, ["SERVICE_HOST: ", "enableServiceLinks"]),
    ],
)
def test_invalid_value_error_names_source(
    flags: dict[str, str], environment: dict[str, str], faults: list[str]
) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(flags, environment)
    for fault in faults:
        assert fault in str(error.value)


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ('port = "5000"', ['serve.toml: port: invalid value "5000": expected a whole number']),
        ("port = true\nmax_body = 1.5", ["serve.toml: port: ", "serve.toml: max_body: "]),
        ("max-texts = 3", ["serve.toml: max-texts: unknown setting", "did you mean max_texts?"]),
        ("[server]\nport = 3", ["serve.toml: server: unknown setting"]),
        ("model = 3", ["serve.toml: model: "]),
        ("port = ", ["serve.toml is not valid TOML"]),
        ("\udcff", ["serve.toml is not valid TOML"]),
    ],
)
def test_invalid_file_error_names_file_and_key(
    tmp_path: Path, content: str, faults: list[str]
) -> None:
    path = tmp_path / "serve.toml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError) as error:
        read_settings({}, {}, path)
    for fault in faults:
        assert fault in str(error.value)


def test_missing_file_error_names_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*none\.toml: No such file"):
        read_settings({}, {}, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("flags", "environment", "named"),
    [
        ({}, {"REELSENSE_SECRET": "hunter2"}, "REELSENSE_SECRET: "),
        ({"secret": "hunter2"}, {}, "--secret: "),
        ({"secret": "hunter2", "port": "x"}, {"REELSENSE_KEYS": "hunter2"}, "--secret: "),
        ({}, {"REELSENSE_SECERT": "hunter2"}, "REELSENSE_SECERT: unknown setting"),
    ],
)
def test_invalid_secret_is_not_shown(
    flags: dict[str, str], environment: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(flags, environment)
    assert named in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        'secret = "hunter2"',
        'secret = ["hunter2"]',
        'keys = ["hunter2"]',
        'secret = "hunter2',
        "secret = hunter2",
        'keys = """\nhunter2',
    ],
)
def test_invalid_secret_in_file_is_not_shown(content: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(content)
    with pytest.raises(SettingsError) as error:
        read_settings({}, {}, file)
    assert str(file) in str(error.value)
    assert "hunter2" not in str(error.value)


def test_every_setting_has_a_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(
        Settings.model_fields
    )


def test_as_toml_hides_secrets() -> None:
    class WithKey(Settings):
        key: SecretStr = Field(default=SecretStr(""))

    shown = EffectiveSettings(WithKey(key=SecretStr("hush")), {"key": "REELSENSE_KEY"}).as_toml()
    assert "hush" not in shown
    assert "# key: set, but not shown" in shown


@given(
    st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 2**40), st.floats(1e-6, 86400)
)
def test_as_toml_is_a_valid_settings_file(host: str, max_texts: int, deadline: float) -> None:
    settings = Settings(host=host, max_texts=max_texts, deadline=deadline, model="a b/ü")
    shown = EffectiveSettings(settings, {"host": "REELSENSE_HOST"}).as_toml()
    assert Settings.model_validate(tomllib.loads(shown), strict=True) == settings


@pytest.mark.parametrize("origins", ["a.example", "https://a.example/path", "*"])
def test_invalid_cors_origin_is_rejected(origins: str) -> None:
    with pytest.raises(SettingsError, match=r"--cors-origins: .*https://a\.example"):
        read_settings({"cors_origins": origins}, {})
