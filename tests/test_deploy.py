import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from reelsense.server.app import create_app
from reelsense.server.middleware.metrics import ServerMetrics
from reelsense.server.settings import Settings, variable
from tests import tiny

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"

MANIFEST = "kubernetes/base/reelsense.yaml"

METRICS = {
    line.split()[2].removesuffix("_total")
    for line in ServerMetrics(["default"]).render().decode().splitlines()
    if line.startswith("# TYPE ")
}

# One server with a model, one without, one that is down. The first refuses a new model at minute
# 10; of what it is asked 1 in 10 fails, 1 is shed, 1 expires, and all take 10 to 20 seconds.
RULE_TESTS = """
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="reelsense", instance="a"}', values: 1x30}
      - {series: 'up{job="reelsense", instance="b"}', values: 1x30}
      - {series: 'up{job="reelsense", instance="c"}', values: 0x30}
      - {series: 'reelsense_workers{instance="a", state="waiting"}', values: 0x30}
      - {series: 'reelsense_workers{instance="b", state="waiting"}', values: 1x30}
      - {series: 'reelsense_model_loads_total{instance="a", outcome="rejected"}', values: _x9 1x20}
      - {series: 'reelsense_requests_total{route="/v1/predict", status="200"}', values: 0+80x30}
      - {series: 'reelsense_requests_total{route="/v1/predict", status="500"}', values: 0+10x30}
      - {series: 'reelsense_requests_total{route="/v1/predict", status="504"}', values: 0+10x30}
      - {series: 'reelsense_requests_total{route="/v1/predict", status="429"}', values: 0+5000x30}
      - {series: 'reelsense_shed_total{reason="queue"}', values: 0+10x30}
      - {series: reelsense_expired_total, values: 0+10x30}
      - {series: 'reelsense_request_duration_seconds_bucket{route="/v1/predict", le="10.0"}', values: 0x30}
      - {series: 'reelsense_request_duration_seconds_bucket{route="/v1/predict", le="20.0"}', values: 0+9x30}
      - {series: 'reelsense_request_duration_seconds_bucket{route="/v1/predict", le="+Inf"}', values: 0+9x30}
    promql_expr_test:
      - expr: count by (alertname, instance) (ALERTS{alertstate="firing"})
        eval_time: 20m
        exp_samples:
          - {labels: '{alertname="ReelsenseDown", instance="c"}', value: 1}
          - {labels: '{alertname="ReelsenseNotReady", instance="b"}', value: 1}
          - {labels: '{alertname="ReelsenseModelRejected", instance="a"}', value: 1}
          - {labels: '{alertname="ReelsenseErrors"}', value: 1}
          - {labels: '{alertname="ReelsenseSheds"}', value: 1}
          - {labels: '{alertname="ReelsenseExpires"}', value: 1}
          - {labels: '{alertname="ReelsenseSlow"}', value: 1}

  # From minute 5 on, the language of the texts differs; labels only do for five minutes elsewhere.
  - interval: 1m
    input_series:
      - {series: 'reelsense_drift_level{instance="a", measure="language"}', values: 0x4 1x30}
      - {series: 'reelsense_drift_level{instance="a", measure="length"}', values: 0x30}
      - {series: 'reelsense_drift_level{instance="b", measure="labels"}', values: 0x4 2x4 0x30}
    promql_expr_test:
      - expr: count by (alertname, instance) (ALERTS{alertstate="firing"})
        eval_time: 25m
        exp_samples: [{labels: '{alertname="ReelsenseDrift", instance="a"}', value: 1}]

  # A job fails at minute 10; from minute 40 on nothing can be included.
  - interval: 1m
    input_series:
      - {series: 'reelsense_jobs_total{state="failed"}', values: 0x9 1x50}
      - {series: 'reelsense_requests_total{route="/v1/jobs", status="507"}', values: _x39 1+1x20}
    promql_expr_test:
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 12m
        exp_samples: [{labels: '{alertname="ReelsenseJobsFail"}', value: 1}]
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 35m
        exp_samples: []
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 45m
        exp_samples: [{labels: '{alertname="ReelsenseJobsFail"}', value: 1}]

  # Explanations alone are asked for: half of them fail, and half of those at their deadline.
  - interval: 1m
    input_series:
      - {series: 'reelsense_requests_total{route="/v1/explain", status="200"}', values: 0+10x30}
      - {series: 'reelsense_requests_total{route="/v1/explain", status="500"}', values: 0+5x30}
      - {series: 'reelsense_requests_total{route="/v1/explain", status="504"}', values: 0+5x30}
      - {series: reelsense_expired_total, values: 0+5x30}
    promql_expr_test:
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 20m
        exp_samples:
          - {labels: '{alertname="ReelsenseErrors"}', value: 1}
          - {labels: '{alertname="ReelsenseExpires"}', value: 1}

  # All is well: a little fails, is shed and expires, one client is in a loop, explanations take
  # long, and what was rejected was rejected yesterday.
  - interval: 1m
    input_series:
      - {series: 'up{job="reelsense", instance="a"}', values: 1x30}
      - {series: 'reelsense_workers{instance="a", state="ready"}', values: 1x30}
      - {series: 'reelsense_workers{instance="a", state="waiting"}', values: 0x30}
      - {series: 'reelsense_model_loads_total{instance="a", outcome="rejected"}', values: 2x30}
      - {series: 'reelsense_requests_total{route="/v1/predict", status="200"}', values: 0+1000x30}
      - {series: 'reelsense_requests_total{route="/v1/predict", status="500"}', values: 0+5x30}
      - {series: 'reelsense_requests_total{route="/v1/predict", status="504"}', values: 0+10x30}
      - {series: 'reelsense_requests_total{route="/v1/predict", status="429"}', values: 0+90000x30}
      - {series: 'reelsense_requests_total{route="/v1/explain", status="200"}', values: 0+100x30}
      - {series: 'reelsense_shed_total{reason="queue"}', values: 0+40x30}
      - {series: 'reelsense_shed_total{reason="rate"}', values: 0+90000x30}
      - {series: reelsense_expired_total, values: 0+10x30}
      - {series: 'reelsense_jobs_total{state="done"}', values: 0+1x30}
      - {series: 'reelsense_jobs_total{state="failed"}', values: 3x30}
      - {series: 'reelsense_request_duration_seconds_bucket{route="/v1/predict", le="2.0"}', values: 0+9x30}
      - {series: 'reelsense_request_duration_seconds_bucket{route="/v1/predict", le="+Inf"}', values: 0+9x30}
      - {series: 'reelsense_request_duration_seconds_bucket{route="/v1/explain", le="10.0"}', values: 0x30}
      - {series: 'reelsense_request_duration_seconds_bucket{route="/v1/explain", le="20.0"}', values: 0+9x30}
      - {series: 'reelsense_request_duration_seconds_bucket{route="/v1/explain", le="+Inf"}', values: 0+9x30}
    promql_expr_test:
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 20m
        exp_samples: []
"""


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all(text(name)))


def deployment() -> Any:
    resources = {resource["kind"]: resource for resource in documents(MANIFEST)}
    return resources["Deployment"]["spec"]["template"]["spec"]


def expressions() -> str:
    dashboard = json.loads(text("grafana/dashboards/reelsense.json"))
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        rule["expr"] for group in documents("alerts.yml")[0]["groups"] for rule in group["rules"]
    ]
    return "\n".join(panels + rules)


def run(*command: str | Path, cwd: Path) -> str:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_file_is_well_formed() -> None:
    for path in DEPLOY.rglob("*"):
        if path.suffix in {".yaml", ".yml"}:
            assert all(yaml.safe_load_all(path.read_text())), path
        elif path.suffix == ".json":
            assert json.loads(path.read_text()), path


def test_dashboard_and_alerts_use_existing_metrics() -> None:
    named = set(re.findall(r"\breelsense_\w+", expressions()))
    assert {re.sub("_(total|bucket|sum|count)$", "", name) for name in named} == METRICS


def test_dashboard_and_alerts_cover_all_scoring_routes() -> None:
    app = create_app(model=tiny.classifier())
    scoring = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if getattr(app.view_functions[rule.endpoint], "limit_concurrency", False)
    } - {"/"}
    queried = [set(match.split("|")) for match in re.findall(r'route=~"([^"]+)"', expressions())]
    assert scoring in queried
    for routes in queried:
        assert routes in (scoring, scoring - {"/v1/explain", "/explanation"})


def test_every_variable_is_a_setting() -> None:
    settings = {variable(name) for name in Settings.model_fields}
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            assert set(re.findall(r"REELSENSE_\w+", path.read_text())) <= settings, path


def test_image_context_has_only_the_needed_files() -> None:
    lines = text("Dockerfile.dockerignore").splitlines()
    assert "*" in lines
    included = {line[1:] for line in lines if line.startswith("!")}
    assert included == {
        *("constraints.txt", "deploy/requirements.txt", "deploy/requirements-build.txt"),
        *("LICENSE", "pyproject.toml", "README.md", "src"),
    }
    assert all((ROOT / name).exists() for name in included)


def test_port_and_user_are_the_same_everywhere() -> None:
    port, image, pod = Settings().port, text("Dockerfile"), deployment()
    (container,) = pod["containers"]
    assert f"EXPOSE {port}\n" in image
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert documents("prometheus.yml")[0]["scrape_configs"][0]["static_configs"] == [
        {"targets": [f"reelsense:{port}"]}
    ]
    assert documents("compose.yaml")[0]["services"]["reelsense"]["ports"] == [
        f"127.0.0.1:{port}:{port}"
    ]
    user = pod["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}\n" in image


def test_probes_use_health_endpoints() -> None:
    (container,) = deployment()["containers"]
    probes = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    assert probes == {
        "startupProbe": {"path": "/startedz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    assert "/readyz" in text("Dockerfile")


def test_secrets_are_mounted_at_the_configured_paths() -> None:
    compose = documents("compose.yaml")[0]
    services = compose["services"]
    assert all(secret["file"] == f"secrets/{name}" for name, secret in compose["secrets"].items())
    assert "/secrets/\n" in text(".gitignore")
    for service, path in {
        "reelsense": services["reelsense"]["environment"]["REELSENSE_KEYS_FILE"],
        "prometheus": documents("prometheus.yml")[0]["scrape_configs"][0]["authorization"][
            "credentials_file"
        ],
        "grafana": services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"],
    }.items():
        assert [path] == [f"/run/secrets/{name}" for name in services[service]["secrets"]]
    pod = deployment()
    (container,) = pod["containers"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    keys = next(volume for volume in pod["volumes"] if volume["name"] == "keys")["secret"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["REELSENSE_KEYS_FILE"] == f"{mounted['keys']}/{keys['items'][0]['path']}"


def test_stop_timeouts_exceed_the_deadline() -> None:
    shutdown = Settings().deadline + 5
    compose, pod = documents("compose.yaml")[0], deployment()
    pre_stop_sleep = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert int(compose["services"]["reelsense"]["stop_grace_period"].rstrip("s")) > shutdown
    assert pod["terminationGracePeriodSeconds"] - pre_stop_sleep > shutdown
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", text("reelsense.service"), re.M)[0]) > shutdown


def test_prometheus_accepts_its_files_and_alerts_fire(tmp_path: Path) -> None:
    run("promtool", "check", "config", "--syntax-only", "prometheus.yml", cwd=DEPLOY)
    run("promtool", "check", "rules", "alerts.yml", cwd=DEPLOY)
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    (tmp_path / "tests.yml").write_text(RULE_TESTS)
    run("promtool", "test", "rules", "tests.yml", cwd=tmp_path)


def test_docker_compose_accepts_its_file() -> None:
    run("docker-compose", "--file", "compose.yaml", "config", "--quiet", cwd=DEPLOY)


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "reelsense.service"
    # systemd checks that the command exists.
    unit.write_text(text(unit.name).replace("/opt/reelsense/bin/reelsense serve", "/bin/true"))
    assert not run("systemd-analyze", "verify", unit, cwd=tmp_path)  # warnings mean ignored lines
    # 0 is no exposure, 100 is full exposure.
    run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit, cwd=tmp_path)


REQUIREMENT = re.compile(
    r"([\w.-]+)==(\S+)((?: ;[^\\]*)?)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)\n"
)


@pytest.mark.security
@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_image_installs_tested_versions_by_hash(name: str) -> None:
    content = text(name)
    assert REQUIREMENT.sub("", content) == ""
    required = {match[1]: match[2] for match in REQUIREMENT.finditer(content)}
    constraints = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    tested = dict(line.split("==") for line in constraints.splitlines() if "==" in line)
    assert {package: tested.get(package) for package in required} == required


@pytest.mark.security
def test_image_requirements_cover_the_server() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [project["dependencies"], extras["serve"], extras["redis"], extras["postgres"]]
    names = {re.split(r"[\[><=;]", requirement)[0] for part in wanted for requirement in part}
    required = {match[1] for match in REQUIREMENT.finditer(text("requirements.txt"))}
    assert names - {"reelsense"} <= required
    assert "openpyxl" in required


@pytest.mark.security
def test_images_have_digests() -> None:
    images = [service["image"] for service in documents("compose.yaml")[0]["services"].values()]
    images.remove("reelsense")  # built here
    images += re.findall(r"^ARG PYTHON=(.*)$", text("Dockerfile"), re.MULTILINE)
    assert len(images) == 3
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in images)
    stages = re.findall(r"^FROM (\S+)", text("Dockerfile"), re.MULTILINE)
    assert set(stages) == {"$PYTHON"}


@pytest.mark.security
def test_deployments_limit_memory_processes_and_network() -> None:
    for service in documents("compose.yaml")[0]["services"].values():
        assert service["mem_limit"]
        assert service["pids_limit"]
    assert re.search(r"^MemoryMax=", text("reelsense.service"), re.MULTILINE)
    assert re.search(r"^TasksMax=", text("reelsense.service"), re.MULTILINE)
    (policy,) = (item for item in documents(MANIFEST) if item["kind"] == "NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "reelsense"}
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
