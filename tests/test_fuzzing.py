"""Whatever comes in by flags, files' heads and models' answers ends in a result or in a documented error."""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from conftest import COLLINS_CLIP
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from utils.errors import ModelFileError, NoFaceFound, SwapError, UnreadableInput
from utils.flags import build_parser
from utils.inference.answers import MOST_FACES, possible_faces
from utils.inference.face_swapper import FaceSwapper
from utils.inference.image_processing import detect_faces
from utils.inference.records import Face
from utils.inference.video.options import Moment, VideoOptions
from utils.inference.video.pictures import read_webp
from utils.inference.video.sample_tables import check_sample_tables
from utils.inference.video.webp_chunks import frame_durations
from utils.inference.video_processing import get_frames
from utils.limits import DEFAULT_LIMITS, PNG_SIGNATURE
from utils.one_swap import complete
from utils.pictures import open_picture

PARSER = build_parser("test")
FLAGS = sorted(flag for action in PARSER._actions for flag in action.option_strings if flag.startswith("--"))
WORDS = st.one_of(
    st.sampled_from(
        [*FLAGS, "-", "--", "-1", "0", "nan", "inf", "1e999", "9" * 400, "True", "1/0", "0/1", "+", "%", "{"]
    ),
    st.tuples(st.sampled_from(FLAGS), st.text(max_size=12)).map("=".join),
    st.text(max_size=12),
    st.binary(max_size=8).map(lambda name: name.decode("utf-8", "surrogateescape")),
)


@settings(max_examples=150)
@given(st.lists(WORDS, max_size=6))
@example(["--min_face", "9" * 400])
@example(["--source_paths", "a" * 5000])
@example(["--start", "9" * 400])
@example(["--max_megapixels", "nan"])
def test_any_arguments_are_flags_or_refused(argv):
    assume("\0" not in "".join(argv))  # no system lets it through
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            complete(PARSER.parse_args(argv))
        except SystemExit as ended:
            assert ended.code in (0, 2)
        except SwapError as refused:
            assert refused.exit_code == 2
            assert str(refused)


@settings(max_examples=150)
@given(
    st.sampled_from(
        [b"", PNG_SIGNATURE, b"RIFF\0\0\0\0WEBPVP8X", b"\xff\xd8\xff", b"II*\0\x08\0\0\0", b"GIF89a", b"BM"]
    ),
    st.binary(max_size=200),
)
def test_any_bytes_are_a_picture_or_an_input_error(tmp_path_factory, head, rest):
    try:
        open_picture(head + rest, tmp_path_factory.getbasetemp() / "any")
    except UnreadableInput as error:
        assert "\n" not in str(error)


BOXES = st.recursive(
    st.binary(max_size=24),
    lambda inner: st.lists(
        st.tuples(st.sampled_from([b"moov", b"trak", b"stbl", b"stsz", b"trun", b"hdlr"]), inner)
    ).map(lambda boxes: b"".join((len(content) + 8).to_bytes(4, "big") + kind + content for kind, content in boxes)),
    max_leaves=6,
)


@settings(max_examples=200)
@given(BOXES, st.binary(max_size=16))
def test_any_boxes_are_walked_or_refused(tmp_path_factory, boxes, rest):
    path = tmp_path_factory.getbasetemp() / "any.mp4"
    path.write_bytes(boxes + rest)
    with contextlib.suppress(UnreadableInput):
        check_sample_tables(path, DEFAULT_LIMITS)


CHUNKS = st.lists(st.tuples(st.sampled_from([b"ANMF", b"VP8X", b"ANIM", b"junk"]), st.binary(max_size=24)))


def webp(chunks):
    packed = b"".join(kind + struct.pack("<I", len(one)) + one + bytes(len(one) % 2) for kind, one in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(packed)) + b"WEBP" + packed


@settings(max_examples=200)
@given(st.lists(st.integers(0, (1 << 24) - 1)), CHUNKS)
def test_the_durations_of_a_webp_are_read_whatever_else_is_in_it(durations, others):
    frames = [(b"ANMF", bytes(12) + duration.to_bytes(3, "little") + b"\0more") for duration in durations]
    others = [(kind, one) for kind, one in others if kind != b"ANMF"]
    head = (b"VP8X", b"\x02" + bytes(9))
    content = webp([head, *others, *frames])
    assert list(frame_durations(io.BytesIO(content + b"what is behind it"))) == durations
    with pytest.raises(ValueError, match=r"missing|no WebP"):
        list(frame_durations(io.BytesIO(content[:-1])))


@settings(max_examples=200)
@given(st.binary(max_size=60) | CHUNKS.map(webp), st.binary(max_size=9))
def test_any_chunks_are_durations_or_an_input_error(tmp_path_factory, content, rest):
    path = tmp_path_factory.getbasetemp() / "any.webp"
    path.write_bytes(content + rest)
    try:
        list(get_frames(read_webp(path)))
    except UnreadableInput as error:
        assert "\n" not in str(error)


class Answers:
    """A net that answers what it is told to."""

    det_thresh = 0.5

    def __init__(self, answer):
        self._answer = answer

    def detect(self, image, thorough=True):
        return self._answer, 0.9

    def locate(self, image, face):
        return self._answer

    def embed(self, image, face):
        return self._answer


@pytest.fixture(scope="module")
def photo(collins):
    return cv2.resize(collins[:400, 56:456], (200, 200), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def found(photo, pack):
    (candidate,) = detect_faces(photo, pack).candidates
    return candidate, pack.landmarker.locate(photo, candidate)


ODD = st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e300, 1e30, 1e5, -1e4, 500.0, 1.0, 0.0, -1.0, 1e-300])
CHANGES = st.lists(
    st.tuples(st.sampled_from(["box", "keypoints", "landmarks", "score"]), st.integers(0, 2000), ODD), max_size=4
)


def changed(face, changes):
    fields = {name: np.array(getattr(face, name)) for name in ("box", "keypoints", "score")}
    if face.landmarks is not None:
        fields["landmarks"] = face.landmarks.copy()
    for name, place, value in changes:
        if name in fields:
            if place % 5 == 0:
                fields[name][...] = value
            else:
                fields[name].flat[place % fields[name].size] = value
    return Face(**{**fields, "score": float(fields["score"])})


def swapped_or_told(swap, photo):
    try:
        result, _ = swap()
    except SwapError as error:
        assert error.exit_code in (NoFaceFound.exit_code, ModelFileError.exit_code)
    else:
        assert (result.shape, result.dtype) == (photo.shape, np.uint8)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CHANGES, min_size=1, max_size=3))
def test_whatever_the_detector_answers(pack, photo, found, hopper, swapper, several):
    faces = [changed(found[0], changes) for changes in several]
    odd = FaceSwapper(replace(pack, detector=Answers(faces)))
    source = swapper.identify(photo, "source")
    swapped_or_told(lambda: odd.swap_image(photo, [source], everybody=True), photo)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
@example([("landmarks", 0, 0.0)])
@example([("landmarks", 0, np.nan)])
@example([("landmarks", 3, 1e5)])
@example([("landmarks", 212, 1e300)])  # of depth
def test_whatever_the_landmarker_answers(pack, photo, found, swapper, changes):
    odd = FaceSwapper(replace(pack, landmarker=Answers(changed(found[1], changes))))
    source = swapper.identify(photo, "source")
    swapped_or_told(lambda: odd.swap_image(photo, [source]), photo)
    swapped_or_told(lambda: swapper.swap_image(photo, [odd.identify(photo, "source")]), photo)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e38])
def test_an_identity_that_is_no_direction_is_a_fault_of_the_model(pack, photo, swapper, value):
    odd = FaceSwapper(replace(pack, embedder=Answers(np.full(128, value, np.float32))))
    source = swapper.identify(photo, "source")
    for swap in (partial(odd.identify, photo, "source"), partial(odd.swap_image, photo, [source])):
        with pytest.raises(ModelFileError, match="identity net"):
            swap()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 0.0])
def test_odd_answers_in_a_video_are_left_out(pack, swapper, photo, tmp_path, value):
    class Sometimes(Answers):
        """Odd every other time."""

        count = 0

        def locate(self, image, face):
            located = pack.landmarker.locate(image, face)
            self.count += 1
            return located and (changed(located, [("landmarks", 0, value)]) if self.count % 2 else located)

    odd = FaceSwapper(replace(pack, landmarker=Sometimes(None)))
    options = VideoOptions(end=Moment(frame=6))
    with contextlib.suppress(NoFaceFound):
        report = odd.swap_video(
            COLLINS_CLIP, tmp_path / "out.mp4", [swapper.identify(photo, "source")], options=options
        )
        assert report.frames == 6


def test_of_absurdly_many_faces_the_best_are_taken(photo, found):
    faces = [found[0], *(replace(found[0], box=found[0].box + number / 1e6) for number in range(20_000))]
    kept = possible_faces(faces, photo)
    assert len(kept) == MOST_FACES
    assert kept[0] is found[0]
