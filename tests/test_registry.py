import subprocess
import sys
from pathlib import Path

import pytest

from reelsense import Classifier, registry
from reelsense.bundle import CARD, DEFAULT_BUNDLE, read_bundle, write_bundle
from reelsense.errors import BundleError
from tests import installed, tiny, tiny_network


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path where packages can be installed; the working folder is another one."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return site


@pytest.fixture
def accurate(site: Path) -> Path:
    folder = installed.install(site)
    tiny_network.write(folder, "stand-in")
    return folder


def test_find_returns_the_bundled_model_by_default() -> None:
    assert registry.find() == registry.find("default") == DEFAULT_BUNDLE


def test_find_returns_an_installed_model(accurate: Path) -> None:
    assert registry.find("accurate") == accurate
    assert "reelsense_accurate" not in sys.modules


def test_classifier_loads_an_installed_model(accurate: Path) -> None:
    classifier = Classifier.load("accurate")
    assert classifier.manifest.name == "stand-in"
    assert classifier.predict(["good film"])[0].label == "positive"


def test_find_prefers_an_installed_model_to_a_folder_of_that_name(accurate: Path) -> None:
    for name in ("accurate", "default"):
        write_bundle(Path(name), tiny.bundle())
    assert registry.find("accurate") == accurate
    assert registry.find("default") == DEFAULT_BUNDLE


@pytest.mark.parametrize("given", ["./accurate", "../work/accurate", Path("accurate")])
def test_find_takes_a_path_as_a_folder(accurate: Path, given: str | Path) -> None:
    write_bundle(Path("accurate"), tiny.bundle())
    assert registry.find(given) == Path(given)
    assert read_bundle(registry.find(given)).manifest.name == "tiny"


def test_find_returns_a_folder_if_no_model_has_that_name(site: Path) -> None:
    write_bundle(Path("mine"), tiny.bundle())
    assert registry.find("mine") == Path("mine")


def test_find_returns_a_path_that_does_not_exist(tmp_path: Path) -> None:
    assert registry.find(str(tmp_path / "none")) == tmp_path / "none"
    with pytest.raises(BundleError) as raised:
        Classifier.load(tmp_path / "none")
    assert raised.value.code == "no-bundle"


@pytest.mark.parametrize("name", ["nosuch", "", "file"])
def test_unknown_name_lists_the_installed_models(accurate: Path, name: str) -> None:
    Path("file").touch()
    with pytest.raises(BundleError, match=rf'"{name}".*\(default, accurate\)'):
        registry.find(name)


def test_model_of_uninstalled_package_is_listed_with_an_error(site: Path) -> None:
    installed.install(site, {"gone": "reelsense_gone"})
    with pytest.raises(BundleError, match="'reelsense_gone' cannot be found"):
        registry.find("gone")
    default, *_, gone = registry.installed()
    assert default.bundle
    assert not default.error
    assert (gone.name, gone.folder, gone.bundle) == ("gone", None, None)
    assert gone.error


@pytest.mark.parametrize("value", ["os.path", "a b", "", "__main__", "bisect", "no_such_package"])
def test_entry_point_that_names_no_package_is_an_error(site: Path, value: str) -> None:
    """Includes single modules, and nested packages, which cannot be located without imports."""
    installed.install(site, {"odd": value})
    with pytest.raises(BundleError, match='"odd" is registered'):
        registry.find("odd")


def test_installed_lists_a_damaged_model_with_its_error(accurate: Path) -> None:
    (accurate / CARD).write_text("another card")
    (damaged,) = registry.installed()[1:]
    assert (damaged.name, damaged.folder, damaged.bundle) == ("accurate", accurate, None)
    assert CARD in str(damaged.error)
    assert read_bundle(registry.find()).manifest.version


def test_model_without_a_bundle_is_listed_with_its_error(site: Path) -> None:
    folder = installed.install(site)
    (empty,) = registry.installed()[1:]
    assert str(folder) in str(empty.error)


def test_invalid_names_are_not_registered(site: Path) -> None:
    value = "reelsense_accurate"
    folder = installed.install(site, {"default": value, "a/b": value, ".c": value, "mine": value})
    assert registry.names() == ["default", "mine"]
    assert registry.find("mine") == folder
    assert registry.find("default") == DEFAULT_BUNDLE


def test_first_registration_on_the_path_wins(
    accurate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    installed.install(other)
    about = other / "reelsense_accurate-0.1.0.dist-info"
    about.rename(other / "another-1.dist-info")
    points = other / "another-1.dist-info" / "entry_points.txt"
    points.write_text("[reelsense.models]\naccurate = no_such_package\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(other)])
    assert registry.find("accurate") == accurate


def test_published_name_covers_the_models_of_the_project_only(accurate: Path) -> None:
    assert registry.published_name(DEFAULT_BUNDLE) == "default"
    assert registry.published_name(accurate / ".." / "bundle") == "accurate"
    write_bundle(Path("other"), tiny.bundle())
    assert registry.published_name(Path("other")) is None


def test_published_name_ignores_a_folder_named_like_a_model(site: Path) -> None:
    write_bundle(Path("accurate"), tiny.bundle())
    assert registry.published_name(Path("accurate")) is None


def test_finding_a_model_imports_neither_torch_nor_an_engine() -> None:
    program = (
        "import sys; from reelsense import registry; registry.installed(); "
        "print(sorted({'torch', 'openvino', 'onnx', 'flask'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout == "[]\n"
