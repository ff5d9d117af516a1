"""Split ONNX networks into files of limited size.

Knows the external data format (a graph and the files of weights that it names); knows no bundle.
"""

from __future__ import annotations

from pathlib import Path

from reelsense.extras import importable

_IN_GRAPH = 1024
"""Weights of fewer bytes stay in the graph, the default of `onnx.save_model`."""

_PAGE = 4096
"""Weights are aligned to multiples of this, so that they can be mapped into memory."""


def write_split(network: bytes, path: Path, max_file_size: int) -> list[str]:
    """Write an ONNX network as a graph and files of weights beside it.

    Args:
        network: The serialized model, with all of its weights.
        path: The file for the graph.
        max_file_size: The maximum bytes of weights in one file. A larger matrix, which the format
            cannot divide, gets its own file.

    Returns:
        The names of the files: that of `path`, and with `.data-1`, `.data-2`, ... appended.

    Raises:
        MissingExtraError: The package onnx is not installed.
    """
    importable("onnx", "eval", f"splitting a network of more than {max_file_size:,} bytes")
    import onnx
    from onnx.external_data_helper import set_external_data, write_external_data_tensors

    model = onnx.load_from_string(network)
    number = end = 0
    for weights in model.graph.initializer:
        length = len(weights.raw_data)
        if length < _IN_GRAPH:
            continue
        offset = -(-end // _PAGE) * _PAGE
        if not number or offset + length > max_file_size:
            number, offset = number + 1, 0
        set_external_data(weights, f"{path.name}.data-{number}", offset, length)
        end = offset + length
    write_external_data_tensors(model, str(path.parent))
    path.write_bytes(model.SerializeToString())
    return [path.name, *(f"{path.name}.data-{n}" for n in range(1, number + 1))]
