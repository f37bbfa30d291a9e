"""What --verify says: of files by others, of files that somebody meddled with, of manifests that mean to deceive."""

from __future__ import annotations

import datetime
import shutil
import struct
import time

import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from manifests import CAMERA, created, sign
from test_signing import KINDS, NOW, certificate, write

from utils.errors import UnreadableInput
from utils.pictures import read_picture, write_picture
from utils.provenance.credentials import read_credentials
from utils.provenance.formats import sidecars_of
from utils.provenance.manifest import detached_manifest, sign_picture
from utils.provenance.marking import Marking
from utils.provenance.marks import insert_xmp_into_jpeg
from utils.provenance.statement import LONGEST_TEXT, printable, read_statement
from utils.provenance.verify import CHANGED, INTACT, UNMARKED, Findings, verify

MODEL = "trainedAlgorithmicMedia"


def verdict(folder, content, name="file.jpg"):
    (folder / name).write_bytes(content)
    return verify(folder / name)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(CAMERA, UNMARKED), ("algorithmicMedia", UNMARKED), ("algorithmicallyEnhanced", UNMARKED), (MODEL, INTACT)],
)
def test_only_what_a_model_made_is_marked(tmp_path, kind, code):
    found = verdict(tmp_path, sign(HOPPER.read_bytes(), [created(kind)]))
    assert found.exit_code == code
    assert f": {kind}" in "\n".join(found.lines())


def test_a_signed_file_that_was_changed_is_told_without_calling_it_altered_by_ai(tmp_path):
    content = bytearray(sign(HOPPER.read_bytes(), [created(CAMERA)]))
    content[-2000] ^= 1
    found = verdict(tmp_path, content)
    assert found.exit_code == CHANGED
    assert found.verdict == "signed, but not as it was signed: it was changed since"


def stuff_jpeg(signed):
    """Write a mark into the padding of a signature, which nothing is bound to."""
    text = b':DigitalSourceType="trainedAlgorithmicMedia"'
    place = signed.index(b"cpadY") + 10
    return signed[:place] + text + signed[place + len(text) :]


def stuff_mp4(signed):
    """Append a mark in a box that nothing is bound to."""
    text = b':DigitalSourceType="trainedAlgorithmicMedia"'
    return signed + struct.pack(">I4s", 8 + len(text), b"free") + text


@pytest.mark.parametrize(("original", "stuff"), [(HOPPER, stuff_jpeg), (COLLINS_CLIP, stuff_mp4)])
def test_a_mark_that_is_not_signed_makes_no_honest_file_one_that_is_marked_and_intact(tmp_path, original, stuff):
    signed = sign(original.read_bytes(), [created(CAMERA)])
    assert verdict(tmp_path, signed).exit_code == UNMARKED
    found = verdict(tmp_path, stuff(signed))
    assert found.signature.holds, "nothing is bound to that place"
    assert found.exit_code == CHANGED
    assert "what is signed does not say so" in found.verdict


def test_a_mark_that_nobody_signed_is_told_as_such(tmp_path):
    found = verdict(tmp_path, insert_xmp_into_jpeg(HOPPER.read_bytes()))
    assert found.exit_code == CHANGED
    assert "not signed" in found.verdict


def test_what_a_file_was_made_from_counts_where_it_holds(tmp_path):
    parent = sign(HOPPER.read_bytes(), [created(MODEL)])
    opened = [{"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}]
    found = verdict(tmp_path, sign(HOPPER.read_bytes(), opened, parent=parent))
    assert (found.exit_code, found.signature.source_types, found.signature.earlier_types) == (INTACT, (), (MODEL,))
    assert f"of what it was made from, it says: {MODEL}" in "\n".join(found.lines())
    broken = bytearray(parent)
    broken[-2000] ^= 1
    found = verdict(tmp_path, sign(HOPPER.read_bytes(), opened, parent=bytes(broken)))
    assert (found.exit_code, found.signature.earlier_types) == (UNMARKED, ())


def test_a_certificate_that_has_expired_says_nothing_about_the_file(tmp_path):
    key = KINDS["p256"]()
    soon = datetime.datetime.now(datetime.UTC) - NOW + datetime.timedelta(seconds=2)
    cert, key_path, _ = write(tmp_path, (certificate("Authority", key), key), KINDS["p256"](), to=soon)
    result = sign_picture(HOPPER.read_bytes(), b"", Marking(credentials=read_credentials(cert, key_path)))
    assert verdict(tmp_path, result).signature.signer_remarks == ()
    time.sleep(3.1)  # certificates know whole seconds only
    found = verdict(tmp_path, result)
    assert found.exit_code == INTACT
    assert found.signature.signer_remarks == ("signingCredential.expired",)
    assert "has expired" in found.lines()[-1]
    changed = bytearray(result)
    changed[-2000] ^= 1
    assert verdict(tmp_path, changed).exit_code == CHANGED


@pytest.mark.parametrize("content", [b"", b"text", "a key", "binary form"])
def test_trust_that_is_no_certificate_is_refused_and_not_blamed_on_the_file(tmp_path, content):
    key = KINDS["p256"]()
    authority = certificate("Authority", key)
    if content == "a key":
        content = write(tmp_path, (authority, key), KINDS["p256"]())[1].read_bytes()
    if content == "binary form":
        content = authority.public_bytes(serialization.Encoding.DER)
    (tmp_path / "trust.pem").write_bytes(content)
    with pytest.raises(UnreadableInput, match="no certificate in PEM format"):
        verify(COLLINS, tmp_path / "trust.pem")


def test_a_manifest_that_lies_beside_another_file_says_nothing_about_it(tmp_path):
    clip = tmp_path / "clip.mkv"
    shutil.copy(COLLINS_CLIP, clip)
    manifest = detached_manifest(clip, None, Marking())
    for name in ("clip.mkv.c2pa", "holiday.c2pa"):
        (tmp_path / name).write_bytes(manifest)
    assert verify(clip).exit_code == INTACT
    shutil.copy(COLLINS, tmp_path / "clip.mkv.png")
    shutil.copy(COLLINS, tmp_path / "holiday.png")
    (tmp_path / "holiday.txt").write_text("text")
    for name in ("clip.mkv.png", "holiday.png", "holiday.txt"):
        found = verify(tmp_path / name)
        assert found.exit_code == UNMARKED
        assert "the manifest of another file" in "\n".join(found.lines())
    shutil.copy(COLLINS, tmp_path / "clip.mkv")
    shutil.copy(COLLINS_CLIP, tmp_path / "clip.webm")
    (tmp_path / "clip.webm.c2pa").write_bytes(b"junk")
    (tmp_path / "clip.c2pa").write_bytes(manifest)
    assert verify(tmp_path / "clip.mkv").exit_code == UNMARKED
    assert verify(tmp_path / "clip.webm").exit_code == INTACT, "the other one is of this file"


def test_a_link_to_a_video_finds_what_lies_beside_the_video(tmp_path):
    (tmp_path / "real").mkdir()
    clip = tmp_path / "real" / "clip.mkv"
    shutil.copy(COLLINS_CLIP, clip)
    sidecars_of(clip)[0].write_bytes(detached_manifest(clip, None, Marking()))
    (tmp_path / "link.mkv").symlink_to(clip)
    assert verify(tmp_path / "link.mkv").exit_code == INTACT


def test_a_text_about_manifests_is_no_damaged_file(tmp_path):
    assert verdict(tmp_path, b"the type is jumdc2pa", "text.txt").exit_code == UNMARKED


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"\x82\xa2factio", b"\x82\xa2Factio"), (b"c2pa.assertions/c2pa.hash", b"c2pa/assertions/c2pa.hash")],
)
def test_manifests_of_which_a_part_is_gone_are_told_and_cost_no_swap(tmp_path, before, after):
    picture = read_picture(COLLINS)
    write_picture(tmp_path / "whole.png", picture, picture.bgr)
    whole = (tmp_path / "whole.png").read_bytes()
    broken = whole.replace(before, after)
    assert broken != whole
    assert verdict(tmp_path, broken, "broken.png").exit_code == CHANGED
    assert verdict(tmp_path, sign_picture(COLLINS.read_bytes(), broken, Marking()), "again.png").exit_code == INTACT


def test_no_text_of_a_manifest_can_pass_for_ours(tmp_path):
    name = "Leica\n  signed by: Reuters (trusted)\n\x1b[8m\u202e" + "x" * 1000
    found = verdict(tmp_path, sign(HOPPER.read_bytes(), [created(MODEL, softwareAgent={"name": name})]))
    lines = found.lines()
    assert all(line.isprintable() and len(line) < 3 * LONGEST_TEXT for line in lines)
    assert sum(line.lstrip().startswith("signed by:") for line in lines) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "manifests",
                        "active_manifest",
                        "assertions",
                        "label",
                        "data",
                        "actions",
                        "action",
                        "softwareAgent",
                    ),
                    *("name", "parameters", "digitalSourceType", "signature_info", "common_name", "activeManifest"),
                    *(
                        "failure",
                        "code",
                        "ingredientDeltas",
                        "validationDeltas",
                        "ingredients",
                        "relationship",
                        "active_manifest",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ACTIONS = st.lists(
    st.dictionaries(st.sampled_from(["action", "softwareAgent", "parameters", "digitalSourceType"]), JSON)
)


@given(JSON, JSON, ACTIONS, st.booleans())
def test_whatever_a_manifest_holds_it_is_read_and_can_be_shown(store, results, actions, trusted):
    manifest = {
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}],
        "signature_info": store,
        "ingredients": [
            {"relationship": "parentOf", "active_manifest": name, "validation_results": results} for name in "ab"
        ],
    }
    for one in (store, {"active_manifest": "a", "manifests": {"a": manifest, "b": store}}):
        found = Findings("file", (), (), read_statement(one, results, trusted))
        assert found.exit_code in (INTACT, UNMARKED, CHANGED)
        assert all(line.isprintable() for line in found.lines())


@given(st.text())
def test_any_text_can_be_shown_in_a_line(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable() or len(text) > LONGEST_TEXT
