"""Downloads from a real server that behaves badly: what lies under the final name is whole, or nothing does."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from pathlib import Path

import pytest
from download_server import ETAG, answer, dripping, good, raw, running_server, silent

from utils import locks
from utils.errors import BadArgument, ModelFileError, UnwritableOutput
from utils.locks import exclusive
from utils.model_files import commands, resume, transport
from utils.model_files.fetch import NoNetwork, Options, download
from utils.model_files.parts import part_of
from utils.model_files.resume import OVERLAP_BYTES, Patience
from utils.model_files.sidecar import read_sidecar, sidecar_path
from utils.model_files.state import State
from utils.model_files.table import Archive, ModelFile
from utils.model_files.transport import TransferError
from utils.model_files.unpack import BadArchive, unpack_member

ROOT = Path(__file__).resolve().parents[1]
CONTENT = b"\x80\x02" + random.Random(0).randbytes(300_000)  # begins like a checkpoint
OTHER = b"\x80\x02" + random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=3, first_pause_s=0.01, longest_pause_s=0.02, timeout_s=0.4)
OPTIONS = Options(QUICK, quiet=True)
PLACE = "models/net.pth"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    with running_server() as running:
        yield running


@pytest.fixture
def root(tmp_path):
    """The project's folder; after every test, what has the final name is whole, and no lock is left."""
    yield tmp_path
    path = tmp_path / PLACE
    assert not path.exists() or path.read_bytes() == CONTENT
    assert not list(tmp_path.rglob("*.lock"))
    assert not list(tmp_path.rglob("*.partial*"))


def record(server, known=False, archives=(), direct=True):
    url = f"{server.address}/net.pth" if direct else None
    size, sha256 = (len(CONTENT), SHA256) if known else (None, None)
    return ModelFile("net", PLACE, size, sha256, url, tuple(archives), "free", None, "a test")


def names_in(root):
    return sorted(path.name for path in (root / PLACE).parent.iterdir())


def assert_downloaded(root):
    assert (root / PLACE).read_bytes() == CONTENT
    assert names_in(root) == ["net.pth", "net.pth.sha256"]
    assert read_sidecar(root / PLACE).sha256 == SHA256


def assert_refused(root, files, *words, kind=ModelFileError, code=5):
    with pytest.raises(kind) as error:
        download(files, root, OPTIONS)
    message = str(error.value)
    assert "\n" not in message
    assert error.value.exit_code == code
    for word in (*words, "net.pth"):
        assert word in message
    assert not (root / PLACE).exists()
    return message


@pytest.mark.parametrize("known", [True, False])
def test_a_download_is_checked_and_pinned(server, root, known):
    server.script = [good(CONTENT)]
    found = []
    download([record(server, known)], root, OPTIONS, found.append)
    assert_downloaded(root)
    assert [finding.state for finding in found] == [State.VERIFIED if known else State.PINNED]
    assert f"downloaded from {server.address}/net.pth" in found[0].detail
    download([record(server, known)], root, OPTIONS)
    assert len(server.requests) == 1, "what is there is not fetched again"


@pytest.mark.parametrize("known", [True, False])
def test_a_cut_connection_is_resumed(server, root, known):
    server.script = [good(CONTENT, until=100_000), good(CONTENT, until=50_000), good(CONTENT)]
    download([record(server, known)], root, OPTIONS)
    assert_downloaded(root)
    assert server.ranges() == [None, 100_000 - OVERLAP_BYTES, 150_000 - 2 * OVERLAP_BYTES]
    assert server.requests[1][1]["If-Range"] == ETAG


def test_the_next_run_goes_on_where_the_last_one_gave_up(server, root):
    server.script = [good(CONTENT, until=100_000), answer(503)]
    message = assert_refused(root, [record(server)], "503", "goes on where it stopped")
    assert message.count("cannot be downloaded") == 1
    assert part_of(root / PLACE).read_bytes() == CONTENT[:100_000]
    server.script = [good(CONTENT)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)
    assert server.ranges()[-1] == 100_000 - OVERLAP_BYTES


def test_progress_makes_up_for_failures(server, root, monkeypatch):
    monkeypatch.setattr(resume, "PROGRESS_BYTES", 20_000)
    server.script = [good(CONTENT, until=30_000)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)
    assert len(server.requests) > 3 * QUICK.attempts


def test_a_server_that_never_gets_further_is_given_up(server, root):
    server.script = [good(CONTENT, until=100, etag=None)]
    assert_refused(root, [record(server)], f"100 of {len(CONTENT)} bytes")
    assert len(server.requests) == QUICK.attempts


def test_a_part_that_was_complete_needs_no_server(server, root):
    server.script = [good(CONTENT)]
    file = record(server)
    resume.receive(file.url, make_part(root), None, False, QUICK, quiet=True)
    server.script = [answer(500)]
    download([file], root, OPTIONS)
    assert_downloaded(root)


def make_part(root):
    part = part_of(root / PLACE)
    part.parent.mkdir(parents=True, exist_ok=True)
    return part


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_changed_meanwhile_is_taken_from_the_start(server, root, known):
    server.script = [good(OTHER, until=100_000), good(CONTENT, etag='"version 2"')]
    download([record(server, known)], root, OPTIONS)
    assert_downloaded(root)


def test_a_part_from_another_address_is_not_gone_on_with(server, root):
    server.script = [good(OTHER, until=100_000)]
    with pytest.raises(TransferError):
        resume.receive(f"{server.address}/other", make_part(root), None, True, Patience(attempts=1), quiet=True)
    server.script = [good(CONTENT)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)
    assert server.ranges() == [None, None]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_a_part_is_gone_on_with_only_if_a_checksum_will_tell(server, root, etag):
    for known, expected in ((False, [None, None]), (True, [None, 100_000 - OVERLAP_BYTES])):
        shutil.rmtree(root / "models", ignore_errors=True)
        server.requests.clear()
        server.script = [good(CONTENT, etag, until=100_000), good(CONTENT, etag)]
        download([record(server, known)], root, OPTIONS)
        assert_downloaded(root)
        assert server.ranges() == expected


def test_a_server_without_ranges_starts_over(server, root):
    server.script = [good(CONTENT, until=100_000), answer(200, CONTENT)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)


def lying(start, body, **headers):
    total = len(CONTENT)
    place = f"bytes {start}-{start + len(body) - 1}/{total}"
    return answer(206, body, **{"Content_Range": place, "ETag": ETAG, **headers})


REST = 100_000 - OVERLAP_BYTES


@pytest.mark.parametrize(
    "lie",
    [
        lying(REST, CONTENT[: len(CONTENT) - REST]),  # from the start, called the rest
        lying(REST, OTHER[REST:]),  # the rest of another file
        lying(REST + 1, CONTENT[REST + 1 :]),  # another range
        lying(REST, CONTENT[REST:], Content_Range="rest"),  # no range
        lying(REST, CONTENT[REST:], Content_Range=f"bytes {REST}-9/999"),  # of a file of another size
        lying(REST, CONTENT[REST:], ETag='"version 2"'),  # another version in spite of If-Range
        answer(416, Content_Range="bytes */10"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_server_that_lies_about_ranges_is_taken_from_the_start(server, root, lie, known):
    server.script = [good(CONTENT, until=100_000), lie, good(CONTENT)]
    download([record(server, known)], root, OPTIONS)
    assert_downloaded(root)
    assert server.ranges() == [None, REST, None]


def test_more_than_was_asked_for_is_not_written(server, root):
    long = answer(
        206, CONTENT[REST:] + b"more", Content_Range=f"bytes {REST}-{len(CONTENT) - 1}/{len(CONTENT)}", ETag=ETAG
    )
    server.script = [good(CONTENT, until=100_000), long, good(CONTENT)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)


@pytest.mark.parametrize("body", [OTHER, CONTENT[:-1] + b"\0"])
def test_a_wrong_hash_is_removed(server, root, body):
    server.script = [good(body)]
    assert_refused(root, [record(server, known=True)], "damaged or another file", "by hand")
    assert names_in(root) == []


def test_a_pin_is_checked_at_the_next_download(server, root):
    server.script = [good(CONTENT)]
    download([record(server)], root, OPTIONS)
    (root / PLACE).unlink()
    server.script = [good(OTHER)]
    assert_refused(root, [record(server)], "damaged or another file")
    assert names_in(root) == ["net.pth.sha256"]


def test_a_damaged_file_is_replaced(server, root):
    server.script = [good(CONTENT)]
    download([record(server)], root, OPTIONS)
    (root / PLACE).write_bytes(OTHER)
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)


def test_a_malformed_pin_is_named(server, root):
    path = root / PLACE
    path.parent.mkdir()
    sidecar_path(path).write_text("?")
    assert_refused(root, [record(server)], "net.pth.sha256 is malformed", "delete it")
    assert server.requests == []


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_refusal_is_final(server, root, status):
    server.script = [answer(status)]
    assert_refused(root, [record(server)], str(status), "127.0.0.1", str(root / PLACE), "by hand")
    assert len(server.requests) == 1
    assert names_in(root) == []


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_that_recovers_is_asked_again(server, root, status):
    server.script = [answer(status), answer(status, Retry_After="0"), good(CONTENT)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)


def test_the_server_may_ask_for_patience(server, root):
    server.script = [answer(503, Retry_After="1"), good(CONTENT)]
    started = time.monotonic()
    download([record(server)], root, OPTIONS)
    assert time.monotonic() - started > 1
    assert_downloaded(root)


@pytest.mark.parametrize("quiet", [silent(), silent(CONTENT[:50_000], len(CONTENT))])
def test_a_silent_server_is_asked_again(server, root, quiet):
    server.script = [quiet, good(CONTENT)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)


def test_a_server_that_stays_silent_is_given_up(server, root):
    server.script = [silent()]
    started = time.monotonic()
    assert_refused(root, [record(server)], "silent for 0.4 s")
    assert time.monotonic() - started < QUICK.attempts * (QUICK.timeout_s + 0.3)


def test_a_dripping_server_is_as_good_as_a_silent_one(server, root):
    server.script = [dripping(CONTENT), good(CONTENT)]
    started = time.monotonic()
    download([record(server)], root, OPTIONS)
    assert time.monotonic() - started < 2
    assert_downloaded(root)


def test_a_slow_server_is_waited_for(server, root):
    server.script = [good(CONTENT, pause_s=0.3)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)
    assert len(server.requests) == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_length_that_promises_too_much(server, root, known):
    server.script = [raw(CONTENT, Content_Length=len(CONTENT) + 7, ETag=ETAG)]
    assert_refused(root, [record(server, known)])


def test_a_length_that_promises_too_little_shows_in_the_size(server, root):
    server.script = [raw(CONTENT, Content_Length=len(CONTENT) - 7)]
    assert_refused(root, [record(server, known=True)], f"{len(CONTENT) - 7} bytes instead of {len(CONTENT)}")


def test_a_truncated_zip_checkpoint_is_not_pinned(server, root, tmp_path):
    archive = tmp_path / "whole.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("archive/data.pkl", CONTENT)
    server.script = [answer(200, archive.read_bytes()[:-1000])]
    assert_refused(root, [record(server)], "is truncated")
    assert names_in(root) == []


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answer(200, b""), "is empty"),
        (answer(200, b"Not found" * 100), "is no checkpoint"),
        (good(b"<html>log in</html>", kind="text/html; charset=utf-8"), "a web page"),
        (answer(200, CONTENT, Content_Encoding="gzip"), "encoding 'gzip'"),
        (raw(CONTENT), "does not say how long"),
        (answer(206, CONTENT), "answers 206"),
        (raw(b"", Content_Length=2**40), "more than any of ours"),
    ],
)
def test_what_cannot_be_the_file_is_not_pinned(server, root, behaviour, words):
    server.script = [behaviour]
    assert_refused(root, [record(server)], words)
    assert names_in(root) == []


def chunks(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def test_a_chunked_body_may_not_be_cut(server, root):
    cut = raw(chunks(CONTENT[:100_000]), Transfer_Encoding="chunked", ETag=ETAG)
    whole = raw(chunks(CONTENT[:100_000], CONTENT[100_000:], b""), Transfer_Encoding="chunked", ETag=ETAG)
    server.script = [cut]
    assert_refused(root, [record(server)])
    server.script = [whole]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)


def test_an_endless_body_is_stopped(server, root, monkeypatch):
    monkeypatch.setattr(resume, "MOST_BYTES", 100_000)
    server.script = [raw(chunks(CONTENT, b""), Transfer_Encoding="chunked")]
    assert_refused(root, [record(server)], "sends more than")
    assert names_in(root) == []


def test_redirects_are_followed_with_the_range(server, root):
    server.script = [good(CONTENT, until=100_000), answer(302, Location="/elsewhere"), good(CONTENT)]
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)
    assert server.ranges() == [None, REST, REST]
    assert server.requests[-1][0] == "/elsewhere"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("file:///etc/passwd", "not allowed"),
        ("data:,x", "not allowed"),
        ("ftp://127.0.0.1/x", "unknown url type: ftp"),
    ],
)
def test_redirects_leave_http_never(server, root, target, words):
    server.script = [answer(302, Location=target)]
    assert_refused(root, [record(server)], words)


def test_redirects_in_a_circle_end(server, root):
    server.script = [answer(302, Location="/net.pth")]
    assert_refused(root, [record(server)], "302")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_is_verified_and_never_left(server, root, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with running_server() as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        file = record(secure)
        file = ModelFile(**{**vars(file), "url": file.url.replace("http:", "https:")})
        secure.script = [good(CONTENT)]
        assert_refused(root, [file], "certificate of 127.0.0.1 is not trusted")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        transport._tls.cache_clear()
        server.script = [good(CONTENT)]
        secure.script = [answer(302, Location=f"{server.address}/net.pth")]
        assert_refused(root, [file], "from https to http")
        assert server.requests == []
        secure.script = [good(CONTENT)]
        download([file], root, OPTIONS)
        assert_downloaded(root)
    transport._tls.cache_clear()


def test_no_network_is_said_once(root):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/net.pth"
        first = ModelFile("net", PLACE, None, None, url, (), "free", None, "a test")
        second = ModelFile("other", "other.pth", None, None, url, (), "free", None, "a test")
        message = assert_refused(root, [first, second], "no network: cannot reach 127.0.0.1", "by hand", kind=NoNetwork)
    assert "other.pth" not in message


def test_an_unknown_host_is_no_network(root):
    file = ModelFile("net", PLACE, None, None, "http://host.invalid/net.pth", (), "free", None, "a test")
    assert_refused(root, [file], "no network: cannot reach host.invalid", kind=NoNetwork)


def test_one_file_that_cannot_be_had_does_not_keep_the_others_away(server, root):
    missing = ModelFile("gone", "gone.pth", None, None, f"{server.address}/gone", (), "free", None, "a test")
    server.script = [answer(404), good(CONTENT)]
    with pytest.raises(ModelFileError, match=r"gone cannot be downloaded: .*404"):
        download([missing, record(server)], root, OPTIONS)
    assert_downloaded(root)


def test_a_folder_that_cannot_be_written(server, root):
    (root / "models").write_bytes(b"a file in the way")
    server.script = [good(CONTENT)]
    with pytest.raises(UnwritableOutput, match="cannot write"):
        download([record(server)], root, OPTIONS)
    (root / "models").unlink()


def test_a_disk_that_is_too_small_is_told_before_it_is_full(server, root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    server.script = [good(CONTENT)]
    assert_refused(root, [record(server)], "1000 are free", kind=UnwritableOutput, code=6)


CHILD = """
    import sys
    from pathlib import Path
    from utils.errors import SwapError
    from utils.model_files.fetch import Options, download
    from utils.model_files.table import ModelFile
    file = ModelFile("net", "models/net.pth", None, None, sys.argv[1], (), "free", None, "a test")
    {prelude}
    try:
        download([file], Path(sys.argv[2]), Options(quiet=True))
    except SwapError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
"""


def start_child(server, root, prelude=""):
    code = textwrap.dedent(CHILD).format(prelude=prelude)
    command = [sys.executable, "-B", "-c", code, f"{server.address}/net.pth", str(root)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def finish(child, timeout=20):
    errors = child.communicate(timeout=timeout)[1]
    return child.returncode, errors


def wait_for_part(root, child):
    part = part_of(root / PLACE)
    while not part.is_file() or part.stat().st_size < 2 * OVERLAP_BYTES:
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_keeps_what_arrived(server, root):
    server.script = [good(CONTENT)]
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    code, errors = finish(start_child(server, root, limit))
    assert code == 6
    assert len(errors.splitlines()) == 1
    assert "cannot write" in errors and "goes on with what is there" in errors
    assert part_of(root / PLACE).read_bytes() == CONTENT[:100_000]
    assert not (root / PLACE).exists()
    download([record(server)], root, OPTIONS)
    assert_downloaded(root)
    assert server.ranges() == [None, REST]


def test_processes_at_once_share_one_download(server, root):
    server.script = [good(CONTENT, pause_s=0.15)]
    children = [start_child(server, root) for _ in range(3)]
    endings = [finish(child) for child in children]
    assert [code for code, _ in endings] == [0, 0, 0], endings
    assert_downloaded(root)
    assert len(server.requests) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_process_leaves_no_lock_behind(server, root):
    server.script = [good(CONTENT, pause_s=0.3), good(CONTENT)]
    first = start_child(server, root)
    wait_for_part(root, first)
    second = start_child(server, root)
    assert "waiting" in second.stderr.readline()
    first.kill()
    first.communicate()
    assert finish(second) == (0, "")
    assert_downloaded(root)
    assert server.ranges()[1] > 0


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    path, inside, most = tmp_path / "x", [], []

    def work():
        for _ in range(5):
            with exclusive(path):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_its_holder_removed_meanwhile_is_not_held(tmp_path, monkeypatch):
    original, calls = locks.try_lock, []

    def slow(handle):
        calls.append(handle)
        if len(calls) == 1:  # between opening and locking, the former holder has finished
            (tmp_path / ".x.lock").unlink()
        return original(handle)

    monkeypatch.setattr(locks, "try_lock", slow)
    with exclusive(tmp_path / "x"):
        assert (tmp_path / ".x.lock").exists()
    assert len(calls) == 2


@pytest.fixture
def project(tmp_path):
    """A copy of the program, so that nothing lands in the real one."""
    copy = tmp_path / "project"
    for name in ("models", "utils", "weights"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pth*"))
    shutil.copy(ROOT / "inference.py", copy)
    return copy


def command_line(project, server, *arguments):
    environment = {**os.environ, "GHOST_WEIGHTS_MIRROR": server.address, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "inference.py", *arguments]
    return subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_goes_on_at_the_next_run(server, project, number):
    path = project / "weights" / "10_net_G.pth"
    server.script = [good(CONTENT, pause_s=0.3), good(CONTENT)]
    process = command_line(project, server, "--download", "sr")
    while not part_of(path).is_file() or part_of(path).stat().st_size < 2 * OVERLAP_BYTES:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == "interrupted; the same command goes on where it stopped"
    assert not path.exists()
    assert not list(project.rglob("*.lock"))
    process = command_line(project, server, "--download", "sr")
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (0, f"{path}\n"), stderr
    assert "non-commercial" in stderr
    assert server.address in stderr
    assert path.read_bytes() == CONTENT
    assert server.ranges()[1] > 0
    assert server.requests[0][0] == "/sberbank-ai/sber-swap/releases/download/super-res/10_net_G.pth"


def test_the_command_line_names_what_it_cannot_fetch(server, project):
    server.script = [answer(404)]
    process = command_line(project, server, "--download", "ghost", "--quiet")
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (5, "")
    (line,) = stderr.splitlines()
    for place in (
        "insightface_func/models/antelope/scrfd_10g_bnkps.onnx",
        "arcface_model/backbone.pth",
        "weights/G_unet_2blocks.pth",
    ):
        assert place in line
    assert {path.rsplit("/", 1)[1] for path, _ in server.requests} == {
        "scrfd_10g_bnkps.onnx",
        "antelopev2.zip",
        "backbone.pth",
        "G_unet_2blocks.pth",
    }


@pytest.mark.parametrize(
    "text",
    [
        *("ftp://127.0.0.1/", "file:///tmp", "127.0.0.1:80", "http://", "http://[", "C:\\x"),
        *("http://127.0.0.1:abc", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://host/a b", "http://ho\nst"),
        *(
            "http://127.0.0.1\n",
            "http://host/\x1b[1m",
            "http://h\u00f6st",
            "http://host/?token=secret",
            "http://host/#x",
        ),
    ],
)
def test_a_mirror_must_be_an_address(monkeypatch, tmp_path, text):
    monkeypatch.setenv(commands.MIRROR_VARIABLE, text)
    with pytest.raises(BadArgument, match="GHOST_WEIGHTS_MIRROR"):
        commands.download_named(["sr"], True, tmp_path)


@pytest.mark.parametrize(
    "text", ["http://user:secret@127.0.0.1", "http://secret@host", "http://@host", "secret@host", "http://u:secret@h:x"]
)
def test_the_user_of_a_mirror_is_refused_and_not_told(monkeypatch, tmp_path, capfd, text):
    monkeypatch.setenv(commands.MIRROR_VARIABLE, text)
    with pytest.raises(BadArgument, match="GHOST_WEIGHTS_MIRROR") as refused:
        commands.download_named(["sr"], False, tmp_path)
    assert "secret" not in f"{refused.value}{capfd.readouterr()}"


@pytest.mark.parametrize(
    "text", ["https://host", "http://127.0.0.1:8000/mirror/", "http://[::1]:80/%20@x/~a", "https://h-1.example:"]
)
def test_addresses_of_any_shape_are_mirrors(text):
    assert commands.checked_mirror(text) == text


def zipped(path, members):
    """Write a zip archive; members are (name, content, Unix mode)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            entry = zipfile.ZipInfo("x")
            entry.filename = entry.orig_filename = name
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return path.read_bytes()


def archive_record(server, body, **changes):
    values = {"url": f"{server.address}/pack.zip", "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return Archive("pack.zip", **{**values, **changes})


FILE = stat.S_IFREG | 0o644


@pytest.mark.parametrize("folder", ["", "antelopev2/", "a/b/"])
@pytest.mark.parametrize("mode", [FILE, 0])
def test_a_member_is_unpacked_alone(server, root, tmp_path, folder, mode):
    members = [("other.onnx", OTHER, FILE), (f"{folder}net.pth", CONTENT, mode), ("../evil.txt", b"evil", FILE)]
    body = zipped(tmp_path / "x.zip", members)
    server.script = [good(body, until=len(body) // 2), good(body)]
    before = sorted(tmp_path.parent.iterdir())
    download([record(server, True, [archive_record(server, body)], direct=False)], root, OPTIONS)
    assert_downloaded(root)
    assert "unpacked from pack.zip" in read_sidecar(root / PLACE).origin
    assert sorted(path.name for path in root.iterdir()) == ["models", "weights", "x.zip"]
    assert list((root / "weights").iterdir()) == [], "the archive is not kept"
    assert sorted(tmp_path.parent.iterdir()) == before


@pytest.mark.parametrize(
    "member",
    [
        ("../net.pth", CONTENT, FILE),
        ("a/../../net.pth", CONTENT, FILE),
        ("/net.pth", CONTENT, FILE),
        ("C:/net.pth", CONTENT, FILE),
        ("..\\net.pth", CONTENT, FILE),
        ("a\\net.pth", CONTENT, FILE),
        ("net.pth", CONTENT, stat.S_IFLNK | 0o777),
        ("net.pth", CONTENT, stat.S_IFIFO | 0o777),
        ("net.pth/", CONTENT, FILE),
        ("net.pth", CONTENT[:-1], FILE),
        ("net.pth", CONTENT + b"x", FILE),
        ("net.pth", OTHER, FILE),
        ("net.onnx", CONTENT, FILE),
    ],
    ids=lambda member: f"{member[0]} {len(member[1])} {member[2]:o}",
)
def test_a_member_that_is_not_the_file_is_refused(server, root, tmp_path, member):
    body = zipped(tmp_path / "x.zip", [member])
    server.script = [good(body)]
    assert_refused(root, [record(server, True, [archive_record(server, body)], direct=False)], "pack.zip")
    assert names_in(root) == []


@pytest.mark.parametrize("stored", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_whose_size_is_a_lie_writes_no_more_than_it_may(tmp_path, stored):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", stored) as archive:
        archive.writestr("net.pth", bytes(10**6))
    body = path.read_bytes()
    path.write_bytes(body.replace((10**6).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with pytest.raises(BadArchive):
        unpack_member(path, "net.pth", 1000, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size <= 1000


@pytest.mark.parametrize(
    "damage", [lambda body: body[:-30], lambda body: body[:100] + b"?" + body[101:], lambda _: b""]
)
def test_a_damaged_archive_is_refused(server, root, tmp_path, damage):
    body = zipped(tmp_path / "x.zip", [("net.pth", CONTENT, FILE)])
    (tmp_path / "x.zip").write_bytes(damage(body))
    with pytest.raises(BadArchive, match=r"x\.zip is damaged"):
        unpack_member(tmp_path / "x.zip", "net.pth", len(CONTENT), tmp_path / "out")
    server.script = [answer(200, damage(body))]
    assert_refused(root, [record(server, True, [archive_record(server, body)], direct=False)])
    assert list((root / "weights").glob("*.zip")) == []


def test_an_archive_helps_out_where_the_file_is_gone(server, root, tmp_path):
    body = zipped(tmp_path / "x.zip", [("net.pth", CONTENT, FILE)])
    server.script = [answer(404), good(body)]
    download([record(server, True, [archive_record(server, body)])], root, OPTIONS)
    assert_downloaded(root)
    assert [path for path, _ in server.requests] == ["/net.pth", "/pack.zip"]


def test_two_files_of_one_archive_need_one_download(server, root, tmp_path):
    body = zipped(tmp_path / "x.zip", [("net.pth", CONTENT, FILE), ("net2.pth", CONTENT, FILE)])
    first = record(server, True, [archive_record(server, body)], direct=False)
    second = ModelFile(**{**vars(first), "name": "net2", "path": "models/net2.pth"})
    server.script = [good(body)]
    download([first, second], root, OPTIONS)
    assert len(server.requests) == 1
    assert (root / "models" / "net2.pth").read_bytes() == (root / PLACE).read_bytes() == CONTENT
