import io

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps

from utils.errors import BadArgument, UnreadableInput
from utils.picture_codecs import StoredPicture
from utils.pictures import UPRIGHT_TURNS, Picture, put_back, read_picture, to_bgr, write_picture
from utils.provenance.marks import DIGITAL_SOURCE_TYPE

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def random_pixels(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def plain(pixels, orientation=1, icc=None):
    turned = np.rot90(to_bgr(pixels), -UPRIGHT_TURNS[orientation][0])
    upright = turned[:, ::-1] if UPRIGHT_TURNS[orientation][1] else turned
    return Picture(np.ascontiguousarray(upright), StoredPicture(pixels, orientation, icc))


def with_a_patch(picture):
    result = picture.bgr.copy()
    result[4:9, 3:8] = (10, 200, 90)
    return result


KINDS = [
    ((20, 30, 3), np.uint8),
    ((20, 30, 3), np.uint16),
    ((20, 30), np.uint8),
    ((20, 30), np.uint16),
    ((20, 30, 4), np.uint8),
    ((20, 30, 4), np.uint16),
]


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize(("shape", "dtype"), KINDS)
@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_untouched_pixels_stay_bit_identical_in_every_depth(tmp_path, extension, shape, dtype, orientation):
    picture = plain(random_pixels(shape, dtype), orientation)
    result = with_a_patch(picture)
    path = tmp_path / f"result{extension}"
    write_picture(path, picture, result)
    stored = read_picture(path).stored.pixels
    assert stored.dtype == dtype
    assert stored.shape == shape
    touched = (
        put_back(
            plain(np.zeros(shape[:2], np.uint8), orientation),
            np.where((result != picture.bgr).any(2, keepdims=True), 255, 0).astype(np.uint8).repeat(3, 2),
        )
        > 0
    )
    assert 0 < touched.sum() <= 25
    np.testing.assert_array_equal(stored[~touched], picture.stored.pixels[~touched])
    np.testing.assert_array_equal(stored, put_back(picture, result))
    if len(shape) == 3 and shape[2] == 4:
        np.testing.assert_array_equal(stored[..., 3], picture.stored.pixels[..., 3])


@pytest.mark.parametrize("orientation", UPRIGHT_TURNS)
def test_orientation_is_applied_and_kept(tmp_path, orientation):
    pixels = random_pixels((12, 17, 3))
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker"
    exif.get_ifd(0x8825)[1] = "N"
    source = tmp_path / "source.png"
    PillowImage.fromarray(pixels).save(source, exif=exif)
    with PillowImage.open(source) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    picture = read_picture(source)
    np.testing.assert_array_equal(picture.bgr, upright[:, :, ::-1])
    write_picture(tmp_path / "result.png", picture, with_a_patch(picture))
    with PillowImage.open(tmp_path / "result.png") as written:
        assert written.getexif()[0x0112] == orientation
        assert written.getexif()[0x010F] == "maker"
        assert not written.getexif().get_ifd(0x8825), "where a photo was taken is not passed on"
        again = np.asarray(ImageOps.exif_transpose(written))
    np.testing.assert_array_equal(again[:, :, ::-1], with_a_patch(picture))


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("source", ["tif", "avif", "png"])
@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tif"])
def test_orientation_survives_a_change_of_format(tmp_path, orientation, source, extension):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:8, :8] = 255  # the upper left corner
    turns = UPRIGHT_TURNS[orientation][0]
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"source.{source}"
    PillowImage.fromarray(np.rot90(upright, turns)).save(path, exif=exif)
    picture = read_picture(path)
    assert picture.bgr.shape == upright.shape
    write_picture(tmp_path / f"result{extension}", picture, picture.bgr)
    with PillowImage.open(tmp_path / f"result{extension}") as written:
        shown = np.asarray(ImageOps.exif_transpose(written))
    assert shown.shape == upright.shape
    assert shown[:6, :6].mean() > 240
    assert shown[12:, 12:].mean() < 15


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tiff"])
def test_every_format_carries_the_mark_and_the_profile(tmp_path, extension):
    picture = plain(random_pixels((40, 40, 3)), icc=SRGB)
    path = tmp_path / f"result{extension}"
    write_picture(path, picture, with_a_patch(picture))
    with PillowImage.open(path) as written:
        written.load()
        xmp = written.info.get("xmp") or written.getexif().get(700) or written.info.get("XML:com.adobe.xmp")
        assert DIGITAL_SOURCE_TYPE in (xmp if isinstance(xmp, str) else bytes(xmp).decode("utf-8"))
        assert written.info["icc_profile"] == SRGB
    assert read_picture(path).stored.icc == SRGB


def test_a_thumbnail_of_the_original_is_not_passed_on(tmp_path):
    thumbnail = io.BytesIO()
    PillowImage.new("RGB", (16, 16), "red").save(thumbnail, "JPEG")
    jpeg = cv2.imencode(".jpg", random_pixels((32, 32, 3)))[1].tobytes()
    entries = b"\x02\x00" + b"\x01\x02\x04\x00\x01\x00\x00\x00" + (38).to_bytes(4, "little")
    entries += b"\x02\x02\x04\x00\x01\x00\x00\x00" + len(thumbnail.getvalue()).to_bytes(4, "little") + b"\0\0\0\0"
    body = b"Exif\0\0" + b"II*\0\x08\0\0\0" + b"\0\0" + (14).to_bytes(4, "little") + entries + thumbnail.getvalue()
    source = tmp_path / "source.jpg"
    source.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:])
    picture = read_picture(source)
    write_picture(tmp_path / "result.jpg", picture, picture.bgr)
    assert thumbnail.getvalue() not in (tmp_path / "result.jpg").read_bytes()


def test_a_profile_of_other_channels_is_dropped(tmp_path):
    source = tmp_path / "cmyk.jpg"
    profile = bytearray(SRGB)
    profile[16:20] = b"CMYK"
    PillowImage.fromarray(random_pixels((32, 32, 4)), "CMYK").save(source, icc_profile=bytes(profile))
    assert read_picture(source).stored.icc is None


def profile(size, colours=b"RGB ", signature=b"acsp", told=None):
    """The head of a colour profile, with nothing behind it."""
    head = (size if told is None else told).to_bytes(4, "big") + bytes(4) + b"\4\0\0\0mntr" + colours + b"XYZ "
    return (head.ljust(36, b"\0") + signature).ljust(size, b"\0")


@pytest.mark.parametrize(
    "damaged",
    [
        *(profile(300, signature=bytes(4)), profile(300, told=0), profile(300, told=301), profile(300, told=127)),
        *(profile(127), b"\0" * 16 + b"RGB ", SRGB[:-4]),
    ],
)
def test_what_is_no_profile_is_not_passed_on(tmp_path, damaged):
    source = tmp_path / "source.jpg"
    PillowImage.fromarray(random_pixels((32, 32, 3))).save(source, icc_profile=damaged)
    picture = read_picture(source)
    assert picture.stored.icc is None
    write_picture(tmp_path / "result.png", picture, picture.bgr)


@pytest.mark.parametrize("source", [".jpg", ".tif"])
def test_what_stands_behind_a_profile_is_left_out(tmp_path, source):
    PillowImage.fromarray(random_pixels((32, 32, 3))).save(tmp_path / f"a{source}", icc_profile=SRGB + b"\0\0\0")
    assert read_picture(tmp_path / f"a{source}").stored.icc == SRGB


@pytest.mark.parametrize(("extension", "size"), [(".png", 129), (".jpg", 3_000_000)])
def test_a_profile_that_an_encoder_refuses_is_left_out_with_a_warning(tmp_path, caplog, extension, size):
    picture = plain(random_pixels((32, 32, 3)), icc=profile(size))
    write_picture(tmp_path / f"result{extension}", picture, picture.bgr)
    with PillowImage.open(tmp_path / f"result{extension}") as written:
        assert "icc_profile" not in written.info
    (warning,) = caplog.messages
    assert "colour profile" in warning and f"result{extension}" in warning


def test_jpeg_is_written_finely_and_without_alpha(tmp_path):
    smooth = cv2.GaussianBlur(random_pixels((64, 64, 4)), (0, 0), 4)
    picture = plain(smooth)
    write_picture(tmp_path / "result.jpg", picture, picture.bgr)
    written = read_picture(tmp_path / "result.jpg")
    assert written.stored.pixels.shape == (64, 64, 3)
    assert np.abs(written.bgr.astype(int) - picture.bgr).mean() < 1


def test_float_pictures_and_single_pixels_are_refused_with_a_remedy(tmp_path):
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((8, 8, 3), np.float32))
    with pytest.raises(UnreadableInput, match="8 or 16 bits"):
        read_picture(tmp_path / "float.tif")
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(UnreadableInput, match="1x1 pixels"):
        read_picture(tmp_path / "dot.png")


def test_formats_that_cannot_carry_the_mark_are_refused(tmp_path):
    picture = plain(random_pixels((8, 8, 3)))
    with pytest.raises(BadArgument, match=r"\.png"):
        write_picture(tmp_path / "result.bmp", picture, picture.bgr)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([".jpg", ".png", ".webp", ".tiff", ".bmp"]),
    st.floats(0.01, 0.97),
    st.lists(st.integers(0, 10**6), max_size=6),
)
def test_damaged_files_give_a_picture_or_an_input_error(tmp_path_factory, extension, kept, flips):
    folder = tmp_path_factory.mktemp("damaged")
    encoded = bytearray(cv2.imencode(extension, random_pixels((24, 24, 3)))[1].tobytes())
    for place in flips:
        encoded[place % len(encoded)] ^= 1 << (place % 8)
    path = folder / f"photo{extension}"
    path.write_bytes(encoded[: int(len(encoded) * kept)])
    try:
        picture = read_picture(path)
    except UnreadableInput as error:
        assert str(path) in str(error)
    else:
        assert picture.bgr.dtype == np.uint8
        assert picture.bgr.shape[2] == 3
