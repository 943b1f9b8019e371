"""Recipes: the paper's numbers, what is refused, and what wins over what."""

from pathlib import Path

import pytest
import yaml

from fastscnn.model.training import Recipe
from fastscnn.model.training.recipe import SHIPPED
from fastscnn.runtime.errors import UsageError

UNBOUNDED = ("learning_rate", "power", "weight_decay", "auxiliary", "lovasz")  # by the paper; never infinite


def test_the_default_cityscapes_recipe_is_the_papers() -> None:
    recipe = Recipe.read("cityscapes", ["data=/x"])
    assert (recipe.optimizer, recipe.momentum, recipe.batch, recipe.epochs) == ("sgd", 0.9, 12, 1000)
    assert (recipe.learning_rate, recipe.power, recipe.weight_decay) == (0.045, 0.9, 4e-5)
    assert (recipe.auxiliary, recipe.crop, recipe.scales, recipe.flip) == (0.4, (1024, 2048), (0.5, 2.0), True)
    assert recipe.dropout > 0 and recipe.brightness > 0 and recipe.channel_noise > 0


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_by_name_and_by_path(path: Path) -> None:
    assert Recipe.read(path.stem, ["data=/x"]) == Recipe.read(f"{path.stem}.yaml", ["data=/x"])
    assert Recipe.read(path, ["data=/x"]).data == "/x"


def test_a_folder_of_the_recipes_name_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "camvid").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Recipe.read("camvid", ["data=camvid"]).data == "camvid"


def test_texts_win_over_the_file_and_a_recipe_survives_yaml(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("data: /d\nepochs: 7\nlearning_rate: 1e-3\nresolution: [720, 960]\n")
    recipe = Recipe.read(file, ["epochs=9", "crop=[128, 256]", "weights=w.safetensors", "resolution=null"])
    assert (recipe.epochs, recipe.crop, recipe.learning_rate) == (9, (128, 256), 1e-3)
    assert (recipe.weights, recipe.resolution) == ("w.safetensors", None)
    assert Recipe.of(yaml.safe_load(yaml.safe_dump(recipe.as_dict()))) == recipe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch=3", "Did you mean 'epochs'"),
        ("epochs=many", "epochs is 'many'; expected a whole number"),
        ("epochs=1.5", "expected a whole number"),
        ("epochs=true", "expected a whole number"),
        ("epochs=0", "epochs is 0; expected 1 or more"),
        ("flip=1", "expected true or false"),
        ("crop=512", "expected 2 numbers, as in 512x1024"),
        ("crop=[32, 512]", "crop is .*expected both from 64 to 16384"),
        ("scales=[2, 1]", "scales is"),
        ("optimizer=adam", "expected sgd or adamw"),
        ("learning_rate=.nan", "learning_rate is nan"),
        *((f"{name}={value}", f"{name} is") for name in UNBOUNDED for value in (".inf", ".nan", "-1")),
        ("seed=9223372036854775808", r"seed is .*expected from 0 up to, not including, 2\*\*63"),
        ("crop=[512, 16385]", "crop is .*expected both from 64 to 16384"),
        ("resolution=[99999, 512]", "resolution is .*expected both from 64 to 16384"),
        ("closing=1", "closing is 1.0; expected from 0 up to, not including, 1"),
        ("closing=0.1", "closing_crop is None; expected height, width if closing is not 0, else null"),
        ("closing_crop=512x512", r"closing_crop is \(512, 512\); expected height, width if closing is not 0"),
        ("closing_crop=8x512", "closing_crop is .*expected both from 64 to 16384"),
        ("closing_scales=2,1", "closing_scales is"),
        ("evaluate_at=32x96", "evaluate_at is .*expected both from 64 to 16384"),
        ("batch=1", "2 or more, for batch norm"),
        ("data=", "data is None; expected text"),
        ("epochs", "is not key=value"),
        ("epochs=[", "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Recipe.read("cityscapes", ["data=/x", text])


def test_files_that_are_not_recipes(tmp_path: Path) -> None:
    broken, listed = tmp_path / "a.yaml", tmp_path / "b.yaml"
    broken.write_text("a: [")
    listed.write_text("- 1\n")
    for path, says in (
        (broken, "cannot be read as YAML"),
        (listed, "holds a list"),
        (tmp_path / "none.yaml", "No such file"),
        (Path("camvit"), "Did you mean 'camvid'"),
    ):
        with pytest.raises(UsageError, match=says):
            Recipe.read(path)
    with pytest.raises(UsageError, match="data is ''"):
        Recipe.read("cityscapes")


def test_fields_that_make_another_run_are_told_from_those_that_do_not() -> None:
    recipe = Recipe("/x")
    assert recipe.differing(Recipe("/x", workers=4, threads=1, temperature=(1.2, 1.3))) == []
    assert recipe.differing(Recipe("/x", epochs=2, seed=1)) == ["seed", "epochs"]


def test_the_last_epochs_can_see_larger_crops() -> None:
    recipe = Recipe("/x", epochs=20, crop=(64, 96), closing=0.1, closing_crop=(128, 192), closing_scales=(0.7, 1.3))
    assert {recipe.at(epoch).crop for epoch in range(18)} == {(64, 96)}
    assert {(recipe.at(epoch).crop, recipe.at(epoch).scales) for epoch in (18, 19)} == {((128, 192), (0.7, 1.3))}
    assert Recipe("/x", epochs=2, closing=0.5, closing_crop=(128, 192)).at(1).scales == (0.5, 2.0)
    assert Recipe("/x").at(999) == Recipe("/x")


def test_lists_and_names_as_users_write_them() -> None:
    for text in ("crop=128x256", "crop=128×256", "crop=128,256", "crop=[128, 256]", "crop=128, 256", "crop=(128,256)"):
        assert Recipe.read("cityscapes", ["data=x", text]).crop == (128, 256)
    assert Recipe.read("cityscapes", ["data=x", "scales=0.75,1.5"]).scales == (0.75, 1.5)
    for text, says in (
        ("crop=128", "crop is 128; expected 2 numbers, as in 512x1024"),
        ("crop=128x", "expected 2 numbers, as in 512x1024|crop is ''"),
        ("lr=0.1", "Did you mean 'learning_rate'"),
        ("batch_size=4", "Did you mean 'batch'"),
        ("num_workers=4", "Did you mean 'workers'"),
        ("epoch=4", "Did you mean 'epochs'"),
    ):
        with pytest.raises(UsageError, match=says):
            Recipe.read("cityscapes", ["data=x", text])


def test_a_recipe_in_a_data_set_means_that_data_set(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text("classes: {a: [0, 0, 0], b: [1, 1, 1]}")
    (tmp_path / "recipe.yaml").write_text("epochs: 3\n")
    assert Recipe.read(tmp_path / "recipe.yaml").data == str(tmp_path)
    assert Recipe.read(tmp_path / "recipe.yaml", ["data=/other"]).data == "/other"
