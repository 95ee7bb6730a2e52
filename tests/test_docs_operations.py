"""docs/operations.md lists every setting with its default, every deployment, and nothing that is gone."""

import re
from pathlib import Path

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
