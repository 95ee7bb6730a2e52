"""docs/operations.md lists every setting with its default, every deployment, and nothing that is gone."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (?:`([^`]*)`|–) \| (\S.*) \|$", re.MULTILINE)


def test_every_setting_is_listed_with_its_default() -> None:
    listed = {name: default for name, default, _ in ROW.findall(PAGE)}
    defaults = {
        name: "" if field.default is None else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert listed == defaults


def test_every_deployment_is_listed() -> None:
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    for deployment in document["deployments"]:
        flow = deployment["entrypoint"].rpartition(":")[2].replace("_", "-")
        assert f"{flow}/{deployment['name']}" in PAGE


def pool_template(kind: str) -> dict[str, Any]:
    """Prefect's own job template of a kind of work pool, from the list that its server brings along."""
    found = importlib.util.find_spec("prefect")
    assert found is not None
    assert found.origin is not None
    views = Path(found.origin).parent / "server" / "api" / "collections_data" / "views"
    collections = json.loads((views / "aggregate-worker-metadata.json").read_text(encoding="utf-8"))
    (kinds,) = (workers for workers in collections.values() if kind in workers)
    template: dict[str, Any] = kinds[kind]["default_base_job_configuration"]
    return template


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_job_variables_that_are_shown_for_a_work_pool_are_known_to_it(kind: str) -> None:
    (shown,) = re.findall(rf"```yaml\n# prefect\.yaml for {kind}\b.*?\n(.*?)```", PAGE, re.DOTALL)
    (pool,) = yaml.safe_load(shown)["definitions"]["work_pools"].values()
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    assert pool["name"] == deployed["definitions"]["work_pools"]["local"]["name"]
    known = pool_template(kind)["variables"]["properties"]
    assert pool["job_variables"].keys() <= known.keys()
    assert pool["job_variables"]["env"].keys() >= {"VOICEBOT_HOME", "VOICEBOT_MLRUNS"}


def test_the_kubernetes_template_has_the_place_where_volume_and_secret_are_put() -> None:
    (place,) = re.findall(r"jq '(\S+) \|= \(", PAGE)
    found: Any = pool_template("kubernetes")
    for name in place.strip(".").split("."):
        found = found[name]
    assert [container["name"] for container in found["containers"]] == ["prefect-job"]


def test_every_deployment_takes_its_work_pool_from_the_one_place_that_is_changed() -> None:
    text = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    assert text.count("work_pool: *local") == len(yaml.safe_load(text)["deployments"])


def test_the_automation_for_silent_runs_is_one_that_prefect_takes() -> None:
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

    document = yaml.safe_load((ROOT / "automations.yaml").read_text(encoding="utf-8"))
    automation = AutomationCore.model_validate(document)
    trigger = automation.trigger
    assert isinstance(trigger, EventTrigger)
    assert trigger.posture is Posture.Proactive
    assert trigger.within.total_seconds() > 3 * PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()
    assert [action.type for action in automation.actions] == ["change-flow-run-state"]
