"""The files of deploy/ for Kubernetes agree with the code and each other: commands, variables, names, dagster.yaml.

Belongs here: what can be told of them without a cluster and Helm. Does not belong here: Compose (`test_deploy`).
docs/kubernetes.md says what was not run.
"""

from typing import Any

import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema

from market_data_pipeline.instance.names import LOCATION, LOCATION_MODULE
from market_data_pipeline_tests.test_container import LIBPQ, VARIABLES, instructions, text
from market_data_pipeline_tests.test_deploy import BUCKET, SECRET, accept

HOME = "/app/kubernetes"


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text("deploy/values.yaml"))
    return found


@pytest.fixture(scope="module")
def objects() -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of kubernetes.yaml, by kind and name."""
    documents = list(yaml.safe_load_all(text("deploy/kubernetes.yaml")))
    found = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    assert len(found) == len(documents)
    return found


@pytest.fixture(scope="module")
def instance(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """The dagster.yaml of the pods."""
    found: dict[str, Any] = yaml.safe_load(objects["ConfigMap", "market-data-dagster"]["data"]["dagster.yaml"])
    return found


def of_the_chart(values: dict[str, Any]) -> list[dict[str, Any]]:
    [code_server] = values["dagster-user-deployments"]["deployments"]
    return [values["dagsterWebserver"], values["dagsterDaemon"], code_server]


def containers(objects: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    pods = [each["spec"]["template"]["spec"] for (kind, _), each in objects.items() if kind == "Deployment"]
    return [pod["containers"][0] for pod in pods]


def test_dagster_takes_the_settings_of_the_cluster(instance: dict[str, Any]) -> None:
    schema = {name: field for name, field in dagster_instance_config_schema().items() if name in instance}
    result = process_config(schema, instance)
    assert result.success, result.errors
    alike = yaml.safe_load(text("deploy/dagster.celery.yaml"))
    assert {**instance, "run_launcher": None} == {**alike, "run_launcher": None}


def test_the_launcher_takes_its_config(instance: dict[str, Any], objects: dict[tuple[str, str], Any]) -> None:
    launcher_class = pytest.importorskip("dagster_k8s").K8sRunLauncher
    launcher = instance["run_launcher"]
    assert launcher["class"] == launcher_class.__name__
    result = process_config(launcher_class.config_type(), launcher["config"])
    assert result.success, result.errors
    assert launcher["config"]["dagster_home"] == HOME
    named = [launcher["config"]["instance_config_map"], *launcher["config"]["env_config_maps"]]
    assert {("ConfigMap", name) for name in named} <= objects.keys()


def test_every_pod_has_the_same_home_settings_and_secret(
    values: dict[str, Any], objects: dict[tuple[str, str], Any], instance: dict[str, Any]
) -> None:
    settings = objects["ConfigMap", "market-data-settings"]["data"]
    assert settings["DAGSTER_HOME"] == HOME
    mounted = {"mountPath": f"{HOME}/dagster.yaml", "subPath": "dagster.yaml"}
    for part in of_the_chart(values):
        assert part["env"] == [{"name": "DAGSTER_HOME", "value": HOME}]
        assert part["envConfigMaps"] == [{"name": "market-data-settings"}]
        assert part["envSecrets"] == [{"name": "market-data"}]
        assert [volume["configMap"]["name"] for volume in part["volumes"]] == ["market-data-dagster"]
        assert [mount.items() >= mounted.items() for mount in part["volumeMounts"]] == [True]
    for container in containers(objects):
        sources = container["envFrom"]
        assert sources == [{"configMapRef": {"name": "market-data-settings"}}, {"secretRef": {"name": "market-data"}}]
        assert [mount.items() >= mounted.items() for mount in container["volumeMounts"]] == [True]
    assert instance["run_launcher"]["config"]["env_secrets"] == ["market-data"]
    assert values["global"]["postgresqlSecretName"] == "market-data"
    assert HOME in next(rest for word, rest in instructions() if word == "RUN" and "useradd" in rest).split()


def test_every_variable_is_one_that_somebody_reads_and_none_is_a_secret(objects: dict[tuple[str, str], Any]) -> None:
    names = objects["ConfigMap", "market-data-settings"]["data"].keys()
    assert names <= VARIABLES | LIBPQ | BUCKET
    assert not [name for name in names if SECRET.search(name)]
    assert ("Secret", "market-data") not in objects
    assert "kind: Secret" not in text("deploy/kubernetes.yaml")


def test_the_parts_find_each_other(values: dict[str, Any], objects: dict[tuple[str, str], Any]) -> None:
    _, _, code_server = of_the_chart(values)
    [server] = values["dagsterWebserver"]["workspace"]["servers"]
    assert server == {"host": code_server["name"], "port": code_server["port"], "name": LOCATION}
    started = accept("dagster", ["code-server", "start", *code_server["codeServerArgs"]])
    assert (started["module_name"], started["location_name"]) == (LOCATION_MODULE, LOCATION)
    api, live = (accept(each["command"][0], each["command"][1:]) for each in containers(objects))
    assert api["dagster_url"].endswith(f":{values['dagsterWebserver']['service']['port']}")
    assert objects["Service", "market-data-api"]["spec"]["ports"] == [{"port": api["port"]}]
    assert live is not None
    images = {f"{part['image']['repository']}:{part['image']['tag']}" for part in of_the_chart(values)}
    assert images == {each["image"] for each in containers(objects)}
    # Without it the launcher has no image for a run of `backfill --runs`.
    assert containers(objects)[0]["env"] == [{"name": "DAGSTER_CURRENT_IMAGE", "value": images.pop()}]
    postgres, settings = values["postgresql"], objects["ConfigMap", "market-data-settings"]["data"]
    assert [postgres[f"postgresql{name}"] for name in ("Host", "Username", "Database")] == [
        settings[name] for name in ("PGHOST", "PGUSER", "PGDATABASE")
    ]


def test_the_page_names_the_files_and_the_version_of_dagster() -> None:
    page = text("docs/kubernetes.md")
    [version] = {line for line in text("pyproject.toml").split('"') if line.startswith("dagster==")}
    assert f"--version {version.partition('==')[2]} " in page
    assert f"--version {version.partition('==')[2]} " in text("deploy/values.yaml")
    for file in ("deploy/values.yaml", "deploy/kubernetes.yaml"):
        assert f"(../{file})" in page
