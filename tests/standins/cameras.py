"""One frame in every encoding that cameras send, made from BGR the other way round than the node reads it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

EXACT, LOSSY = 1.0, 0.94  # share of labels that must equal those of BGR


def encoded(bgr: np.ndarray) -> dict[str, tuple[np.ndarray, dict[str, Any], float]]:
    """Encoding (with a suffix where there are several ways) → rows of bytes, fields of the message, least agreement."""
    rgb = bgr[..., ::-1]
    alpha = np.full((*bgr.shape[:2], 1), 77, np.uint8)
    ways: dict[str, tuple[np.ndarray, dict[str, Any], float]] = {
        "bgr8": (bgr, {}, EXACT),
        "8UC3": (bgr, {}, EXACT),
        "rgb8": (rgb, {}, EXACT),
        "bgra8": (np.dstack([bgr, alpha]), {}, EXACT),
        "8UC4": (np.dstack([bgr, alpha]), {}, EXACT),
        "rgba8": (np.dstack([rgb, alpha]), {}, EXACT),
    }
    for name, picture in (("bgr16", bgr), ("rgb16", rgb), ("bgra16", np.dstack([bgr, alpha]))):
        wide = picture.astype(np.uint16) * 257  # at full range
        ways[name] = (wide.astype("<u2"), {"is_bigendian": 0}, EXACT)
        ways[f"{name} big"] = (wide.astype(">u2"), {"is_bigendian": 1}, EXACT)
    for pattern in ("rggb", "bggr", "gbrg", "grbg"):
        mosaic = np.empty(bgr.shape[:2], np.uint8)
        for place, letter in enumerate(pattern):
            row, column = divmod(place, 2)
            mosaic[row::2, column::2] = bgr[row::2, column::2, "bgr".index(letter)]
        ways[f"bayer_{pattern}8"] = (mosaic, {}, LOSSY)
    ways["bayer_rggb16 big"] = (
        (ways["bayer_rggb8"][0].astype(np.uint16) * 257).astype(">u2"),
        {"is_bigendian": 1},
        LOSSY,
    )
    y, u, v = _yuv(bgr)
    half = [np.rint((plane[:, ::2].astype(int) + plane[:, 1::2]) / 2).astype(np.uint8) for plane in (u, v)]
    paired = np.empty((*y.shape, 2), np.uint8)
    paired[..., 0], paired[:, ::2, 1], paired[:, 1::2, 1] = y, *half
    ways["yuyv"] = ways["yuv422_yuy2"] = (paired, {}, LOSSY)
    ways["uyvy"] = ways["yuv422"] = (np.ascontiguousarray(paired[..., ::-1]), {}, LOSSY)
    low_u, low_v = (cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for plane in (u, v))
    for name, pair in (("nv21", (low_v, low_u)), ("nv12", (low_u, low_v))):
        ways[name] = (np.vstack([y, np.dstack(pair).reshape(y.shape[0] // 2, -1)]), {"height": y.shape[0]}, LOSSY)
    colours = np.dstack([u, v]).reshape(y.shape[0] * 2, -1)
    ways["nv24"] = (np.vstack([y, colours]), {"height": y.shape[0]}, LOSSY)
    for name in ("bgr8", "rgb8", "bayer_grbg8", "yuyv", "nv21", "nv24", "bgr16"):
        ways[f"{name} padded"] = _padded(*ways[name])
    return ways


def _yuv(bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BT.601, limited range, written out."""
    b, g, r = (bgr[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return tuple(np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in (y, u, v))  # type: ignore[return-value]


def _padded(picture: np.ndarray, fields: dict[str, Any], least: float) -> tuple[np.ndarray, dict[str, Any], float]:
    """The same with 22 more bytes in each row, that a camera leaves as they are."""
    rows = np.ascontiguousarray(picture).view(np.uint8).reshape(picture.shape[0], -1)
    height, width = fields.get("height", picture.shape[0]), picture.shape[1]
    used = rows.shape[1]
    if height * 3 == picture.shape[0]:  # nv24: the padding is between pairs of these rows, whose step is twice as long
        top, colours = rows[:height], rows[height:].reshape(height, -1)
        wide = [np.pad(part, ((0, 0), (0, extra)), constant_values=201) for part, extra in ((top, 22), (colours, 44))]
        rows = np.vstack([wide[0], wide[1].reshape(-1, used + 22)])
    else:
        rows = np.pad(rows, ((0, 0), (0, 22)), constant_values=201)
    return rows, {"width": width, "step": used + 22, **fields}, least
