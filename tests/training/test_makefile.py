"""The Makefile's stamps and what it removes, read from dry runs: nothing is installed or removed here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False, timeout=30
    )


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """An environment that a first `make install` has left."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").touch()
    (folder / f".installed-python{PYTHON}-torch2.13.0").touch()
    return f"VENV={folder}"


def test_an_installed_environment_is_left_alone(installed: str) -> None:
    assert "pip install" not in make("-n", "install", installed, "TORCH=2.13.0").stdout


def test_another_torch_is_installed(installed: str) -> None:
    assert '"torch==2.8.0"' in make("-n", "install", installed, "TORCH=2.8.0").stdout


def test_another_python_makes_the_environment_anew(installed: str, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 3.12\n" if PYTHON == "3.11" else "#!/bin/sh\necho 3.11\n")
    other.chmod(0o755)
    assert "-m venv --clear" in make("-n", "install", installed, f"PYTHON={other}").stdout


def test_a_folder_that_is_no_environment_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = make("install", f"VENV={tmp_path}", f"PYTHON={sys.executable}")
    assert done.returncode != 0
    assert "no virtual environment" in done.stdout
    assert (tmp_path / "precious").is_file()


def test_torch_from_its_own_index_is_not_held_to_the_locked_dependencies(installed: str) -> None:
    lines = make("-n", "install", installed, "TORCH=2.8.0", "TORCH_INDEX=https://example.org/whl").stdout
    (torch,) = [line for line in lines.splitlines() if "torch==2.8.0" in line]
    assert "--index-url https://example.org/whl" in torch
    assert "PIP_CONSTRAINT" not in torch
    (torch,) = [line for line in make("-n", "install", installed, "TORCH=2.8.0").stdout.splitlines()
                if "torch==2.8.0" in line]  # fmt: skip
    assert "PIP_CONSTRAINT=requirements.lock" in torch


def test_everything_that_torch_needs_is_in_the_lock() -> None:
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert {"filelock", "fsspec", "jinja2", "mpmath", "networkx", "setuptools", "sympy"} <= locked


def test_clean_keeps_what_cannot_be_made_again_and_distclean_asks(installed: str) -> None:
    removed = make("-n", "clean", installed).stdout
    assert removed
    assert not {"var", "mlruns"} & set(removed.split())
    refused = make("distclean", installed, "CONFIRM=")
    assert refused.returncode != 0
    assert "CONFIRM=yes" in refused.stdout
