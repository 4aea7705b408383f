"""One graph of a bundle, ready to answer: ONNX Runtime on one thread.

A request is small; a second thread would wait for it, not help.

Taught in notebook 18.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from recfuse_lib.serving.bundle import Bundle, BundleError


class GraphSession:
    """Named arrays in, named arrays out.

    Args:
        bundle: The bundle.
        name: The graph.

    Raises:
        BundleError: The bundle has no such graph.
    """

    def __init__(self, bundle: Bundle, name: str, threads: int = 1) -> None:
        if (path := bundle.graph(name)) is None:
            raise BundleError(f"{bundle.version} has no {name}; build a bundle that has one")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._shapes = {one.name: tuple(one.shape) for one in self._session.get_inputs()}

    def shape(self, name: str) -> tuple[Any, ...]:
        """The shape of an input; what is free in it is not a number."""
        return self._shapes[name]

    def __call__(self, **inputs: np.ndarray) -> dict[str, Any]:
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
