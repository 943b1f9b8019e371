"""Pages and files of the repository outside docs/ that docs link to: the site carries them at the same relative places."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
CARRIED = (
    "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "benchmarks/results/*", "examples/**/*.py",
    "examples/**/*.pbtxt", "model/weights/*.md", "model/weights/*.jpg", "model/training/recipe.py", "model/training/recipes/*.yaml",
    "model/training/settings/*.yaml", "model/training/wide.py", "benchmarks/robustness/corruptions.py", "ros2/config/*.yaml",
)  # fmt: skip


def on_files(files, config):
    for pattern in CARRIED:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                name = path.relative_to(ROOT).as_posix()
                files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """`../X` of a page in docs/ is X at the site's root; a page that is carried along may speak of docs/ and README."""
    if (ROOT / "docs" / page.file.src_uri).exists():
        return re.sub(r"\]\(\.\./(?!\.\.)", "](", markdown)
    depth = page.file.src_uri.count("/")
    up = "../" * depth
    markdown = re.sub(r"\]\((?:\.\./)*docs/", f"]({up}", markdown)
    return re.sub(r"\]\((?:\.\./)*README\.md", f"]({up}index.md", markdown)
