"""An installation that nobody has trained yet: the page says what is missing and what to do."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.browser import APP, ROOT, opened, served, skip_without_browser, skip_without_chainlit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("untrained")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    skip_without_browser()
    variables = {"VOICEBOT_HOME": str(folder / "var"), "VOICEBOT_MLRUNS": str(folder / "mlruns")}
    variables["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"  # Chainlit would store chats there
    with served(["-m", "chainlit", "run", str(ROOT / APP)], folder, variables) as server:
        yield server.address


def test_without_an_adapter_the_page_says_so_with_advice_and_lets_one_try_again(
    address: str, folder: Path
) -> None:
    with opened(address) as page:
        page.get_by_role("button", name="Try again").wait_for(timeout=120_000)
        shown = page.inner_text("body")
        assert "adapter" in shown
        assert "voicebot train" in shown
        page.get_by_role("button", name="Try again").click()
        page.get_by_text("Loading the models").wait_for()
        page.get_by_role("button", name="Try again").wait_for(timeout=120_000)
    log = (folder / "server.log").read_text()
    assert "Traceback" not in log


def test_a_line_typed_without_an_adapter_is_answered_with_the_same_advice_and_shown_redacted(
    address: str,
) -> None:
    with opened(address) as page:
        page.get_by_role("button", name="Try again").wait_for(timeout=120_000)
        page.locator("#chat-input").click()
        page.keyboard.type("my card number is 4111 1111 1111 1111")
        page.keyboard.press("Enter")
        page.get_by_text("my card number is <card>").wait_for(timeout=120_000)
        assert "4111" not in page.inner_text("body")


def test_an_unknown_setting_is_an_error_before_the_server_starts(folder: Path) -> None:
    skip_without_chainlit()
    done = subprocess.run(
        [sys.executable, "-m", "serving.scenarios"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "VOICEBOT_HOMME": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "VOICEBOT_HOME" in done.stderr
    assert "Traceback" not in done.stderr
