"""Every format that annotation tools write, written here from one drawn truth, becomes that truth again."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import raw_png
from PIL import Image, ImageDraw
from pycocotools import mask as lengths

from fastscnn.model.annotations.mapping import plan
from fastscnn.model.annotations.recognise import recognised
from fastscnn.runtime.errors import SourceError, UsageError

SIZE = (60, 80)
NAMES = ("soil", "crop", "weed")
COLOURS = ((139, 90, 43), (0, 255, 0), (255, 0, 0))
Polygons = list[tuple[int, list[tuple[float, float]]]]  # class, points, in the order of painting


def polygons(index: int) -> Polygons:
    """Two crops with a weed over one of them, in other places for every picture."""
    rng = np.random.default_rng(index)
    found: Polygons = []
    for number, centre in ((1, (20, 20)), (1, (55, 40)), (2, (26, 24))):
        around = np.sort(rng.uniform(0, 2 * np.pi, 7))
        radius = rng.uniform(6, 13, 7)
        points = np.stack([centre[0] + radius * np.cos(around), centre[1] + radius * np.sin(around)], axis=1)
        found.append((number, [(float(x), float(y)) for x, y in points.round(1)]))
    return found


def truth(index: int) -> np.ndarray:
    picture = Image.new("L", SIZE[::-1])
    for number, points in polygons(index):
        ImageDraw.Draw(picture).polygon(points, fill=number, outline=number)
    return np.array(picture)


def image(path: Path, index: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.array(COLOURS, np.uint8)[truth(index)] // 2 + np.random.default_rng(index).integers(0, 60, (*SIZE, 3))
    cv2.imwrite(str(path), pixels.astype(np.uint8)[..., ::-1])
    return path


def written(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def labelme(root: Path) -> None:
    for index in range(3):
        image(root / f"f{index}.jpg", index)
        shapes = [{"label": NAMES[n], "points": points, "shape_type": "polygon"} for n, points in polygons(index)]
        shapes.append({"label": "crop", "points": [[3, 3]], "shape_type": "point"})
        written(
            root / f"f{index}.json",
            {"version": "5.5.0", "shapes": shapes, "imagePath": f"f{index}.jpg", "imageHeight": 60, "imageWidth": 80},
        )


def labelme_masks(root: Path) -> None:
    """Its newer shapes: a mask as a PNG in base64, and a rectangle of all the picture under it."""
    for index in range(3):
        image(root / f"f{index}.jpg", index)
        shapes: list[dict[str, object]] = [{"label": "soil", "points": [[0, 0], [80, 60]], "shape_type": "rectangle"}]
        for number in (1, 2):
            buffer = io.BytesIO()
            Image.fromarray((truth(index) == number)[5:, 7:]).save(buffer, "PNG")
            encoded = base64.b64encode(buffer.getvalue()).decode()
            shapes.append({"label": NAMES[number], "points": [[7, 5], [80, 60]], "shape_type": "mask", "mask": encoded})
        written(root / f"f{index}.json", {"shapes": shapes, "imagePath": f"..\\elsewhere\\f{index}.jpg"})


def yolo(root: Path) -> None:
    written(root / "data.yaml", "names: {0: crop, 1: weed}\ntrain: images/train\n")
    for index, split in enumerate(("train", "train", "val")):
        image(root / "images" / split / f"f{index}.png", index)
        lines = [
            f"{n - 1} " + " ".join(f"{x / 80:.6f} {y / 60:.6f}" for x, y in points) for n, points in polygons(index)
        ]
        written(root / "labels" / split / f"f{index}.txt", "\n".join(lines))


def cityscapes_like(root: Path) -> None:
    for index in range(3):
        image(root / "leftImg8bit" / "train" / "yard" / f"yard_{index}_leftImg8bit.png", index)
        objects = [
            {"label": NAMES[n] + ("group" if n == 1 else ""), "polygon": points} for n, points in polygons(index)
        ]
        objects.append({"label": "weed", "polygon": [[0, 0], [80, 0], [80, 60]], "deleted": 1})
        written(
            root / "gtFine" / "train" / "yard" / f"yard_{index}_gtFine_polygons.json",
            {"imgHeight": 60, "imgWidth": 80, "objects": objects},
        )


def coco(root: Path, runs: bool = False) -> None:
    images, annotations = [], []
    for index in range(3):
        image(root / "images" / f"f{index}.jpg", index)
        images.append({"id": index, "file_name": f"f{index}.jpg", "height": 60, "width": 80})
        for place, (number, points) in enumerate(polygons(index)):
            region: object = [[v for point in points for v in point]]
            if runs:
                picture = Image.new("L", SIZE[::-1])
                ImageDraw.Draw(picture).polygon(points, fill=1, outline=1)
                packed = lengths.encode(np.asfortranarray(np.array(picture)))
                region = {"size": packed["size"], "counts": packed["counts"].decode()}
                if place == 1:  # as COCO's crowds are: plain numbers
                    flat = np.array(picture).T.ravel()
                    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [-1]])))
                    region = {"size": [60, 80], "counts": np.diff(np.concatenate([[0], edges])).tolist()}
            annotations.append(
                {"id": len(annotations), "image_id": index, "category_id": 7 * number, "segmentation": region}
            )
    categories = [{"id": 7, "name": "crop"}, {"id": 14, "name": "weed"}, {"id": 3, "name": "never drawn"}]
    written(
        root / "annotations" / "instances_default.json",
        {"images": images, "annotations": annotations, "categories": categories},
    )


def voc(root: Path) -> None:
    for index in range(3):
        image(root / "JPEGImages" / f"f{index}.jpg", index)
        raw_png.write(
            root / "SegmentationClass" / f"f{index}.png",
            truth(index),
            8,
            raw_png.PALETTE,
            [0, 0, 0, 128, 0, 0, 0, 128, 0] + [1] * 759,
        )
    written(root / "ImageSets" / "Segmentation" / "train.txt", "f0\nf1\n")
    written(root / "ImageSets" / "Segmentation" / "val.txt", "f2\n")
    written(root / "class_names.txt", "soil\ncrop\nweed\n")


def cvat(root: Path) -> None:
    for index in range(3):
        image(root / "JPEGImages" / f"f{index}.jpg", index)
        raw_png.write(
            root / "SegmentationClass" / f"f{index}.png", np.array(COLOURS, np.uint8)[truth(index)], 8, raw_png.RGB
        )
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(NAMES, COLOURS, strict=True)]
    written(root / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", "background:0,0,0::", *lines]))
    written(root / "ImageSets" / "Segmentation" / "default.txt", "f0\nf1\nf2\n")


def roboflow(root: Path) -> None:
    for index, split in enumerate(("train", "train", "valid")):
        name = f"f{index}_jpg.rf.0123456789abcdef"
        image(root / split / f"{name}.jpg", index)
        raw_png.write(root / split / f"{name}_mask.png", truth(index))
        written(root / split / "_classes.csv", "Pixel Value, Class\n0, soil\n1, crop\n2, weed\n")


def label_studio(root: Path) -> None:
    tasks = []
    for index in range(3):
        image(root / "pictures" / f"f{index}.jpg", index)
        for number in (1, 2):
            name = f"task-{index + 5}-annotation-{index + 9}-by-1-tag-{NAMES[number]}-{number}.png"
            raw_png.write(root / name, (truth(index) == number) * 255)
        tasks.append({"id": index + 5, "data": {"image": f"/data/upload/1/0123abcd-f{index}.jpg"}})
    written(root / "project-1.json", tasks)


def camvid(root: Path) -> None:
    for index in range(3):
        image(root / "701_StillsRaw_full" / f"0001TP_{index:06d}.png", index)
        pixels = np.array(COLOURS, np.uint8)[truth(index)]
        pixels[:2] = 0
        raw_png.write(root / "LabeledApproved_full" / f"0001TP_{index:06d}_L.png", pixels, 8, raw_png.RGB)
    lines = [f"{r} {g} {b}\t\t{name}" for name, (r, g, b) in zip(NAMES, COLOURS, strict=True)]
    written(root / "label_colors.txt", "\n".join([*lines, "0 0 0\tVoid", "64 0 64\tMisc_Text"]))


def own_like(root: Path) -> None:
    """Colour masks in folders of other names, with the list of colours in a classes.yaml; one mask is all black."""
    for index in range(3):
        image(root / "imgs" / f"f{index}.jpg", index)
        raw_png.write(root / "masks" / f"f{index}_mask.png", np.array(COLOURS, np.uint8)[truth(index)], 8, raw_png.RGB)
    written(root / "classes.yaml", "classes: {soil: [139, 90, 43], crop: [0, 255, 0], weed: [255, 0, 0]}")


Write = Callable[[Path], None]
WRITERS: dict[str, tuple[Write, str]] = {
    "labelme": (labelme, "labelme JSON"),
    "labelme masks": (labelme_masks, "labelme JSON"),
    "yolo": (yolo, "YOLO segmentation"),
    "cityscapes": (cityscapes_like, "Cityscapes polygons"),
    "coco runs": (lambda root: coco(root, True), "COCO JSON"),
    "voc": (voc, "Pascal VOC"),
    "cvat": (cvat, "CVAT segmentation mask"),
    "roboflow": (roboflow, "Roboflow masks"),
    "label studio": (label_studio, "Label Studio PNGs"),
    "camvid": (camvid, "CamVid's original colours"),
    "folders": (own_like, "a folder of images and masks"),
}


def drawn(root: Path, place: int, rest: str = "soil") -> np.ndarray:
    """One picture's final ids, by name soil 0, crop 1, weed 2."""
    found = recognised(root)
    made = plan(found, None, rest)
    picture = sorted(found.pictures, key=lambda p: p.image.name)[place]
    staged = made.staged(picture.draw(SIZE))
    classes, table = made.finished(found, "x", bool((staged == 254).any()))
    order = np.array([NAMES.index(name) for name in classes.classes] + [0] * 253, np.uint8)
    labels = table[staged]
    return np.where(labels == 255, 255, order[labels])


@pytest.mark.parametrize("format", WRITERS)
def test_a_format_becomes_the_truth(tmp_path: Path, format: str) -> None:
    write, kind = WRITERS[format]
    write(tmp_path)
    assert recognised(tmp_path).kind == kind
    for index in range(3):
        labels, expected = drawn(tmp_path, index), truth(index)
        counted = labels != 255
        assert counted.mean() > 0.95
        agreement = (labels == expected)[counted].mean()
        assert agreement > 0.998 if format == "yolo" else agreement == 1, "YOLO's points are rounded"


def test_coco_polygons_are_drawn_as_pycocotools_draws_them(tmp_path: Path) -> None:
    coco(tmp_path)
    expected = np.zeros(SIZE, np.uint8)
    for number, points in polygons(0):
        codes = lengths.merge(lengths.frPyObjects([[v for point in points for v in point]], *SIZE))
        expected[lengths.decode(codes) > 0] = number
    assert np.array_equal(drawn(tmp_path, 0), expected)
    assert recognised(tmp_path).names == ("crop", "weed"), "categories that nothing was drawn of are none"


def test_cityscapes_own_names_keep_its_classes(tmp_path: Path) -> None:
    image(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_0_leftImg8bit.png", 0)
    objects = [
        {"label": label, "polygon": [[0, y], [80, y], [80, y + 9], [0, y + 9]]}
        for label, y in (("road", 0), ("cargroup", 10), ("polegroup", 20), ("ego vehicle", 30))
    ]
    written(
        tmp_path / "gtFine" / "val" / "ulm" / "ulm_0_gtFine_polygons.json",
        {"imgHeight": 60, "imgWidth": 80, "objects": objects},
    )
    found = recognised(tmp_path)
    assert len(found.names) == 19 and found.pictures[0].split == "val"
    mask = found.pictures[0].draw(SIZE)
    assert [found.names[n] if n >= 0 else n for n in mask[[5, 15, 25, 35, 55], 40]] == ["road", "car", -2, -2, -2]


def test_mmsegmentation_needs_names(tmp_path: Path) -> None:
    for index, split in enumerate(("train", "val")):
        image(tmp_path / "img_dir" / split / f"f{index}.jpg", index)
        raw_png.write(tmp_path / "ann_dir" / split / f"f{index}.png", truth(index), 2)
    found = recognised(tmp_path)
    assert (found.kind, found.names, found.named) == ("MMSegmentation's img_dir and ann_dir", ("0", "1", "2"), False)
    assert [p.split for p in found.pictures] == ["train", "val"]
    with pytest.raises(UsageError, match=r"hold ids without names: 0, 1, 2; .*--map map.yaml"):
        plan(found, None, "background")
    written(tmp_path / "map.yaml", "0: soil\n1: plant\n2: plant\n")
    made = plan(found, tmp_path / "map.yaml", "background")
    assert made.names == ("soil", "plant")
    assert np.array_equal(made.staged(found.pictures[0].draw(SIZE)), truth(0) > 0)


def test_colours_without_names_are_listed_with_their_shares(tmp_path: Path) -> None:
    own_like(tmp_path)
    (tmp_path / "classes.yaml").unlink()
    raw_png.write(
        tmp_path / "masks" / "f0_mask.png", np.zeros((*SIZE, 3), np.uint8), 8, raw_png.RGB
    )  # equal channels, as ids have
    found = recognised(tmp_path)
    assert set(found.names) == {"0,0,0", "139,90,43", "0,255,0", "255,0,0"}
    assert sum(found.shares.values()) == pytest.approx(1)
    with pytest.raises(UsageError, match="hold colours without names"):
        plan(found, None, "background")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("crop: plant", "says nothing of weed; expected each"),
        ("crop: plant\nwede: plant", "maps 'wede', which was not found. Did you mean 'weed'"),
        ("[crop]", "is not a mapping; expected lines such as"),
        ("crop: ignore\nweed: ignore", r"there would be 1 classes \(background\)"),
    ],
)
def test_mappings_that_forget_or_invent(tmp_path: Path, text: str, says: str) -> None:
    labelme(tmp_path / "source")
    written(tmp_path / "map.yaml", text)
    found = recognised(tmp_path / "source")
    with pytest.raises(UsageError, match=says):
        plan(found, tmp_path / "map.yaml", "background").finished(found, "x", True)


def test_classes_merged_dropped_and_ignored(tmp_path: Path) -> None:
    labelme(tmp_path / "source")
    found = recognised(tmp_path / "source")
    for text, weed in (
        ("crop: plant\nweed: plant", 0),
        ("crop: plant\nothers: ignore", 255),
        ("crop: plant\nweed: nothing", 254),
    ):
        written(tmp_path / "map.yaml", text)
        made = plan(found, tmp_path / "map.yaml", "soil")
        staged = made.staged(found.pictures[0].draw(SIZE))
        assert set(staged[truth(0) == 2].tolist()) == {weed}
        assert set(staged[truth(0) == 1].tolist()) == {0}


@pytest.mark.parametrize(
    ("format", "name", "content", "error", "says"),
    [
        ("labelme", "f0.json", {"shapes": [], "imagePath": "f0.jpg", "imageHeight": 99, "imageWidth": 80}, SourceError, "drawn on height=99 width=80"),
        ("labelme", "f0.json", {"shapes": [{"label": "crop", "points": [[1, "x"]]}], "imagePath": "f0.jpg"}, SourceError, "expected pairs of numbers"),
        ("yolo", "labels/train/f0.txt", "0 0.5 0.5 0.2 0.2", SourceError, "holds boxes; expected polygons"),
        ("yolo", "labels/train/f0.txt", "5 0.1 0.1 0.2 0.2 0.3 0.1", SourceError, "a class from 0 to 1"),
        ("yolo", "labels/train/f0.txt", "0 10 10 20 20 30 10", SourceError, "expected shares of the picture"),
        ("voc", "class_names.txt", "soil\ncrop", UsageError, r"hold \[2\], which its list of classes does not name"),
        ("cvat", "labelmap.txt", "soil:139,90,43::\ncrop:0,255,0::", UsageError, r"colours \[\(255, 0, 0\)\], which its list"),
        ("roboflow", "valid/_classes.csv", "Pixel Value, Class\n0, weed", UsageError, "calls 0 'weed'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    tmp_path: Path, format: str, name: str, content: object, error: type[Exception], says: str
) -> None:
    WRITERS[format][0](tmp_path)
    written(tmp_path / name, content)
    with pytest.raises(error, match=says):
        for picture in recognised(tmp_path).pictures:
            picture.draw(SIZE)


def test_labels_without_pictures_and_folders_of_nothing(tmp_path: Path) -> None:
    voc(tmp_path / "voc")
    (tmp_path / "voc" / "JPEGImages").rename(tmp_path / "pictures")
    with pytest.raises(UsageError, match=r"3 label files have no picture, .*Say where they are with --images"):
        recognised(tmp_path / "voc")
    assert len(recognised(tmp_path / "voc", tmp_path / "pictures").pictures) == 3
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="no known format was found; found nothing; expected labelme JSON"):
        recognised(tmp_path / "nothing")
    with pytest.raises(UsageError, match="is not a folder"):
        recognised(tmp_path / "export.zip")


def test_photographs_are_no_masks(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png", 0)
    image(tmp_path / "masks" / "a.png", 1)
    with pytest.raises(UsageError, match="more than 254 ids or colours"):
        recognised(tmp_path)


def test_pictures_elsewhere_on_the_disk_are_not_touched(tmp_path: Path) -> None:
    """A stranger's file may name any: only those below the folders that the user named are taken."""
    secret = image(tmp_path / "secret" / "s.png", 0)
    for place in (str(secret), "../secret/s.png"):
        written(tmp_path / "in" / "a.json", {"shapes": [], "imagePath": place})
        with pytest.raises(UsageError, match="have no picture"):
            recognised(tmp_path / "in")
        coco = {
            "images": [{"id": 1, "file_name": place, "height": 60, "width": 80}],
            "annotations": [],
            "categories": [],
        }
        written(tmp_path / "in" / "a.json", coco)
        with pytest.raises(UsageError, match="have no picture"):
            recognised(tmp_path / "in")
