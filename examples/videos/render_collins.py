"""Render eileen_collins.mp4: a short talking-head clip from one public-domain portrait, because no such clip comes with a package.

    python examples/videos/render_collins.py [OUT.mp4]

The face is turned, blinks and speaks by moving the project's own face mesh; the hair and the background follow through a smooth warp; the
camera drifts and zooms; the sound is a sung vowel whose loudness follows the mouth.
"""

from __future__ import annotations

import sys
import tempfile
import wave
from pathlib import Path

import cv2
import ffmpeg
import imageio_ffmpeg
import numpy as np
from scipy.interpolate import RBFInterpolator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from coordinate_reg.mesh_points import EYES, OVAL
from models.mesh.raster import draw_triangle_ids, interpolate, triangle_affines
from models.mesh.topology import MeshTopology, build_topology
from models.packs import load_builtin_pack
from utils.inference.image_processing import find_faces
from utils.inference.records import Image, Points
from utils.weights import builtin_file

WIDTH, HEIGHT, FPS, SECONDS = 1280, 720, 25, 4
SAMPLE_RATE = 44100
BLINKS_S = (0.7, 2.1, 3.4)
BLINK_LENGTH_S = 0.28
JAW_DROP = 0.035  # of the face's height
NARROWING = 0.16  # of the mouth's width
GRID_STEP_PX = 20
PORTRAIT_PX = 1060
MESH_VERTICES = 468
NOTES_HZ = (220.0, 262.0, 330.0, 294.0, 247.0)


def stage(portrait: Image) -> Image:
    """(720, 1280, 3): the upper part of the portrait in front of its own blurred sides."""
    side = PORTRAIT_PX
    sharp = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_LANCZOS4)[:HEIGHT]
    pad = (WIDTH - side) // 2
    wide = cv2.copyMakeBorder(sharp, 0, 0, pad, pad, cv2.BORDER_REFLECT)
    blurred = cv2.GaussianBlur(wide, (0, 0), 24)
    distance = np.maximum(np.abs(np.arange(WIDTH) - WIDTH / 2) - side / 2 + 60, 0) / 60
    blur_weight = np.clip(distance, 0, 1)[None, :, None].astype(np.float32)
    return (wide * (1 - blur_weight) + blurred * blur_weight).astype(np.uint8)


def mouth_opening(time_s: float) -> float:
    """How far the mouth is open, 0 to 1: syllables at about three a second, with a pause in the middle."""
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 2.9 * time_s)
    phrase = np.clip(np.sin(2 * np.pi * (time_s - 0.15) / 2.0) * 3, 0, 1)
    return float(syllables * phrase * (0.75 + 0.25 * np.sin(2 * np.pi * 0.7 * time_s)))


def lid_closing(time_s: float) -> float:
    """How far the eyes are closed, 0 to 1."""
    return max(float(np.clip(1.15 - abs(time_s - centre) / (BLINK_LENGTH_S / 2), 0, 1)) for centre in BLINKS_S)


def animate(points: Points, time_s: float) -> Points:
    """Landmarks (478, 3) of the portrait, moved: blink, speech, then a small turn of the head."""
    moved = points.copy()
    closing = lid_closing(time_s)
    for eye in EYES:
        ring = eye.ring
        for place in range(1, 8):
            upper, lower = ring[place], ring[-place]
            moved[upper] += closing * 0.93 * (points[lower] - points[upper])
    opening = mouth_opening(time_s)
    chin, nose = points[152, 1], points[2, 1]
    drop_px = JAW_DROP * (chin - points[10, 1]) * opening
    centre_x, seam = points[[13, 14], 0].mean(), points[[61, 291, 14], 1].mean()
    below = np.clip((points[:MESH_VERTICES, 1] - seam) / (0.15 * (chin - nose)), 0, 1)
    across = (points[:MESH_VERTICES, 0] - centre_x) / (abs(points[454, 0] - points[234, 0]) / 2)
    moved[:MESH_VERTICES, 1] += drop_px * below * np.clip(1.2 - across**2, 0, 1)
    # A vowel narrows the mouth: everything near it moves towards its middle.
    near_mouth = np.exp(-(((points[:MESH_VERTICES, 1] - seam) / (0.6 * (chin - nose))) ** 2) - (across / 0.6) ** 2)
    moved[:MESH_VERTICES, 0] -= NARROWING * opening * near_mouth * (points[:MESH_VERTICES, 0] - centre_x)
    yaw = np.radians(5.0) * np.sin(2 * np.pi * time_s / 3.1)
    pitch = np.radians(2.5) * np.sin(2 * np.pi * time_s / 2.3 + 1)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    centre = points[[234, 454]].mean(axis=0)  # between the ears: where a head turns
    return (moved - centre) @ (about_y @ about_x).T + centre


def surroundings_map(points: Points, moved: Points) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel outside of the face comes from: it follows the face's outline and rests at the border of the picture."""
    outline, target = points[list(OVAL), :2], moved[list(OVAL), :2]
    centre = target.mean(axis=0)
    hair = centre + (target - centre) * 1.45
    far = centre + (target - centre) * 3.2
    border_x, border_y = np.linspace(0, WIDTH, 9), np.linspace(0, HEIGHT, 7)
    border = np.array([(x, y) for x in border_x for y in border_y if x in (0, WIDTH) or y in (0, HEIGHT)])
    places = np.vstack([target, hair, far, border])
    shift = outline - target
    shifts = np.vstack([shift, shift * 0.8, np.zeros_like(shift), np.zeros_like(border)])
    grid_x, grid_y = np.arange(0, WIDTH + GRID_STEP_PX, GRID_STEP_PX), np.arange(0, HEIGHT + GRID_STEP_PX, GRID_STEP_PX)
    grid = np.stack(np.meshgrid(grid_x, grid_y), axis=-1).reshape(-1, 2).astype(np.float64)
    coarse = RBFInterpolator(places, shifts, kernel="thin_plate_spline", smoothing=1.0)(grid)
    coarse = coarse.reshape(len(grid_y), len(grid_x), 2).astype(np.float32)
    columns, rows = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    dense = cv2.remap(coarse, columns / GRID_STEP_PX, rows / GRID_STEP_PX, cv2.INTER_CUBIC)
    return columns + dense[..., 0], rows + dense[..., 1]


def render_frame(picture: Image, points: Points, topology: MeshTopology, time_s: float) -> Image:
    """One frame of the clip before the camera."""
    moved = animate(points, time_s)
    map_x, map_y = surroundings_map(points, moved)
    ids = draw_triangle_ids(moved, topology.closed, WIDTH)[:HEIGHT]
    face_x, face_y = interpolate(ids, triangle_affines(moved, topology.closed, points[:, :2]))
    # The two maps agree on the outline; fading one into the other hides what little they do not.
    weight = cv2.GaussianBlur(cv2.erode((ids > 0).astype(np.float32), np.ones((9, 9))), (0, 0), 3) * (ids > 0)
    map_x, map_y = (weight * face + (1 - weight) * around for face, around in ((face_x, map_x), (face_y, map_y)))
    return cv2.remap(picture, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def camera(frame: Image, time_s: float) -> Image:
    """A slow zoom and a hand-held drift."""
    zoom = 1.04 + 0.10 * (0.5 - 0.5 * np.cos(np.pi * time_s / SECONDS))
    roll_deg = 0.7 * np.sin(2 * np.pi * time_s / 3.7)
    frame_to_view = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT * 0.36), roll_deg, zoom)
    frame_to_view[:, 2] += (9 * np.sin(2 * np.pi * time_s / 2.9), 6 * np.sin(2 * np.pi * time_s / 2.1))
    return cv2.warpAffine(frame, frame_to_view, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def sung_vowel() -> np.ndarray:
    """(SECONDS * SAMPLE_RATE,) int16: harmonics of a slow melody under two formants, as loud as the mouth is open."""
    times = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    pitch = np.interp(times, np.linspace(0, SECONDS, len(NOTES_HZ)), NOTES_HZ) * (
        1 + 0.006 * np.sin(2 * np.pi * 5.5 * times)
    )
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    sound = np.zeros_like(times)
    for harmonic in range(1, 14):
        frequency = harmonic * pitch
        formants = sum(np.exp(-(((frequency - centre) / width) ** 2)) for centre, width in ((700, 220), (1200, 260)))
        sound += (0.08 + formants) / harmonic * np.sin(harmonic * phase)
    loudness = np.array([mouth_opening(float(time)) for time in times[:: SAMPLE_RATE // 100]])
    sound *= np.interp(times, times[:: SAMPLE_RATE // 100], loudness)
    return (sound / np.abs(sound).max() * 0.5 * 32767).astype(np.int16)


def main() -> None:
    """Render, and put picture and sound together."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("eileen_collins.mp4")
    picture = stage(cv2.imread(str(ROOT / "examples" / "images" / "eileen_collins.png")))
    faces, _ = find_faces(picture, load_builtin_pack())
    points = max(faces, key=lambda face: face.area).landmarks
    topology = build_topology(np.load(builtin_file("face_mesh_triangles.npy")))
    with tempfile.TemporaryDirectory() as folder:
        sound_path = Path(folder) / "sound.wav"
        with wave.open(str(sound_path), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(SAMPLE_RATE)
            sound.writeframes(sung_vowel().tobytes())
        pictures = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="bgr24", s=f"{WIDTH}x{HEIGHT}", framerate=FPS)
        settings = {
            "loglevel": "error",
            "vcodec": "libx264",
            "crf": 20,
            "pix_fmt": "yuv420p",
            "acodec": "aac",
            "audio_bitrate": "96k",
            "movflags": "faststart",
        }
        encoder = ffmpeg.output(pictures, ffmpeg.input(str(sound_path)), str(out), **settings).overwrite_output()
        process = encoder.run_async(cmd=imageio_ffmpeg.get_ffmpeg_exe(), pipe_stdin=True, quiet=True)
        for number in range(FPS * SECONDS):
            time_s = number / FPS
            process.stdin.write(camera(render_frame(picture, points, topology, time_s), time_s).tobytes())
        process.communicate()
    if process.returncode:
        raise SystemExit(f"ffmpeg could not write {str(out)!r}")


if __name__ == "__main__":
    main()
