"""The Kubernetes manifests: valid by the API's own schemas, and true to what Perdure is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import typer
import yaml

from perdure.cli import app
from perdure_topics.names import group_name, topic_name

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy/kubernetes"
VERSIONS: Final = ("1.30", "1.34")
# These are no kinds of Kubernetes itself.
FOREIGN: Final = ("keda.sh/", "kustomize.config.k8s.io/")


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text("utf-8")):
            yield f"{path.name}:{found['kind']}", found


ALL: Final = dict(objects())
BUILT_IN: Final = {
    name: found for name, found in ALL.items() if not found["apiVersion"].startswith(FOREIGN)
}
PODS: Final = {
    name: found["spec"]["template"]["spec"]
    for name, found in BUILT_IN.items()
    if "template" in found.get("spec", {})
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", BUILT_IN)
def test_each_object_is_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(BUILT_IN[name], version, strict=True)


def test_a_planted_mistake_is_found() -> None:
    wrong = {**BUILT_IN["worker.yaml:Deployment"], "spec": {"replicas": "two"}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_kustomize_takes_every_file_but_those_of_keda() -> None:
    taken = set(ALL["kustomization.yaml:Kustomization"]["resources"])
    files = {path.name for path in FOLDER.glob("*.yaml")}

    assert taken == files - {"kustomization.yaml", "scaling.yaml"}


@pytest.mark.parametrize("name", PODS)
def test_each_pod_runs_a_command_there_is(name: str) -> None:
    (container,) = PODS[name]["containers"]
    words = list(container["args"])
    command = typer.main.get_command(app)
    context = command.make_context("perdure", list(words), resilient_parsing=True)
    while isinstance(command, typer.core.TyperGroup):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    words += ["--task-queue", "orders"] if "topics.yaml" in name else []
    command.make_context(name, words)


@pytest.mark.parametrize("name", PODS)
def test_no_pod_is_root_or_may_write_where_it_need_not(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", ["host.yaml:StatefulSet", "worker.yaml:Deployment"])
def test_a_stop_is_longer_than_the_grace_of_activities(name: str) -> None:
    # 10 s to finish, 5 s to cancel, and the rest to leave the group.
    assert PODS[name]["terminationGracePeriodSeconds"] >= 30


def test_budgets_select_what_they_guard() -> None:
    for kind in ("host", "worker"):
        budget = ALL[f"{kind}.yaml:PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
        owner = next(
            found
            for name, found in BUILT_IN.items()
            if name.startswith(f"{kind}.yaml") and "template" in found["spec"]
        )
        assert owner["spec"]["template"]["metadata"]["labels"] == budget
        assert owner["spec"]["selector"]["matchLabels"] == budget


def test_keda_asks_for_the_lag_of_our_groups() -> None:
    found = {
        trigger["metadata"]["topic"]: trigger["metadata"]["consumerGroup"]
        for scaled in yaml.safe_load_all((FOLDER / "scaling.yaml").read_text("utf-8"))
        if scaled["kind"] == "ScaledObject"
        for trigger in scaled["spec"]["triggers"]
    }

    assert found == {
        topic_name("tasks", "default", "orders"): group_name("workers", "default", "orders"),
        topic_name("commands", "default", "orders"): group_name("hosts", "default", "orders"),
    }
