"""The Kustomize base and its components, rendered by kubectl and checked by schemas."""

import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]

from tests.test_deploy import DEPLOY, MANIFEST, METRICS, documents, run, text

COMPONENTS = ["keys", "workers", "autoscaling"]
VERSION = "1.37"  # of Kubernetes


def render(folder: Path, *components: str) -> dict[str, Any]:
    """Return the resources of the base with `components`, by kind; all are valid."""
    shutil.copytree(DEPLOY / "kubernetes", folder, dirs_exist_ok=True)
    for name in ("keys", "cookies"):
        (folder / "components/keys" / name).write_text(name)
    example = yaml.safe_load((folder / "example/kustomization.yaml").read_text())
    assert example["components"] == [f"../components/{name}" for name in COMPONENTS]
    example["components"] = [f"../components/{name}" for name in components]
    (folder / "example/kustomization.yaml").write_text(yaml.safe_dump(example))
    rendered = run("kubectl", "kustomize", folder / "example", cwd=folder)
    resources = list(yaml.safe_load_all(rendered))
    for resource in resources:
        kubernetes_validate.validate(resource, VERSION, strict=True)
    return {resource["kind"]: resource for resource in resources}


def test_kubernetes_base_is_valid() -> None:
    for resource in documents(MANIFEST):
        kubernetes_validate.validate(resource, VERSION, strict=True)


@pytest.mark.parametrize("components", [[], *([name] for name in COMPONENTS), COMPONENTS])
def test_kubernetes_components_render(components: list[str], tmp_path: Path) -> None:
    resources = render(tmp_path, *components)
    spec = resources["Deployment"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/reelsense:TAG"

    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables.get("REELSENSE_WORKERS") == ("2" if "workers" in components else None)
    assert variables["REELSENSE_KEYS_FILE"]  # patches keep the variables of the base

    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    name = volumes["keys"]["secret"]["secretName"]
    cookies = next(item for item in container["env"] if item["name"] == "REELSENSE_SECRET")
    assert cookies["valueFrom"]["secretKeyRef"]["name"] == name
    if "keys" in components:
        assert name == resources["Secret"]["metadata"]["name"] != "reelsense-keys"
        assert set(resources["Secret"]["data"]) == {"keys", "cookies"}
    else:
        assert name == "reelsense-keys"

    assert ("HorizontalPodAutoscaler" in resources) == ("autoscaling" in components)
    assert ("replicas" in spec) == ("autoscaling" not in components)


def test_kubernetes_scales_on_an_existing_metric() -> None:
    (autoscaler,) = documents("kubernetes/components/autoscaling/autoscaler.yaml")
    (metric,) = autoscaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in METRICS


def test_git_ignores_the_keys_of_kubernetes() -> None:
    assert text("kubernetes/components/keys/.gitignore").split() == ["/keys", "/cookies"]
