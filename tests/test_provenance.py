"""What outputs say of themselves, and how it is read again: by --verify, by the c2pa package, by exiftool."""

from __future__ import annotations

import http.server
import io
import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import av
import c2pa
import cv2
import numpy as np
import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER
from hypothesis import given, settings
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe
from manifests import created, sign
from PIL import Image as PillowImage

from utils.errors import UnreadableInput
from utils.pictures import read_picture, write_picture
from utils.provenance.formats import mime_of, sidecars_of
from utils.provenance.manifest import sign_picture
from utils.provenance.marking import Marking
from utils.provenance.marks import DIGITAL_SOURCE_TYPE, XMP_PACKET, xmp_source_types
from utils.provenance.verify import CHANGED, INTACT, UNMARKED, verify

PICTURES = (".png", ".jpg", ".webp", ".tiff")
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
OURS = "compositeWithTrainedAlgorithmicMedia"
GPS, DETAILS, MAKER_NOTE = 0x8825, 0x8769, 0x927C
PLACE = "Reykjavik"


@pytest.fixture(scope="module")
def results(command_line, tmp_path_factory):
    """One result of each format, by the command line in as few runs as that takes."""
    folder = tmp_path_factory.mktemp("results")
    lines = ["target_image,out_image_name,target_video,out_video_name,end"]
    lines += [f"{COLLINS},{folder}/photo{extension},,," for extension in PICTURES]
    lines += [f",,{COLLINS_CLIP},{folder}/clip{extension},6f" for extension in VIDEOS]
    (folder / "jobs.csv").write_text("\n".join(lines))
    finished = command_line("--jobs", folder / "jobs.csv", "--source_paths", HOPPER)
    assert finished.returncode == 0, finished.stderr
    return {path.suffix: path for path in folder.iterdir() if path.stem in ("photo", "clip")}


def changed(path: Path, folder: Path) -> Path:
    """A copy with one bit of its pictures flipped, and its sidecar."""
    content = bytearray(path.read_bytes())
    start = content.find(b"mdat") if path.suffix in (".mp4", ".m4v", ".mov") else 0
    content[start + (len(content) - start) * 2 // 3] ^= 1
    copy = folder / path.name
    copy.write_bytes(content)
    if sidecars_of(path)[0].exists():
        shutil.copy(sidecars_of(path)[0], sidecars_of(copy)[0])
    return copy


@pytest.mark.parametrize("extension", [*PICTURES, *VIDEOS])
def test_every_format_is_marked_and_signed(results, extension):
    found = verify(results[extension])
    assert found.exit_code == INTACT
    assert (OURS in found.xmp) == (extension not in (".mkv", ".webm"))
    assert (OURS in found.tags) == (extension in VIDEOS)
    signature = found.signature
    assert (found.sidecar is not None) == (extension in (".mkv", ".webm"))
    assert signature.actions == ("c2pa.opened", "c2pa.edited")
    assert signature.tools[0].startswith("ghost-face-swap ") and signature.pack.startswith("builtin ")
    assert signature.source_types == (OURS,)
    assert not signature.trusted and "unknown user" in signature.signer


@pytest.mark.parametrize("extension", [*PICTURES, *VIDEOS])
def test_a_changed_bit_is_noticed(results, extension, tmp_path):
    found = verify(changed(results[extension], tmp_path))
    assert found.exit_code == CHANGED
    assert found.signature.failures


def test_the_command_line_tells_the_verdict(results, command_line, tmp_path):
    told = command_line("--verify", results[".png"])
    assert told.returncode == INTACT
    assert "as it was signed" in told.stdout and "unknown" in told.stdout and told.stderr == ""
    told = command_line("--verify", changed(results[".png"], tmp_path), "--json")
    assert told.returncode == json.loads(told.stdout)["exit_code"] == CHANGED
    told = command_line("--verify", COLLINS)
    assert told.returncode == UNMARKED
    assert "not marked" in told.stdout
    told = command_line("--verify", tmp_path / "missing.png")
    assert (told.returncode, told.stdout) == (3, "")
    assert "missing.png" in told.stderr


def test_the_verdict_stands_when_nobody_reads_it_to_the_end(results, command_line, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    tampered = changed(results[".png"], tmp_path)
    told = command_line("--verify", tampered, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (told.returncode, told.stderr) == (CHANGED, "")


def test_encoding_a_picture_again_loses_the_marks(results, tmp_path):
    pixels = cv2.imread(str(results[".png"]), cv2.IMREAD_UNCHANGED)
    pixels[5, 5] ^= 1
    cv2.imwrite(str(tmp_path / "again.png"), pixels)
    assert verify(tmp_path / "again.png").exit_code == UNMARKED


@pytest.mark.parametrize("options", [("-c", "copy"), ("-c:v", "libx264", "-preset", "ultrafast")])
def test_a_video_written_again_keeps_its_tags_and_not_its_signature(results, options, tmp_path):
    again = tmp_path / "again.mp4"
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(results[".mp4"]), *options, str(again)]
    subprocess.run(command, check=True)
    found = verify(again)
    assert found.exit_code == CHANGED
    assert found.signature is None
    assert "lost that when it was edited" in found.verdict


def test_xmp_alone_is_no_proof(tmp_path):
    picture = PillowImage.open(COLLINS)
    picture.save(tmp_path / "by_others.jpg", xmp=XMP_PACKET)
    found = verify(tmp_path / "by_others.jpg")
    assert (found.exit_code, found.xmp) == (CHANGED, (OURS,))


@pytest.mark.parametrize("extension", [*PICTURES, ".mp4", ".mov"])
def test_the_c2pa_reader_sees_the_same(results, extension):
    with results[extension].open("rb") as file, c2pa.Reader(None, file) as reader:
        assert reader.get_validation_state() == "Valid"
        manifest = reader.get_active_manifest()
        failures = [failure["code"] for failure in reader.get_validation_results()["activeManifest"]["failure"]]
    assert failures == ["signingCredential.untrusted"]
    assert [one["relationship"] for one in manifest["ingredients"]] == ["parentOf"]
    (actions,) = [one["data"]["actions"] for one in manifest["assertions"] if one["label"].startswith("c2pa.actions")]
    assert actions[1]["digitalSourceType"] == DIGITAL_SOURCE_TYPE


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("extension", [*PICTURES, *VIDEOS])
def test_exiftool_sees_the_same(results, extension):
    told = subprocess.run(["exiftool", "-j", "-a", results[extension]], capture_output=True, check=True, text=True)
    fields = json.loads(told.stdout)[0]
    name = "Digitalsourcetype" if extension in (".mkv", ".webm") else "DigitalSourceType"
    assert fields[name] == DIGITAL_SOURCE_TYPE
    assert extension not in (".png", ".jpg") or fields["JUMDLabel"] == "c2pa"
    assert extension not in VIDEOS or DIGITAL_SOURCE_TYPE in fields["Comment"]


@pytest.mark.parametrize("extension", [".jpg", ".mp4", ".mkv"])
def test_a_manifest_holds_no_path_no_host_and_no_picture(results, extension):
    path = results[extension]
    content = (sidecars_of(path)[0] if extension == ".mkv" else path).read_bytes()
    # The host's name may be a word that is there for other reasons.
    told = [socket.gethostname()] if len(socket.gethostname()) > 6 else []
    for text in (*told, str(path.parent), path.stem, HOPPER.stem, COLLINS.stem, str(Path.home())):
        assert extension == ".mkv" or text.encode() not in content.replace(b"photo", b"")
        assert text.encode() not in _manifest_of(content)
    assert len(_manifest_of(content)) < 6000, "a thumbnail would be larger"


def _manifest_of(content: bytes) -> bytes:
    start = content.find(b"jumb") - 4
    return content[start : start + int.from_bytes(content[start : start + 4], "big")]


def _with_manifest(encoded: bytes) -> bytes:
    """A photo as a camera signs it: with a thumbnail, and the place in all the ways that there are."""
    standard = {
        "stds.exif": {"@context": {"exif": "http://ns.adobe.com/exif/1.0/"}, "exif:GPSLatitude": f"{PLACE} 1"},
        "stds.iptc": {"@context": {"Iptc4xmpExt": "http://iptc.org/"}, "Iptc4xmpExt:City": f"{PLACE} 2"},
        "stds.schema-org.CreativeWork": {
            "@context": "https://schema.org",
            "@type": "CreativeWork",
            "name": f"{PLACE} 3",
        },
        "c2pa.metadata": {"@context": {"exif": "http://ns.adobe.com/exif/1.0/"}, "exif:GPSLatitude": f"{PLACE} 4"},
    }
    assertions = [{"label": label, "data": data, "kind": "Json"} for label, data in standard.items()]
    vendors = {"label": "com.camera.gps", "data": {"latitude": f"{PLACE} 5"}}
    return sign(encoded, [created("digitalCapture")], [*assertions, vendors])


@pytest.mark.parametrize("keep_gps", [False, True])
def test_the_targets_own_manifest_is_passed_on_without_face_and_place(tmp_path, keep_gps):
    original = _with_manifest(HOPPER.read_bytes())
    assert b"c2pa.thumbnail.claim" in original and original.count(PLACE.encode()) == 5
    result = sign_picture(COLLINS.read_bytes(), original, Marking(keep_gps=keep_gps))
    (tmp_path / "result.png").write_bytes(result)
    with c2pa.Reader(None, io.BytesIO(result)) as reader:
        store = json.loads(reader.json())["manifests"]
        assert reader.get_validation_state() == "Valid"
    assert sorted(one["claim_generator_info"][0]["name"] for one in store.values()) == ["camera", "ghost-face-swap"]
    assert not any("thumbnail" in one for one in store.values())
    assert len(result) - COLLINS.stat().st_size < 16_000, "no thumbnail is left"
    assert result.count(PLACE.encode()) == (5 if keep_gps else 0)
    found = verify(tmp_path / "result.png")
    assert found.exit_code == INTACT
    assert (found.signature.source_types, found.signature.earlier_types) == ((OURS,), ("digitalCapture",))


@pytest.mark.parametrize("damage", [600, 60, -3000])
def test_a_target_with_a_damaged_manifest_is_swapped_all_the_same(tmp_path, damage):
    original = bytearray(sign_picture(COLLINS.read_bytes(), b"", Marking()))
    original[(original.index(b"caBX") if damage > 0 else len(original)) + damage] ^= 0xFF
    (tmp_path / "result.png").write_bytes(sign_picture(COLLINS.read_bytes(), bytes(original), Marking()))
    assert verify(tmp_path / "result.png").exit_code == INTACT


def test_manifests_elsewhere_are_not_fetched(tmp_path):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/manifest.c2pa"
    packet = XMP_PACKET.replace(
        b'rdf:about=""',
        f'rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{address}"'.encode(),
    )
    PillowImage.open(COLLINS).convert("RGB").save(tmp_path / "remote.jpg", xmp=packet)
    remote = (tmp_path / "remote.jpg").read_bytes()
    assert address.encode() in remote
    sign_picture(COLLINS.read_bytes(), remote, Marking())
    assert verify(tmp_path / "remote.jpg").exit_code == CHANGED
    server.shutdown()
    assert asked == []


def _photo_with_place(path: Path) -> Path:
    exif = PillowImage.Exif()
    exif[0x0132] = "2024:05:06 07:08:09"
    exif.get_ifd(GPS)[1], exif.get_ifd(GPS)[2] = "N", (48.0, 51.0, 29.6)
    preview = io.BytesIO()
    PillowImage.open(COLLINS).convert("RGB").resize((64, 64)).save(preview, "JPEG")
    exif.get_ifd(DETAILS)[MAKER_NOTE] = b"Camera\0" + preview.getvalue()
    PillowImage.open(COLLINS).convert("RGB").save(path, exif=exif)
    return path


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("keep_gps", [False, True])
def test_the_place_of_a_photo_is_dropped_unless_it_is_to_be_kept(tmp_path, extension, keep_gps):
    target = read_picture(_photo_with_place(tmp_path / "target.jpg"))
    out = tmp_path / f"out{extension}"
    write_picture(out, target, target.bgr, Marking(keep_gps=keep_gps))
    with PillowImage.open(out) as picture:
        exif = picture.getexif()
    assert exif[0x0132] == "2024:05:06 07:08:09", "the date stays"
    assert MAKER_NOTE not in exif.get_ifd(DETAILS), "it may hold the face as it was"
    assert exif.get_ifd(GPS).get(2) == ((48.0, 51.0, 29.6) if keep_gps else None)


def test_the_place_of_a_video_is_dropped_unless_it_is_to_be_kept(command_line, tmp_path):
    target, place = tmp_path / "target.mp4", "+48.8583+002.2945/"
    tagged = ["-frames:v", "3", "-c", "copy", "-metadata", f"location={place}", str(target)]
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-i", str(COLLINS_CLIP), *tagged], check=True)
    outs = {
        tmp_path / f"{keeps}{extension}": keeps for keeps in (False, True) for extension in (".mp4", ".mov", ".mkv")
    }
    jobs = [f"{target},{out},{keeps}" for out, keeps in outs.items()]
    (tmp_path / "jobs.csv").write_text("\n".join(["target_video,out_video_name,keep_gps", *jobs]))
    assert command_line("--jobs", tmp_path / "jobs.csv", "--source_paths", HOPPER).returncode == 0
    for out, keeps in outs.items():
        with av.open(str(out)) as container:
            tags = {key.lower(): text for key, text in container.metadata.items()}
        assert tags.get("location") == (place if keeps else None)
        assert keeps or place not in str(tags)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x18ftypisom", b"\x1aE\xdf\xa3jumdc2pa"]
)
def test_verifying_what_is_no_media_ends_with_a_verdict(tmp_path, content):
    path = tmp_path / "file.png"
    path.write_bytes(content)
    assert verify(path).exit_code == (CHANGED if b"jumd" in content else UNMARKED)


def test_verifying_what_is_no_file_or_a_sidecar_is_refused(tmp_path, results):
    with pytest.raises(UnreadableInput, match="lies beside it"):
        verify(sidecars_of(results[".mkv"])[0])
    with pytest.raises(UnreadableInput, match="not a file"):
        verify(tmp_path)
    with pytest.raises(UnreadableInput, match="check the path"):
        verify(tmp_path / "none")


@given(
    st.sampled_from(['{0}:DigitalSourceType="{1}"', "<{0}:DigitalSourceType>{1}</", "{0}:DigitalSourceType = '{1}'"]),
    st.sampled_from(["Iptc4xmpExt", "ext"]),
    st.sampled_from([DIGITAL_SOURCE_TYPE, OURS, DIGITAL_SOURCE_TYPE.replace("http:", "https:")]),
    st.binary(max_size=40),
)
def test_xmp_is_found_however_it_is_written(tmp_path_factory, syntax, prefix, value, before):
    path = tmp_path_factory.mktemp("xmp") / "file"
    path.write_bytes(before + b" " + syntax.format(prefix, value).encode() + b" ")
    assert xmp_source_types(path) == {OURS}


@given(st.binary(max_size=64))
def test_any_bytes_have_a_kind(head):
    assert "/" in mime_of(head)


def test_pixels_and_packets_are_not_touched_by_signing(results):
    for extension in (".png", ".tiff", ".webp"):
        image = cv2.imread(str(results[extension]))
        np.testing.assert_array_equal(image, cv2.imread(str(results[".png"])))
    with av.open(str(results[".mp4"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Small signed pictures, as bytes by extension."""
    folder = tmp_path_factory.mktemp("small")
    cv2.imwrite(str(folder / "in.png"), cv2.resize(cv2.imread(str(COLLINS)), (48, 40)))
    picture = read_picture(folder / "in.png")
    for extension in PICTURES:
        write_picture(folder / f"out{extension}", picture, picture.bgr)
    return {extension: (folder / f"out{extension}").read_bytes() for extension in PICTURES}


@settings(max_examples=150)
@given(
    st.sampled_from(PICTURES), st.floats(0, 1), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8)
)
def test_whatever_is_done_to_a_signed_file_there_is_a_verdict(tmp_path_factory, small, extension, kept, edits):
    original = small[extension]
    content = bytearray(original)
    for place, value in edits:
        content[int(place * (len(content) - 1))] = value
    del content[max(1, int(kept * 2 * len(content))) :]
    path = tmp_path_factory.mktemp("edited") / f"file{extension}"
    path.write_bytes(content)
    assert verify(path).exit_code in (INTACT, UNMARKED, CHANGED)
    again = sign_picture(small[".png"], bytes(content), Marking())
    path.write_bytes(again)
    assert verify(path).exit_code == INTACT, "a target may be as broken as it likes"


@given(st.sampled_from(PICTURES), st.floats(0, 1), st.integers(1, 255))
def test_no_byte_of_the_pixels_can_be_changed_unnoticed(tmp_path_factory, small, extension, place, change):
    content = bytearray(small[extension])
    start = {
        ".png": content.rfind(b"IDAT"),
        ".jpg": content.rfind(b"\xff\xda"),
        ".webp": content.find(b"VP8L"),
        ".tiff": 8,
    }
    manifest = content.find(b"jumdc2pa")
    where = start[extension] + int(place * 400)
    if extension == ".tiff":
        where = min(where, manifest - 600)
    content[where] ^= change
    path = tmp_path_factory.mktemp("edited") / f"file{extension}"
    path.write_bytes(content)
    assert verify(path).exit_code in (CHANGED, UNMARKED)
