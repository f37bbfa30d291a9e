"""Certificates of the user's own, and the label that people can see."""

from __future__ import annotations

import base64
import datetime
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import COLLINS, COLLINS_CLIP
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe

from utils.errors import BadArgument
from utils.inference.blending import Patch
from utils.picture_codecs import StoredPicture, encode_picture
from utils.pictures import read_picture, write_picture
from utils.provenance.credentials import local_credentials, read_credentials
from utils.provenance.label import draw_label, put_label
from utils.provenance.manifest import check_credentials, sign_picture
from utils.provenance.marking import Marking
from utils.provenance.verify import verify

KINDS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
NOW = datetime.datetime.now(datetime.UTC)
YEAR = datetime.timedelta(days=365)


def certificate(
    name, key, issuer=None, issuer_key=None, usage=ExtendedKeyUsageOID.EMAIL_PROTECTION, since=-YEAR, to=YEAR
):
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    is_authority = issuer is None
    issuer_key = issuer_key or key
    kinds = [True, False, False, False, False, is_authority, is_authority, False, False]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + since)
        .not_valid_after(NOW + to)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.KeyUsage(*kinds), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_authority and usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority():
    key = KINDS["p256"]()
    return certificate("Studio Authority", key), key


def write(folder: Path, authority, key, password=None, **options) -> tuple[Path, Path, Path]:
    """Certificate with its issuer, key, and the authority, as files."""
    leaf = certificate("Studio", key, *authority, **options)
    paths = folder / "cert.pem", folder / "key.pem", folder / "authority.pem"
    paths[0].write_bytes(leaf.public_bytes(PEM) + authority[0].public_bytes(PEM))
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(PEM, PKCS8, protection))
    paths[2].write_bytes(authority[0].public_bytes(PEM))
    return paths


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_every_kind_sign_and_are_trusted_by_those_who_trust_their_issuer(tmp_path, authority, kind):
    cert, key, anchor = write(tmp_path, authority, KINDS[kind]())
    credentials = read_credentials(cert, key)
    check_credentials(credentials, cert)
    out = tmp_path / "out.png"
    out.write_bytes(sign_picture(COLLINS.read_bytes(), b"", Marking(credentials=credentials)))
    assert verify(out, anchor).signature.trusted
    assert not verify(out).signature.trusted


def test_a_certificate_of_the_users_own_is_trusted_by_those_who_trust_its_issuer(command_line, tmp_path, authority):
    cert, key, anchor = write(tmp_path, authority, KINDS["p256"]())
    out = tmp_path / "out.png"
    swapped = command_line("--target_image", COLLINS, "--out_image_name", out, "--c2pa_cert", cert, "--c2pa_key", key)
    assert swapped.returncode == 0, swapped.stderr
    told = command_line("--verify", out, "--c2pa_trust", anchor)
    assert told.returncode == 0
    assert "signed by: Studio, Studio (trusted)" in told.stdout


REFUSED = {
    "another key": ({}, "not the key of the first certificate"),
    "a password": ({"password": b"secret"}, "protected by a password"),
    "expired": ({"to": -YEAR / 2}, "renew it"),
    "not yet valid": ({"since": YEAR / 2}, "renew it, or set the clock"),
    "no extended usage": ({"usage": None}, "emailProtection"),
    "for servers": ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "emailProtection"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_certificates_that_cannot_sign_are_refused(tmp_path, authority, case):
    options, words = REFUSED[case]
    cert, key, _ = write(tmp_path, authority, KINDS["p256"](), **options)
    if case == "another key":
        key.write_bytes(KINDS["p256"]().private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    with pytest.raises(BadArgument, match=words):
        check_credentials(read_credentials(cert, key), cert)


def test_keys_on_a_curve_that_nobody_knows_are_refused(tmp_path, authority):
    cert, key, _ = write(tmp_path, authority, KINDS["p256"]())
    known, unknown = (bytes.fromhex(f"06082a8648ce3d0301{last}") for last in ("07", "02"))  # P-256, prime192v2
    leaf = x509.load_pem_x509_certificates(cert.read_bytes())[0].public_bytes(serialization.Encoding.DER)
    private = base64.b64decode("".join(key.read_text().splitlines()[1:-1]))
    for path, kind, content in ((cert, "CERTIFICATE", leaf), (key, "PRIVATE KEY", private)):
        before = path.read_bytes()
        coded = base64.encodebytes(content.replace(known, unknown)).decode()
        path.write_text(f"-----BEGIN {kind}-----\n{coded}-----END {kind}-----\n")
        with pytest.raises(BadArgument, match=rf"kind of key in '.*{path.name}'"):
            read_credentials(cert, key)
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--c2pa_cert", "cert.pem"), 2),
        (("--c2pa_key", "key.pem"), 2),
        (("--c2pa_trust", "anchor.pem"), 2),
        (("--c2pa_cert", "none.pem", "--c2pa_key", "none.pem"), 3),
        (("--c2pa_cert", COLLINS, "--c2pa_key", COLLINS), 3),
        (("--c2pa_cert", "/dev/zero", "--c2pa_key", "/dev/zero"), 3),
    ],
)
def test_flags_and_files_that_make_no_sense_are_refused(command_line, tmp_path, flags, code):
    refused = command_line("--target_image", COLLINS, "--out_image_name", tmp_path / "out.png", *flags)
    assert refused.returncode == code
    assert refused.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in refused.stderr


def test_own_credentials_are_forgotten_with_the_process_and_depend_on_no_clock():
    own = local_credentials()
    assert local_credentials() is own
    leaf, issuer = x509.load_pem_x509_certificates(own.chain)
    assert leaf.issuer == issuer.subject
    assert (leaf.not_valid_before_utc.year, leaf.not_valid_after_utc.year) == (2020, 9999)
    assert b"PRIVATE" not in repr(own).encode()


@given(st.integers(2, 400), st.integers(2, 400), st.booleans())
def test_a_label_fits_every_frame_and_changes_nothing_outside_of_itself(height, width, patched):
    frame = np.full((height, width, 3), 128, np.uint8)
    patch = Patch(0, 0, np.full((1, 1, 3), 7, np.uint8)) if patched else None
    result = put_label(frame, patch).put_on(frame)
    label = draw_label(height, width)
    changed = (result != frame).any(2)
    inside = np.zeros_like(changed)
    inside[label.place] = True
    if patched and not inside[0, 0]:
        assert changed[0, 0]
        changed[0, 0] = False
    assert inside.any() and not (changed & ~inside).any()
    assert label.place[0].stop <= height and label.place[1].stop <= width


def test_the_label_is_small_and_can_be_read():
    label = draw_label(720, 1280)
    height, width = label.weight.shape
    assert 0.003 < height * width / (720 * 1280) < 0.01
    frame = np.full((720, 1280, 3), 255, np.uint8)
    box = put_label(frame, None).image.astype(float)
    assert box.max() - np.median(box) > 100, "white letters on a box that is dark even over white"


def assert_labelled(plain, labelled):
    """(N, H, W, 3) frames are alike but for the label."""
    differs = np.abs(plain.astype(int) - labelled).max(-1) > 8
    rows, columns = draw_label(*differs.shape[1:]).place
    assert differs[:, rows, columns].mean(axis=(1, 2)).min() > 0.5, "in every frame"
    differs[:, rows.start - 2 : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2] = False
    assert not differs.any()


def test_a_labelled_photo_differs_from_a_plain_one_in_the_label_only(tmp_path):
    picture = read_picture(COLLINS)
    for name, marking in (("plain.png", Marking()), ("labelled.png", Marking(label=True))):
        write_picture(tmp_path / name, picture, picture.bgr, marking)
    assert_labelled(*(cv2.imread(str(tmp_path / name))[None] for name in ("plain.png", "labelled.png")))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_the_label_can_be_seen_where_a_picture_is_transparent(tmp_path, orientation, depth):
    clear = StoredPicture(np.zeros((90, 160, 4), depth), orientation)
    (tmp_path / "clear.png").write_bytes(encode_picture(clear, tmp_path / "clear.png"))
    picture = read_picture(tmp_path / "clear.png")
    write_picture(tmp_path / "out.png", picture, picture.bgr, Marking(label=True))
    stored = read_picture(tmp_path / "out.png").stored
    upright = np.rot90(stored.pixels[:, :, 3], -1) if orientation == 6 else stored.pixels[:, :, 3]
    label = np.zeros(upright.shape, bool)
    label[draw_label(*upright.shape).place] = True
    assert stored.orientation == orientation
    assert (upright[label] == np.iinfo(depth).max).all() and not upright[~label].any()


def test_a_labelled_video_differs_from_a_plain_one_in_the_label_only(command_line, tmp_path):
    frames = []
    for flags in ((), ("--label",)):
        out = tmp_path / f"{len(flags)}.mkv"
        part = ("--target_video", COLLINS_CLIP, "--end", "3f", "--crf", "0", "--out_video_name", out)
        assert command_line(*part, *flags).returncode == 0
        with av.open(str(out)) as container:
            frames.append(np.stack([frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]))
    assert_labelled(*frames)


def test_a_sequence_of_pictures_is_signed_frame_by_frame(command_line, tmp_path):
    frames = tmp_path / "in"
    frames.mkdir()
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(COLLINS_CLIP), "-frames:v", "2", str(frames / "%03d.png")]
    subprocess.run(command, check=True)
    done = command_line("--target_video", frames / "%03d.png", "--out_video_name", tmp_path / "out" / "%03d.png")
    assert done.returncode == 0, done.stderr
    for path in sorted((tmp_path / "out").iterdir()):
        assert command_line("--verify", path).returncode == 0
