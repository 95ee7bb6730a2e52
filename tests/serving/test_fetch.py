"""Downloading weights from a server that cuts, lies, refuses or has never heard of a range."""

import contextlib
import fcntl
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serving import fetch as fetch_module
from serving.errors import IntegrityError, InvalidInputError, MissingError, UnavailableError
from serving.fetch import fetch, outstanding
from serving.settings import Settings
from serving.weights import FAMILIES, Download, plan, settings_for

CONTENT = bytes(range(256)) * 40


@dataclass
class Server:
    """Serves `files` by path; the other fields make it misbehave, once for each entry of `cuts`."""

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    announce: bool = True
    asked: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        wanted = self.headers.get("Range", "")
        state.asked.append(wanted)
        if state.statuses and (status := state.statuses.pop(0)) != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = state.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if state.announce:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: state.cuts.pop(0)] if state.cuts else body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(files={"/weights.bin": CONTENT})
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_state": state}))
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def want(server: Server, tmp_path: Path) -> Callable[..., Download]:
    def make(content: bytes = CONTENT, path: str = "/weights.bin", name: str = "weights.bin") -> Download:
        return Download(
            url=server.url + path,
            target=tmp_path / "home" / "models" / name,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            licence="MIT",
            what="test weights",
            setting="whisper_model",
        )

    return make


def part_of(download: Download) -> Path:
    return download.target.with_name(download.target.name + ".part")


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(want: Callable[..., Download]) -> None:
    download = want()
    seen: list[int] = []
    fetch([download], progress=lambda of, here: seen.append(here) if of is download else None)
    assert download.target.read_bytes() == CONTENT
    assert [path.name for path in download.target.parent.iterdir()] == ["weights.bin"]
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)


def test_a_file_that_is_here_is_not_fetched_again(server: Server, want: Callable[..., Download]) -> None:
    fetch([want()])
    assert outstanding([want()]) == []
    fetch([want()])
    assert len(server.asked) == 1


def test_a_file_that_changed_on_the_disk_is_fetched_again(want: Callable[..., Download]) -> None:
    download = want()
    fetch([download])
    download.target.write_bytes(b"x" * len(CONTENT))
    assert outstanding([download]) == [download]
    fetch([download])
    assert download.target.read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_where_it_stopped(
    server: Server, want: Callable[..., Download]
) -> None:
    server.cuts = [4_000, 3_000]
    fetch([want()])
    assert want().target.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=4000-", "bytes=7000-"]


def test_a_run_that_was_stopped_is_taken_up_by_the_next(
    server: Server, want: Callable[..., Download]
) -> None:
    download = want()
    part_of(download).parent.mkdir(parents=True)
    part_of(download).write_bytes(CONTENT[:9_000])
    fetch([download])
    assert download.target.read_bytes() == CONTENT
    assert server.asked == ["bytes=9000-"]


def test_a_server_that_knows_no_ranges_sends_it_all_again(
    server: Server, want: Callable[..., Download]
) -> None:
    server.ranges, server.cuts = False, [4_000]
    fetch([want()])
    assert want().target.read_bytes() == CONTENT


def test_a_server_that_announces_no_length_is_believed_by_its_checksum(
    server: Server, want: Callable[..., Download]
) -> None:
    server.announce, server.cuts = False, [5_000]
    fetch([want()])
    assert want().target.read_bytes() == CONTENT


def test_a_server_that_always_breaks_off_is_given_up_on_and_what_came_is_kept(
    server: Server, want: Callable[..., Download]
) -> None:
    server.cuts = [1_000] + [0] * 20
    with pytest.raises(UnavailableError, match="breaks off") as caught:
        fetch([want()])
    assert "goes on where it stopped" in caught.value.advice
    assert len(server.asked) < 10
    assert part_of(want()).read_bytes() == CONTENT[:1_000]
    assert not want().target.exists()
    server.cuts = []
    fetch([want()])
    assert want().target.read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_deleted(server: Server, want: Callable[..., Download]) -> None:
    server.files["/weights.bin"] = CONTENT[:-1] + b"!"
    with pytest.raises(IntegrityError, match="checksum"):
        fetch([want()])
    assert list(want().target.parent.iterdir()) == []


def test_a_part_that_was_altered_is_found_by_the_checksum(want: Callable[..., Download]) -> None:
    part_of(want()).parent.mkdir(parents=True)
    part_of(want()).write_bytes(b"!" * 5_000)
    with pytest.raises(IntegrityError, match="checksum"):
        fetch([want()])
    fetch([want()])
    assert want().target.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_begun_again(want: Callable[..., Download]) -> None:
    part_of(want()).parent.mkdir(parents=True)
    part_of(want()).write_bytes(b"!" * (len(CONTENT) + 1))
    fetch([want()])
    assert want().target.read_bytes() == CONTENT


@pytest.mark.parametrize("announce", [True, False])
def test_a_file_of_another_length_is_refused(
    server: Server, want: Callable[..., Download], announce: bool
) -> None:
    server.files["/weights.bin"], server.announce = CONTENT * 2, announce
    with pytest.raises(IntegrityError):
        fetch([want()])
    assert not want().target.exists()


def test_a_login_page_in_the_middle_does_not_cost_what_came_before(
    server: Server, want: Callable[..., Download]
) -> None:
    part_of(want()).parent.mkdir(parents=True)
    part_of(want()).write_bytes(CONTENT[:9_000])
    server.ranges = False
    server.files["/weights.bin"] = b"<html>Please log in</html>"
    with pytest.raises(IntegrityError, match="26 bytes"):
        fetch([want()])
    assert part_of(want()).read_bytes() == CONTENT[:9_000]


def test_a_missing_file_says_where_it_was_looked_for(server: Server, want: Callable[..., Download]) -> None:
    with pytest.raises(MissingError, match=r"127\.0\.0\.1/gone\.bin.*404") as caught:
        fetch([want(path="/gone.bin")])
    assert "mirror" in caught.value.advice


def test_a_server_that_is_down_is_unavailable(server: Server, want: Callable[..., Download]) -> None:
    server.statuses = [503]
    with pytest.raises(UnavailableError, match="503") as caught:
        fetch([want()])
    assert caught.value.retryable


def test_without_a_network_the_error_says_so_and_names_no_password(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = f"http://user:hunter2@127.0.0.1:{port}/x"
        with pytest.raises(UnavailableError, match="network") as caught:
            fetch([Download(url, tmp_path / "x", 3, "0" * 64, "MIT", "x", "encoder")])
    assert "hunter2" not in str(caught.value)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    server: Server, want: Callable[..., Download], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1_000})
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(UnavailableError, match="MB free"):
        fetch([want()])
    assert server.asked == []


def test_a_folder_that_cannot_be_written_is_an_error_with_advice(want: Callable[..., Download]) -> None:
    download = want()
    download.target.parent.parent.mkdir(parents=True)
    download.target.parent.write_text("a file where the folder should be")
    with pytest.raises(UnavailableError, match="cannot be written"):
        fetch([download])


def test_two_at_once_do_not_write_into_one_file(server: Server, want: Callable[..., Download]) -> None:
    download = want()
    part_of(download).parent.mkdir(parents=True)
    with part_of(download).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="Another process"):
            fetch([download])
    assert server.asked == []


def test_a_failure_leaves_the_files_before_it_in_place(want: Callable[..., Download]) -> None:
    first, second = want(), want(path="/gone.bin", name="gone.bin")
    with pytest.raises(MissingError):
        fetch([first, second])
    assert outstanding([first, second]) == [second]


def test_the_plan_pins_every_file_and_stays_inside_the_home(tmp_path: Path) -> None:
    pytest.importorskip("whisper")
    downloads = plan(Settings(home=tmp_path / "home"), families=FAMILIES)
    assert {download.setting for download in downloads} == {
        "whisper_model",
        "kokoro_config",
        "kokoro_weights",
        "kokoro_voice",
        "encoder",
    }
    for download in downloads:
        assert len(download.sha256) == 64
        assert set(download.sha256) <= set("0123456789abcdef")
        assert download.size > 0
        assert download.licence
        assert download.url.startswith("https://")
        assert (tmp_path / "home" / "models") in download.target.parents
    assert len({download.target for download in downloads}) == len(downloads)
    assert not (tmp_path / "home").exists()


def test_every_whisper_model_that_can_be_planned_is_in_the_package_s_table(tmp_path: Path) -> None:
    whisper = pytest.importorskip("whisper")
    from serving import weights

    assert set(weights._WHISPER_BYTES) <= set(whisper.available_models())
    (download,) = plan(Settings(home=tmp_path), families=["whisper"], whisper="turbo")
    assert download.target == tmp_path / "models" / "whisper" / "large-v3-turbo.pt"
    assert download.sha256 in download.url


def test_the_settings_that_the_plan_fills_exist(tmp_path: Path) -> None:
    found = settings_for(plan(Settings(home=tmp_path), families=["kokoro", "encoder"]))
    assert set(found) <= set(Settings.model_fields)
    assert found["encoder"] == tmp_path / "models" / "encoder" / "all-MiniLM-L6-v2"
    assert found["kokoro_voice"].name == "af_heart.pt"
    assert Settings(**found).kokoro_weights == tmp_path / "models" / "kokoro" / "kokoro-v1_0.pth"


def test_a_mirror_stands_in_for_every_host(tmp_path: Path, server: Server) -> None:
    pytest.importorskip("whisper")
    downloads = plan(Settings(home=tmp_path), families=FAMILIES, mirror=f"{server.url}/ai/")
    assert all(download.url.startswith(f"{server.url}/ai/") for download in downloads)
    with pytest.raises(MissingError, match="404"):
        fetch(downloads)


@pytest.mark.parametrize(
    "options",
    [
        {"families": ["gpt"]},
        {"families": ["kokoro"], "voice": "../../etc/passwd"},
        {"families": ["whisper"], "whisper": "huge"},
        {"families": ["kokoro"], "mirror": "ftp://x"},
        {"families": ["kokoro"], "mirror": "http://["},
        {"families": ["kokoro"], "mirror": "mirror.internal"},
    ],
)
def test_what_cannot_be_planned_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with contextlib.suppress(MissingError), pytest.raises(InvalidInputError):
        plan(Settings(home=tmp_path), **options)  # type: ignore[arg-type]


def test_the_pinned_encoder_is_the_one_in_the_wheel(tmp_path: Path) -> None:
    from serving.language.encoder import default_encoder_dir

    for download in plan(Settings(home=tmp_path), families=["encoder"]):
        content = (default_encoder_dir() / download.target.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (download.size, download.sha256)


@pytest.mark.shared_data
def test_the_pinned_kokoro_configuration_is_the_genuine_one(tmp_path: Path) -> None:
    shared = Path(os.environ.get("VOICEBOT_SHARED_DATA", "../shared/data")) / "kokoro" / "config.json"
    if not shared.is_file():
        pytest.skip("Kokoro's configuration is not beside the checkout (VOICEBOT_SHARED_DATA)")
    (config,) = [
        download
        for download in plan(Settings(home=tmp_path), families=["kokoro"])
        if download.setting == "kokoro_config"
    ]
    assert hashlib.sha256(shared.read_bytes()).hexdigest() == config.sha256
    assert shared.stat().st_size == config.size
