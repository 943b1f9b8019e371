"""Images of every kind in; masks of every size, and what belongs to them, out."""

import json

import cv2
import numpy as np
import pytest
from cameras import encoded
from rclpy.qos import qos_profile_sensor_data
from robots import HEIGHT, WIDTH, pixels, stamp_of
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String

from fastscnn.runtime import Segmenter


def test_every_encoding_gives_bgrs_labels(robot, start, street, reference) -> None:
    start()
    heard = robot.hear("/segmentation/mask", Image)
    street = cv2.GaussianBlur(
        street, (0, 0), 1.5
    )  # as a lens does; else colours at half size lose the grain of the paint
    expected = reference(street)
    for way, (picture, fields, least) in encoded(street).items():
        # `send` takes the row's bytes and the picture's own size from the array, unless the fields say otherwise.
        mask = robot.segmented(heard, picture, way.split()[0], **fields)
        assert (mask.height, mask.width, mask.step) == (HEIGHT, WIDTH, WIDTH), way
        agreement = float((pixels(mask) == expected).mean())
        assert agreement >= least, f"{way}: {agreement:.4f}"
    swapped = pixels(robot.segmented(heard, street, "rgb8"))
    assert (swapped == expected).mean() < 0.9  # the test can tell


def test_compressed_in_and_out(robot, start, street, reference) -> None:
    start(transport="compressed", ready="/image/compressed: subscribed")
    heard = robot.hear("/segmentation/mask/compressed", CompressedImage, reliable=True)
    camera = robot.camera("/image/compressed", CompressedImage)
    for suffix, options, least in ((".png", [], 1.0), (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 98], 0.97)):
        message = CompressedImage(format=f"bgr8; {suffix[1:]} compressed bgr8")
        message.data = cv2.imencode(suffix, street, options)[1].tobytes()
        robot.spin(
            lambda: (
                camera.get_subscription_count()
                and len(robot.node.get_publishers_info_by_topic("/segmentation/mask/compressed"))
            )
        )
        for _ in range(10):
            stamp = robot.publish(camera, message)
            robot.rest(0.3)
            if any(stamp_of(m) == stamp for m in heard):
                break
        png = next(m for m in heard if stamp_of(m) == stamp)
        assert png.format == "mono8; png compressed mono8"
        mask = cv2.imdecode(np.array(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert mask.ndim == 2
        assert (mask == reference(street)).mean() >= least


def test_sizes_of_the_mask_and_the_cameras_matrix(robot, start, street, model) -> None:
    start()
    masks = robot.hear("/segmentation/mask", Image)
    infos = robot.hear("/segmentation/camera_info", CameraInfo)
    info = CameraInfo(height=480, width=640, k=[500.0, 0, 320, 0, 510, 240, 0, 0, 1])
    info.p = [500.0, 0, 320, 25, 0, 510, 240, 0, 0, 0, 1, 0]
    source = robot.node.create_publisher(CameraInfo, "/camera_info", 1)
    robot.spin(source.get_subscription_count)
    frame = cv2.resize(street, (640, 480))
    with Segmenter(model, "cpu") as segmenter:
        labels = segmenter(frame).labels
        at_model = segmenter(cv2.resize(frame, (WIDTH, HEIGHT))).labels
        grid = segmenter(frame).grid.argmax(axis=0)
    expected = {
        "input": labels,
        "model": at_model,
        "grid": grid,
        "100x200": cv2.resize(at_model, (200, 100), interpolation=cv2.INTER_NEAREST_EXACT),
    }
    for size, mask in expected.items():
        (result,) = robot.set(mask_size=size)
        assert result.successful
        while not infos or stamp_of(infos[-1]) != stamp_of(masks[-1]):
            source.publish(info)
            message = robot.segmented(masks, frame)
            robot.rest(0.1)
        np.testing.assert_array_equal(pixels(message), mask, err_msg=size)
        told, (height, width) = infos[-1], mask.shape
        infos.clear()
        assert (told.height, told.width, told.header.frame_id) == (height, width, "front_camera_optical")
        # The ray through a pixel of the mask is the ray through the place in the image that it shows.
        u, v = 3, 5
        x, y = (u + 0.5) * 640 / width - 0.5, (v + 0.5) * 480 / height - 0.5
        for matrix, row in ((told.k, 3), (told.p, 4)):
            assert (u - matrix[2]) / matrix[0] == pytest.approx((x - 320) / 500)
            assert (v - matrix[row + 2]) / matrix[row + 1] == pytest.approx((y - 240) / 510)
        assert told.p[3] / told.p[0] == pytest.approx(25 / 500)  # the baseline stays


def test_mask_of_the_clouds_size(robot, start, street) -> None:
    node = start(mask_size="cloud")
    masks = robot.hear("/segmentation/mask", Image)
    robot.spin(lambda: robot.node.count_publishers("/segmentation/mask"))
    robot.send(street)
    robot.rest(1)
    robot.send(street)
    node.wait_for("mask_size is cloud, but no PointCloud2 or CameraInfo came on /cloud yet")
    assert not masks
    cloud = robot.node.create_publisher(PointCloud2, "/cloud", qos_profile_sensor_data)
    robot.spin(cloud.get_subscription_count)
    cloud.publish(PointCloud2(height=1, width=7000))
    node.wait_for("expected an organised cloud")
    cloud.publish(PointCloud2(height=60, width=80))
    node.wait_for("masks of height=60 width=80")
    mask = robot.segmented(masks, street)
    assert (mask.height, mask.width, mask.step) == (60, 80, 80)


def test_confidence_unknown_pictures_and_what_nobody_wants(robot, start, street, model) -> None:
    from diagnostic_msgs.msg import DiagnosticArray

    start()
    status = robot.hear("/diagnostics", DiagnosticArray)
    while not status or int(values(status[-1])["images received"]) < 5:
        robot.send(street)
        robot.rest(0.1)
    assert values(status[-1])["frames"] == "0"  # nobody subscribes, so nothing was computed
    assert status[-1].status[0].message == "nobody subscribes"

    masks, sure = robot.hear("/segmentation/mask", Image), robot.hear("/segmentation/confidence", Image)
    first = pixels(robot.segmented(masks, street))
    robot.spin(lambda: sure)
    with Segmenter(model, "cpu") as segmenter:
        result = segmenter(street)
        probabilities = result.region(slice(0, HEIGHT), slice(0, WIDTH)).max(axis=0)
        palette = segmenter.artifact.palette
    confidence = pixels(sure[-1])
    inside = probabilities > 0.9  # between the samples of the grid the two interpolate in another order
    assert np.abs(confidence[inside] / 255 - probabilities[inside]).mean() < 0.03
    assert confidence[~inside].mean() < confidence[inside].mean() - 20

    robot.set(unknown_below=0.6)
    mask = pixels(robot.segmented(masks, street))
    robot.spin(lambda: stamp_of(sure[-1]) == stamp_of(masks[-1]))
    unknown = pixels(sure[-1]) < 0.6 * 255
    assert 0 < unknown.mean() < 1
    assert np.all(mask[unknown] == 255)
    np.testing.assert_array_equal(mask[~unknown], first[~unknown])

    robot.set(unknown_below=0.0, opacity=0.25)
    overlays, colours = robot.hear("/segmentation/overlay", Image), robot.hear("/segmentation/color", Image)
    robot.spin(lambda: robot.segmented(masks, street) and overlays and colours)
    table = np.array(palette, np.uint8)[:, ::-1]
    np.testing.assert_array_equal(pixels(colours[-1]), table[first])
    expected = cv2.addWeighted(table[first], 0.25, street, 0.75, 0)
    np.testing.assert_array_equal(pixels(overlays[-1]), expected)


def test_names_without_vision_msgs(robot, start, model) -> None:
    node = start(("PYTHONPATH", ""))
    assert len([line for line in node.lines if "vision_msgs is not installed" in line]) == 1
    heard = robot.hear("/segmentation/label_info_json", String, latched=True)  # comes late
    robot.spin(lambda: heard)
    names = json.loads(heard[0].data)["class_map"]
    with Segmenter(model, "cpu") as segmenter:
        assert names == {str(i): name for i, name in enumerate(segmenter.artifact.classes)}


def test_a_stream_that_changes_and_images_that_are_none(robot, start, street) -> None:
    node = start()
    masks = robot.hear("/segmentation/mask", Image)
    robot.segmented(masks, street)
    mask = robot.segmented(masks, cv2.resize(street, (90, 70))[..., ::-1], "rgb8")
    assert (mask.height, mask.width) == (70, 90)
    node.wait_for(f"images changed from bgr8 height={HEIGHT} width={WIDTH} to rgb8 height=70 width=90")
    for fields, sentence in (
        ({"encoding": "32FC1"}, "encoding '32FC1' is unknown here; expected one of bgr8"),
        ({"step": 5}, "a step of 5 bytes"),
        ({"height": 4000}, "height=4000 width=256 in bgr8 with a step of"),
        ({"encoding": "uyvy", "width": 255, "step": WIDTH * 3}, "uyvy expects pixels, uint8 (H, W, 2), W even"),
        ({"encoding": "bgr8", "height": 0}, "height=0 width=256; bgr8 expects pixels"),
    ):
        robot.send(street, **fields)
        node.wait_for(sentence)
        robot.send(street, **fields)  # told once
        robot.rest(0.1)
    assert len([line for line in node.lines if "32FC1" in line]) == 1
    assert (robot.segmented(masks, street).height) == HEIGHT


def values(status) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.status[0].values}
