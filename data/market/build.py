"""Rebuilds the sheet of product photographs beside this script from Fashion-MNIST.

    python data/market/build.py /usr/share/datasets/fashion-mnist    # Debian: apt install dataset-fashion-mnist

The folder holds ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz``; where there is a network, the same
two files are what `keras.datasets.fashion_mnist` downloads (to ``~/.keras/datasets/fashion-mnist``). The first 300
photographs of each of the ten categories are taken, in the order of the source. The pixels are compared with the
content checksum in ``checksums.json``; nothing is replaced unless they agree. ``phrases.json`` is written by hand:
``--pin`` takes a change of it into the checksums.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from recfuse_lib.pretrained import store

HERE = Path(__file__).resolve().parent
PER_CATEGORY, SIZE, COLUMNS = 300, 28, 60


def read_idx(path: Path) -> np.ndarray:
    """The array in a gzipped IDX file of unsigned bytes (LeCun's format for MNIST)."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\x00\x00\x08":
        sys.exit(f"{path}: not an IDX file of unsigned bytes")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the two files of Fashion-MNIST's training part lie")
    parser.add_argument("--pin", action="store_true", help="write checksums.json anew instead of checking against it")
    arguments = parser.parse_args()
    images = read_idx(arguments.folder / "train-images-idx3-ubyte.gz")
    labels = read_idx(arguments.folder / "train-labels-idx1-ubyte.gz")
    rows = np.sort(np.concatenate([np.flatnonzero(labels == category)[:PER_CATEGORY] for category in range(10)]))
    pixels, category = images[rows], labels[rows]

    record = json.loads((HERE / "checksums.json").read_text("utf-8"))
    contents = {"photographs.png": store.sha256(pixels), "photographs.csv": store.sha256(category)}
    for name, digest in contents.items():
        if not arguments.pin and digest != record[name]["content_sha256"]:
            sys.exit(f"{name}: the source gives content sha256 {digest}, pinned is {record[name]['content_sha256']}")

    grid = pixels.reshape(-1, COLUMNS, SIZE, SIZE).swapaxes(1, 2).reshape(-1, COLUMNS * SIZE)
    with store.replacing(HERE / "photographs.png") as file:
        Image.fromarray(grid).save(file, format="png", optimize=True)
    lines = [f"{photo},{label},{row}" for photo, (label, row) in enumerate(zip(category, rows, strict=True))]
    store.write(HERE / "photographs.csv", "\n".join(["photo,category,source_row", *lines]) + "\n")
    for name in contents:
        record[name] = {"content_sha256": contents[name], "file_sha256": store.sha256(HERE / name)}
        print(f"{name}: {(HERE / name).stat().st_size:,} bytes, content sha256 {contents[name][:12]}")
    if arguments.pin:
        record["phrases.json"] = {"file_sha256": store.sha256(HERE / "phrases.json")}
    store.write(HERE / "checksums.json", json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
