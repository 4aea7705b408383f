"""Arrays in an `.npz` file that is read by mapping it into memory, so that loading costs nothing for what is not used.

Taught in notebook 18.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

ALIGNED, SMALL = 64, 1 << 16
"""Where an array may begin, in bytes; and up to how many bytes it is read, with its checksum, instead of mapped."""
LOCAL_HEADER, ZIP64 = 30, 20
"""Bytes before the name of a part of a ZIP file, and of the sizes beyond 4 GB after it."""
PADDING = 0xD935  # the extra field that Android's zipalign writes for the same end


def write(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes what `numpy.load` reads, too: parts of a ZIP file, not compressed, whose data begin aligned."""
    with zipfile.ZipFile(file, "w") as parts:
        for name, array in arrays.items():
            part = zipfile.ZipInfo(f"{name}.npy")
            begins = file.tell() + LOCAL_HEADER + len(part.filename.encode()) + ZIP64 + 4
            part.extra = struct.pack("<HH", PADDING, -begins % ALIGNED) + bytes(-begins % ALIGNED)
            with parts.open(part, "w", force_zip64=True) as target:
                np.lib.format.write_array(target, np.asanyarray(array), allow_pickle=False)


def read(path: Path | str) -> dict[str, np.ndarray]:
    """Maps the large arrays of a file, copied where they are written to, and reads the others; raises as `numpy.load`
    does, but what is mapped is not compared with its checksum.
    """
    found: dict[str, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as known, Path(path).open("rb") as file:
        whole: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        for part in known.zip.infolist():
            name = part.filename.removesuffix(".npy")
            if part.file_size > SMALL and part.compress_type == zipfile.ZIP_STORED:
                lengths = struct.unpack_from("<HH", whole, part.header_offset + 26)
                file.seek(part.header_offset + LOCAL_HEADER + sum(lengths))
                version = np.lib.format.read_magic(file)
                header = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}")
                shape, by_column, kind = header(file)
                if file.tell() % ALIGNED == 0 and not kind.hasobject:
                    flat = np.frombuffer(whole, kind, int(np.prod(shape)), file.tell())
                    found[name] = flat.reshape(shape, order="F" if by_column else "C")
                    continue
            found[name] = known[name]
    return found
