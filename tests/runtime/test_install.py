"""What messages tell to install is never a name on the package index that is not this project's."""

import json
import re
import sys
from pathlib import Path

import pytest

from fastscnn.runtime import install

ROOT = Path(__file__).parents[2]
REQUIRED = """Metadata-Version: 2.1
Name: fastscnn
Version: 0.1.0
Requires-Dist: numpy<3,>=1.23
Requires-Dist: onnxruntime<2,>=1.17; extra == "cpu"
Requires-Dist: onnxruntime-gpu<2,>=1.17; platform_machine == "pdp11" and extra == "gpu"
Requires-Dist: pycuda>=2022.2; extra == 'trt'
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that pip put into an otherwise empty environment; gives its description's folder."""
    folder = tmp_path / "site" / "fastscnn-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(REQUIRED)
    monkeypatch.setattr(sys, "path", [str(folder.parent)])
    monkeypatch.setattr(install, "_HERE", tmp_path / "site" / "fastscnn")
    monkeypatch.setattr(install, "_pip", lambda: "pip install")
    return folder


def came_from(folder: Path, **told: object) -> None:
    (folder / "direct_url.json").write_text(json.dumps(told))


def test_a_clone_a_wheel_and_a_repository_are_named(installed: Path, tmp_path: Path) -> None:
    clone = tmp_path / "my clone"
    clone.mkdir()
    came_from(installed, url=clone.as_uri(), dir_info={"editable": True})
    assert install.command("cpu") == f"pip install -e '{clone}[cpu]'"
    came_from(installed, url=clone.as_uri(), dir_info={})
    assert install.command("export,cpu") == f"pip install '{clone}[export,cpu]'"
    assert install.again() == f"pip install --force-reinstall '{clone}'"
    wheel = tmp_path / "fastscnn-0.1.0-py3-none-any.whl"
    wheel.touch()
    came_from(installed, url=wheel.as_uri(), archive_info={})
    assert install.command("cpu") == f"pip install '{wheel}[cpu]'"
    came_from(installed, url="https://host/us/it.git", vcs_info={"vcs": "git", "commit_id": "ab12"})
    assert install.command("cpu") == "pip install 'fastscnn[cpu] @ git+https://host/us/it.git@ab12'"


@pytest.mark.parametrize("told", [None, {}, {"url": "file:///gone/fastscnn.whl"}, "nonsense", {"vcs_info": {}}])
def test_where_the_origin_is_gone_the_packages_are_named(installed: Path, told: object) -> None:
    if told is not None:
        (installed / "direct_url.json").write_text(told if isinstance(told, str) else json.dumps(told))
    assert install.command("cpu") == "pip install 'onnxruntime<2,>=1.17'"
    assert install.command("cpu,trt") == "pip install 'onnxruntime<2,>=1.17' 'pycuda>=2022.2'"
    assert install.command("gpu") == "pip install the packages of the extra 'gpu'", "none for this machine"


def test_a_folder_that_is_not_installed_names_itself(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed / "METADATA").unlink()
    monkeypatch.setattr(install, "_HERE", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    assert install.command("cpu") == f"pip install '{tmp_path}[cpu]'"


def test_pip_is_the_one_of_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    beside = Path(sys.executable).with_name("pip")
    monkeypatch.setattr(install.shutil, "which", {"pip": str(beside)}.get)
    assert install.command("cpu").startswith("pip install ")
    monkeypatch.setattr(install.shutil, "which", {"pip": "/elsewhere/bin/pip"}.get)
    assert install.command("cpu").startswith(f"{sys.executable} -m pip install ")
    monkeypatch.setattr(install.shutil, "which", {"uv": "/usr/bin/uv"}.get)
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda _: None)
    assert install.command("cpu").startswith(f"uv pip install --python {sys.executable} ")


def test_nothing_recommends_the_bare_name() -> None:
    """`pip install fastscnn` would run whatever a stranger registers under that name."""
    bare = re.compile(r"""pip3?\s+install[^\n`]*[\s'"]fastscnn(?![-/.\w])""")
    places = [*ROOT.glob("*.md"), *ROOT.glob("*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "Makefile"]
    for floor in ("runtime", "model", "export", "benchmarks"):
        places += [path for suffix in ("py", "md", "yaml") for path in (ROOT / floor).rglob(f"*.{suffix}")]
    found = [f"{path.name}: {match[0]}" for path in places for match in bare.finditer(path.read_text())]
    # SECURITY.md and the module's own words say that one must not.
    assert [one for one in found if not one.startswith(("SECURITY.md", "install.py"))] == []
    named = re.compile(r"fastscnn\[")
    assert [
        path.name
        for path in places
        if path.suffix == ".py" and path.name != "install.py" and named.search(path.read_text())
    ] == []
