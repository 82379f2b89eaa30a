"""The files of deploy/ for Kubernetes agree with the code and each other: commands, variables, names, dagster.yaml.

Belongs here: what can be told of them without a cluster and Helm. Does not belong here: Compose (`test_deploy`).
docs/kubernetes.md says what was not run.
"""

import copy
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema

from market_data_pipeline.instance import alive
from market_data_pipeline.instance.names import LOCATION, LOCATION_MODULE
from market_data_pipeline.instance.runs import open_instance, run_op
from market_data_pipeline_tests.test_container import LIBPQ, VARIABLES, instructions, text
from market_data_pipeline_tests.test_deploy import BUCKET, SECRET, accept

HOME = "/app/kubernetes"
PAGE = text("docs/kubernetes.md")


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
    pytest.importorskip("dagster_k8s")
    launcher = instance["run_launcher"]
    launcher_class = getattr(import_module(launcher["module"]), launcher["class"])
    result = process_config(launcher_class.config_type(), launcher["config"])
    assert result.success, result.errors
    assert launcher["config"]["dagster_home"] == HOME
    named = [launcher["config"]["instance_config_map"], *launcher["config"]["env_config_maps"]]
    assert {("ConfigMap", name) for name in named} <= objects.keys()


@pytest.fixture
def opened(tmp_path: Path, postgres: str, instance: dict[str, Any]) -> Iterator[dg.DagsterInstance]:
    """The instance of the cluster with a database of its own, and no cluster."""
    pytest.importorskip("dagster_k8s")
    cluster = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "gone", "user": "nobody"}}],
        "current-context": "test",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(cluster), encoding="utf-8")
    document = copy.deepcopy(instance)
    document["storage"]["custom"]["config"]["postgres_url"] = postgres
    document["run_launcher"]["config"] |= {
        "load_incluster_config": False,
        "kubeconfig_file": str(tmp_path / "kubeconfig"),
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with open_instance(tmp_path) as made:
        yield made


def test_a_run_that_a_command_executes_has_no_job_and_is_left_alone_while_it_goes_on(
    opened: dg.DagsterInstance,
) -> None:
    said: list[tuple[str, bool]] = []

    @dg.op(config_schema={})
    def load(context: dg.OpExecutionContext) -> None:
        run = context.run
        said.append(
            (opened.run_launcher.check_run_worker_health(run).status.name, opened.run_launcher.terminate(run.run_id))
        )

    @dg.job(executor_def=dg.in_process_executor)
    def job() -> None:
        load()

    report = run_op(opened, dg.Definitions(jobs=[job]), "job", "load", config={}, tags={})
    assert (report.success, said) == (True, [("RUNNING", False)])
    over = opened.get_run_by_id(report.run_id)
    assert over is not None
    # Its beats ended with it, as they would with a pod that is replaced.
    health = opened.run_launcher.check_run_worker_health(over)
    assert (health.status.name, health.msg) == ("FAILED", alive.KILLED)
    repeated = opened.create_run_for_job(job, tags=over.tags)
    assert opened.run_launcher.check_run_worker_health(repeated).status.name == "UNKNOWN", "the cluster is asked"


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
    # A browser is outside of the cluster, where the name of its service means nothing.
    [forwarded] = re.findall(r"port-forward service/dagster-dagster-webserver (\d+)$", PAGE, re.MULTILINE)
    assert api["public_dagster_url"] == f"http://127.0.0.1:{forwarded}"
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
    [version] = {line for line in text("pyproject.toml").split('"') if line.startswith("dagster==")}
    assert f"--version {version.partition('==')[2]} " in PAGE
    assert f"--version {version.partition('==')[2]} " in text("deploy/values.yaml")
    for file in ("deploy/values.yaml", "deploy/kubernetes.yaml"):
        assert f"(../{file})" in PAGE
