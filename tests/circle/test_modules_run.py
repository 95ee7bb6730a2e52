"""Flow modules run as commands: offline settings come from the entry point, not from an import."""

import os
import subprocess
import sys
from pathlib import Path

from tests.circle.fixtures import Circle


def test_a_flow_module_runs_as_a_script_and_stays_inside_its_home(circle: Circle, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "HOME": str(tmp_path / "nobody"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "flows.report_kpis", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"page"' in done.stdout
    assert (circle.settings.home / "prefect" / "prefect.db").is_file()
    assert not (tmp_path / "nobody" / ".prefect").exists()


def test_importing_a_flow_changes_no_environment() -> None:
    program = (
        "import os; before = dict(os.environ); import flows.report_kpis, flows.train_adapter; "
        "new = set(os.environ) - set(before); "
        "added = [k for k in new if k.startswith(('PREFECT', 'MLFLOW', 'VOICEBOT'))]; assert not added, added"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
