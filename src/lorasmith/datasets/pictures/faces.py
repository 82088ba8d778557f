"""Faces, found by OpenCV with a YuNet model that the user has downloaded: boxes for crops and masks.

YuNet (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector") is what ``cv2.FaceDetectorYN`` runs. Neither
OpenCV nor the model comes with lorasmith.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from lorasmith.datasets.pictures.contract import Box, Frame, PictureTool, ToolError, masked
from lorasmith.errors import ConfigError, EnvironmentProblem

_LOOKED_AT: Final = 1024  # pixels of the longer side: faces that matter for training are larger than 10 of these


class MaskFaces(PictureTool):
    """Train the faces, or everything but them."""

    name: ClassVar[str] = "mask_faces"
    masks_only: ClassVar[bool] = True
    model: Path
    """The .onnx file of YuNet (face_detection_yunet), your own download."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """How sure the detector has to be, 0 to 1."""
    margin: Annotated[float, Field(ge=0, le=2)] = 0.3
    """How much is added around a face, as a share of its size."""
    invert: bool = False
    """Everything but faces is trained, as for a style that shall not learn who is on the pictures."""

    def describe(self) -> str:
        return "Train everything but faces." if self.invert else "Train only faces."

    def work(self, frame: Frame) -> Sequence[Frame]:
        found = faces(frame.image, self.model, self.confidence)
        if not found:
            raise ToolError("shows no face that the detector is sure of")
        inside, outside = (0, 255) if self.invert else (255, 0)
        mask = Image.new("L", frame.image.size, outside)
        draw = ImageDraw.Draw(mask)
        for left, top, right, bottom in found:
            spare_x, spare_y = (right - left) * self.margin, (bottom - top) * self.margin
            width, height = frame.image.size
            corners = (left - spare_x) * width, (top - spare_y) * height, (right + spare_x) * width
            draw.ellipse((*corners, (bottom + spare_y) * height), fill=inside)
        return masked(frame, mask, "mask:faces")


def faces(image: Image.Image, model: Path, confidence: float) -> list[Box]:
    """The boxes of all faces, the surest first.

    Raises:
        EnvironmentProblem: OpenCV is not installed.
        ConfigError: there is no such model, or OpenCV cannot read it.
    """
    if find_spec("cv2") is None:
        message = "Finding faces needs OpenCV, which is not installed."
        raise EnvironmentProblem(message, "Run `python -m pip install opencv-python-headless`.")
    if not model.is_file():
        hint = "Download face_detection_yunet_2023mar.onnx from OpenCV's model zoo, and give its path."
        raise ConfigError(f"There is no model at {model}.", hint)
    cv2: Any = import_module("cv2")
    scale = min(1.0, _LOOKED_AT / max(image.size))
    size = (max(1, math.floor(image.width * scale)), max(1, math.floor(image.height * scale)))
    pixels = np.asarray(image.resize(size, Image.Resampling.BOX))[:, :, ::-1]  # BGR, as OpenCV has it
    try:
        detector = cv2.FaceDetectorYN.create(str(model), "", size, confidence)
        _, rows = detector.detect(np.ascontiguousarray(pixels))
    except cv2.error as cause:
        raise ConfigError(f"OpenCV cannot use {model.name}: {cause}.", "Give a YuNet model.") from cause
    if rows is None:
        return []
    found = sorted(rows.tolist(), key=lambda row: -row[14])  # x, y, width, height, five points, score
    return [
        (
            max(0.0, row[0] / size[0]),
            max(0.0, row[1] / size[1]),
            min(1.0, (row[0] + row[2]) / size[0]),
            min(1.0, (row[1] + row[3]) / size[1]),
        )
        for row in found
    ]


def around(boxes: Sequence[Box]) -> Box | None:
    """The box that holds all of them; None for none."""
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
