"""Real servers for tests, started on a free port of this machine and ended by their process id."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import pytest

_NOBODY = 65_534
_READY = "ready to accept connections"


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Redis that keeps nothing on disk; it can be killed, started anew on its port, and frozen."""

    def __init__(self) -> None:
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("no redis-server on this machine")
        self._program = found
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        _first_start(self._start_anywhere)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _start_anywhere(self) -> None:
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Start it, empty, on its port."""
        command = [
            self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--daemonize", "no",
        ]  # fmt: skip
        self._process = _started(command)

    def kill(self) -> None:
        """Gone without a word, and all that it knew with it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """It still accepts connections, and answers none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self.kill()


class PostgresServer:
    """A PostgreSQL with an empty data folder, on TCP only."""

    def __init__(self) -> None:
        programs = postgres_programs()
        if programs is None:
            pytest.skip("no PostgreSQL server on this machine")
        # Not below pytest's folder, which is its owner's alone: PostgreSQL refuses to run as root.
        self._folder = Path(tempfile.mkdtemp(prefix="voicebot-postgres-"))
        self.port = 0
        self._databases = 0
        self._user = _NOBODY if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self._folder, self._user, self._user)
        data = str(self._folder / "data")
        self._run(
            [programs / "initdb", "-D", data, "-U", "voicebot", "-A", "trust", "-E", "UTF8", "--no-sync"]
        )
        self._data, self._program = data, str(programs / "postgres")
        _first_start(self._start_anywhere)

    def _start_anywhere(self) -> None:
        self.port = free_port()
        command = [
            self._program, "-D", self._data, "-p", str(self.port), "-h", "127.0.0.1", "-k", "", "-F",
            "-c", "timezone=Asia/Tokyo",
        ]  # fmt: skip
        self._process = _started(command, user=self._user, folder=self._folder)

    def new_database(self) -> str:
        """Address of an empty database."""
        import psycopg

        self._databases += 1
        name = f"calls{self._databases}"
        with psycopg.connect(
            f"postgresql://voicebot@127.0.0.1:{self.port}/postgres", autocommit=True
        ) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://voicebot@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # its "fast" way
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, command: Sequence[str | Path]) -> None:
        done = subprocess.run(
            command,
            user=self._user,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def _started(
    command: Sequence[str], *, user: int | None = None, folder: Path | None = None
) -> subprocess.Popen[str]:
    """A server that says in its log that it is ready; what it says afterwards is read and forgotten."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, user=user, cwd=folder
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if _READY in line.lower():
            threading.Thread(target=_read_on, args=(process.stdout,), daemon=True).start()
            return process
    process.wait()
    raise AssertionError(f"{command[0]} did not start: {''.join(said)[-2000:]}")


def _read_on(log: IO[str]) -> None:
    with log:
        for _ in log:
            pass


def _first_start(start: Callable[[], None]) -> None:
    """Another process may take a free port before the server does: then another one is tried."""
    for _ in range(4):
        try:
            start()
        except AssertionError:
            continue
        return
    start()
