"""The 478 points of the embedded landmarker by name: 468 of the face mesh, then five of each iris.

"Right" is the person's own right, which lies on the left of the picture.

Source of the index lists: MediaPipe (Apache-2.0), `face_mesh_connections.py` for the outline, lips, eyes and brows, and
`tensors_to_face_landmarks_with_attention.pbtxt` for the rings around eyes and lips. They are facts about the model.
"""

from __future__ import annotations

from dataclasses import dataclass

VERTEX_COUNT = 468  # of the mesh proper
LANDMARK_COUNT = 478  # the mesh and five points for each iris: centre, then four on its rim

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
)
NOSE = (
    *(1, 2, 4, 5, 6, 19, 94, 97, 98, 99, 64, 48, 49, 102, 115, 131, 129, 195, 197, 168, 326, 327, 328, 294, 278),
    *(279, 331, 344, 358, 360, 220, 440, 275, 45, 44, 274, 51, 281, 3, 248),
)
NOSE_RIDGE = (9, 8, 168, 6, 197, 195, 5, 4)  # from between the brows to the tip
MIDLINE = (
    *(10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 164, 0, 11, 12, 13, 14, 15, 16, 17, 18, 200, 199),
    *(175, 152),
)
RIGID = (  # vertices that bone carries: they tell the pose whatever the expression
    *(1, 2, 4, 5, 6, 8, 9, 10, 21, 33, 47, 50, 54, 93, 98, 116, 123, 126, 127, 133, 151, 168, 195, 197, 234, 251),
    *(263, 277, 280, 284, 323, 327, 345, 352, 355, 356, 362, 454),
)
CHEEKS_AND_NOSE = (  # a polygon of bare skin, to learn the skin's colour from
    *(50, 101, 36, 203, 206, 216, 212, 202, 204, 194, 201, 200, 421, 418, 424, 422, 432, 436, 426, 423, 266, 330),
    *(280, 347, 348, 6, 119, 118),
)
BEARDLESS = (50, 205, 203, 2, 423, 425, 280, 347, 348, 6, 119, 118)  # the same where no beard grows
FACE_CORE = (  # a polygon that no hair, hand or collar is expected in: brows, cheeks, chin
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 372, 345, 352, 411, 427, 434, 430, 431, 262, 428, 199, 208),
    *(32, 211, 210, 214, 207, 187, 123, 116, 143),
)
MID_FOREHEAD = (251, 301, 298, 333, 299, 337, 151, 108, 69, 104, 68, 71, 21)  # below most hairlines
NOSE_TIP, NOSE_BASE, MOUTH_RIGHT, MOUTH_LEFT, LIP_TOP, CHIN = 4, 2, 61, 291, 0, 152
LIP_OPENING = (13, 14)
CHEEKS = (234, 454)  # right and left end of the face
FACING = (4, 151, 50, 280)  # nose tip, forehead, cheeks: always turned to the camera when a face is found


@dataclass(frozen=True)
class EyeIndices:
    """Landmarks of one eye.

    Attributes:
        ring: the lid line, 16 vertices from the outer corner over the upper lid to the inner corner and back below.
        halo: 71 vertices: the lid line and the rings around it, in the mirrored order of the other eye's.
        brow: a closed polygon.
        brow_extra: neighbours that move with the brow.
        brow_anchor: the brow's vertices that say where it is.
        iris: index of the iris' centre; its rim is the next four.
    """

    ring: tuple[int, ...]
    halo: tuple[int, ...]
    brow: tuple[int, ...]
    brow_extra: tuple[int, ...]
    brow_anchor: tuple[int, ...]
    iris: int

    @property
    def outer(self) -> int:
        """Outer corner."""
        return self.ring[0]

    @property
    def inner(self) -> int:
        """Inner corner."""
        return self.ring[8]

    @property
    def upper(self) -> int:
        """Middle of the upper lid."""
        return self.ring[4]

    @property
    def lower(self) -> int:
        """Middle of the lower lid."""
        return self.ring[12]

    @property
    def lids(self) -> tuple[int, ...]:
        """The lid line and the two rings around it, 48 vertices: those that move with the eye."""
        return self.halo[:48]

    @property
    def rim(self) -> tuple[int, ...]:
        """Four points on the rim of the iris."""
        return tuple(range(self.iris + 1, self.iris + 5))


RIGHT_EYE = EyeIndices(
    ring=(33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    halo=(
        *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
        *(130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190),
        *(226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189),
        *(35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193),
    ),
    brow=(46, 53, 52, 65, 55, 107, 66, 105, 63, 70),
    brow_extra=(156, 193),
    brow_anchor=(107, 46, 105),
    iris=468,
)
LEFT_EYE = EyeIndices(
    ring=(263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    halo=(
        *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
        *(359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414),
        *(446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413),
        *(265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383),
        *(300, 293, 334, 296, 336, 285, 417),
    ),
    brow=(276, 283, 282, 295, 285, 336, 296, 334, 293, 300),
    brow_extra=(383, 417),
    brow_anchor=(336, 276, 334),
    iris=473,
)
EYES = (RIGHT_EYE, LEFT_EYE)
