"""The networks of the digits family as ONNX graphs, written node by node: one linear map, and two that look harder.

The larger two see every digit in many views (turned and shifted), each enlarged, filtered by patches of real digits,
rectified and averaged over a coarse grid. The views' features are averaged, and a linear map scores them. More
filters see more and cost more: that is the whole difference between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from demo.digits import CLASSES, SIDE

Floats = NDArray[np.float32]

_OPSET = 16
_IR_VERSION = 8

TURNS_DEGREES = (-12.0, -6.0, 0.0, 6.0, 12.0)
SHIFTS = ((0.0, 0.0), (0.1, 0.0), (-0.1, 0.0), (0.0, 0.1), (0.0, -0.1))
"""Across and down, where the whole image is 2 wide."""


@dataclass(frozen=True)
class Look:
    """How closely a network looks: the resolution of a view, its filters, and the grid over which they are averaged."""

    resolution: int
    filter_side: int
    filters: int
    cells: int

    @property
    def features(self) -> int:
        """Numbers per view that reach the linear map."""
        return self.filters * self.cells**2


def view_grids(resolution: int) -> Floats:
    """Where each view samples the image: one grid per pair of a turn and a shift, in [-1, 1]."""
    centres = (np.arange(resolution) + 0.5) / resolution * 2 - 1
    down, across = np.meshgrid(centres, centres, indexing="ij")
    grids = []
    for degrees, (shift_across, shift_down) in product(TURNS_DEGREES, SHIFTS):
        cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        turned_across = cosine * across - sine * down + shift_across
        turned_down = sine * across + cosine * down + shift_down
        grids.append(np.stack([turned_across, turned_down], axis=-1))
    return np.stack(grids).astype(np.float32)


def linear_network(weights: Floats, bias: Floats) -> onnx.ModelProto:
    """Scores straight from the pixels."""
    graph = _Graph()
    graph.node("Gemm", ["pixels", graph.constant("weights", weights), graph.constant("bias", bias)], "scores")
    return graph.model("scores", CLASSES)


def feature_network(look: Look, filters: Floats, threshold: float) -> onnx.ModelProto:
    """The features of every view, for training: views x digits x features, flattened to rows."""
    graph = _Graph()
    _add_features(graph, look, filters, threshold)
    return graph.model("features", look.features)


def looking_network(look: Look, filters: Floats, threshold: float, weights: Floats, bias: Floats) -> onnx.ModelProto:
    """Scores from the mean of the views' features."""
    graph = _Graph()
    _add_features(graph, look, filters, threshold)
    by_view = graph.constant("by_view", np.array([len(view_grids(1)), -1, look.features], dtype=np.int64))
    graph.node("Reshape", ["features", by_view], "features_by_view")
    graph.node("ReduceMean", ["features_by_view"], "mean_features", axes=[0], keepdims=0)
    graph.node("Gemm", ["mean_features", graph.constant("weights", weights), graph.constant("bias", bias)], "scores")
    return graph.model("scores", CLASSES)


def _add_features(graph: "_Graph", look: Look, filters: Floats, threshold: float) -> None:
    grids, side, cell = view_grids(look.resolution), look.resolution, look.resolution // look.cells
    shape = graph.constant("image_shape", np.array([1, -1, SIDE, SIDE], dtype=np.int64))
    graph.node("Reshape", ["pixels", shape], "images")
    copies = graph.constant("copies", np.array([len(grids), 1, 1, 1], dtype=np.int64))
    graph.node("Expand", ["images", copies], "copied_images")
    # The digits of a batch ride as channels, so one sampling makes a view of all of them.
    graph.node("GridSample", ["copied_images", graph.constant("grids", grids)], "view_stack", align_corners=0)
    rows = graph.constant("view_shape", np.array([-1, 1, side, side], dtype=np.int64))
    graph.node("Reshape", ["view_stack", rows], "views")
    kernel = graph.constant("filters", filters.reshape(look.filters, 1, look.filter_side, look.filter_side))
    offset = graph.constant("offset", np.full(look.filters, -threshold, dtype=np.float32))
    graph.node("Conv", ["views", kernel, offset], "responses", pads=[look.filter_side // 2] * 4)
    graph.node("Relu", ["responses"], "rectified")
    graph.node("AveragePool", ["rectified"], "cells", kernel_shape=[cell, cell], strides=[cell, cell])
    graph.node("Reshape", ["cells", graph.constant("flat", np.array([-1, look.features], dtype=np.int64))], "features")


class _Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def model(self, output: str, width: int) -> onnx.ModelProto:
        pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["digits", SIDE * SIDE])
        answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", width])
        graph = helper.make_graph(self._nodes, "digits", [pixels], [answer], self._constants)
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="tradewind")
        onnx.checker.check_model(model)
        return model
