"""The parsers that are Python under Atheris, which keeps the inputs that reach new lines. Not in CI; needs `pip install atheris`.

python tests/fuzz/guided.py onnx|engine|paddle|yaml [-runs=100000] [-max_total_time=600]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fastscnn", "yaml", "pickle", "json"]):
    from targets import targets

from fastscnn.runtime.errors import FastSCNNError

ENOUGH = 20_000  # bytes of a seed: the weights behind them teach nothing


def main(name: str, *options: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fastscnn-guided-"))
    target = next(t for t in targets(folder) if t.name == name)
    corpus = folder / "corpus"
    corpus.mkdir()
    for index, seed in enumerate(target.seeds):
        (corpus / f"seed{index}").write_bytes(seed[-ENOUGH:] if target.focus(seed) else seed)
    path = folder / f"case{target.suffix}"

    def one(data: bytes) -> None:
        target.write(path, data)
        try:
            target.read(path)
        except FastSCNNError as error:
            assert isinstance(error, target.documented), error

    atheris.Setup([sys.argv[0], f"-max_len={ENOUGH}", *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
