"""A camera's matrix for a mask of another size than its image."""

from __future__ import annotations

from typing import Any


def scale(info: Any, height: int, width: int) -> None:
    """Change a `sensor_msgs/CameraInfo` in place so that it describes a mask of height × width of the whole image.

    The image is what the camera's binning and region of interest leave. Pixel centres lie at whole numbers, so the centre
    of projection moves by half a pixel more than by its factor: mask pixel u shows image pixel (u + ½) / s - ½.
    """
    seen = info.roi.width or info.width, info.roi.height or info.height
    if not all(seen):  # a camera that is not calibrated sends zeros
        info.height, info.width = height, width
        return
    corner = info.roi.x_offset, info.roi.y_offset
    across, down = width / seen[0], height / seen[1]
    for matrix, row in ((info.k, 3), (info.p, 4)):
        for line, factor, start in ((0, across, corner[0]), (1, down, corner[1])):
            centre = line * row + 2
            matrix[line * row : centre] = [value * factor for value in matrix[line * row : centre]]
            if matrix[line * row + line]:
                matrix[centre] = (matrix[centre] - start + 0.5) * factor - 0.5
    for line, factor in ((0, across), (1, down)):  # the baseline of a stereo pair, in focal lengths
        info.p[line * 4 + 3] *= factor
    info.height, info.width = height, width
    info.binning_x = info.binning_y = 0
    info.roi.x_offset = info.roi.y_offset = info.roi.height = info.roi.width = 0
    info.roi.do_rectify = False
