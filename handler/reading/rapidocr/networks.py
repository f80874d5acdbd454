"""The networks on a device: images in bytes, what the network says of them. OpenVINO on a CPU, CUDA on a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from handler.errors import OcrFailed
from handler.reading.rapidocr.model_files import INSTALL

Device = Literal["cpu", "gpu"]
ChooseColumns = Callable[[Sequence[str]], Sequence[int]]
"""Which columns of the output to keep, given the characters that the network's file names for them."""

_INSTALL_GPU = "pip install --no-deps -r requirements/reader-gpu.txt"
_MIDDLE = 127.5
_CHARACTERS = "character"
_CUDA = "CUDAExecutionProvider"
_KEPT_SHAPES = 2  # of a fixed network, the most recent ones; each holds its weights again


class Network(Protocol):
    """One network, ready to run."""

    characters: list[str]
    """What the file names for its output columns; empty for a network that reads no text."""

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the output for RGB images (N, height, width, 3)."""


def open_network(
    model: bytes, device: Device, threads: int, choose: ChooseColumns | None = None, fixed: bool = False
) -> Network:
    """Return a network that is ready to run.

    Args:
        model: an ONNX file that takes (N, 3, height, width) in -1..1, blue first.
        device: `cpu` needs `openvino`, `gpu` needs `onnxruntime-gpu`.
        threads: of a CPU.
        choose: what to keep of the output's last axis, a softmax then over these alone; None for everything.
        fixed: the images come in few shapes; a CPU then has the network compiled for each.

    Raises:
        OcrFailed: what the device needs is not installed.
    """
    if device == "gpu":
        return OnnxNetwork(model, choose)
    return FixedCpuNetwork(model, threads) if fixed else CpuNetwork(model, threads, choose)


class CpuNetwork:
    """Runs on OpenVINO, which takes bfloat16 where the CPU multiplies it fast."""

    def __init__(self, model: bytes, threads: int, choose: ChooseColumns | None) -> None:
        """Compile the network for images of any shape."""
        core, graph = _read(model)
        self.characters = _named_characters(graph)
        if choose is not None:
            _cut_columns(graph, len(self.characters) + 2, choose(self.characters))
        compiled = core.compile_model(_from_bytes(graph), "CPU", _properties(threads))
        self._request = compiled.create_infer_request()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the output, which is overwritten by the next call."""
        return _infer(self._request, images)


class FixedCpuNetwork:
    """Runs on OpenVINO, compiled for one shape at a time: a fifth faster, in less than half the memory."""

    def __init__(self, model: bytes, threads: int) -> None:
        """Read the network; it is compiled when the first image comes."""
        self._core, graph = _read(model)
        self.characters: list[str] = []
        self._graph = _from_bytes(graph)
        self._properties = _properties(threads)
        self._requests: dict[tuple[int, ...], Any] = {}
        self._last: tuple[int, ...] = ()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the output, which is overwritten by the next call."""
        if images.shape != self._last:
            if self._last in self._requests:
                self._requests[self._last].get_compiled_model().release_memory()
            self._requests[images.shape] = self._requests.pop(images.shape, None) or self._compile(images.shape)
            self._last = images.shape
        return _infer(self._requests[images.shape], images)

    def _compile(self, shape: tuple[int, ...]) -> Any:
        while len(self._requests) >= _KEPT_SHAPES:
            del self._requests[next(iter(self._requests))]
        self._graph.reshape(list(shape))
        return self._core.compile_model(self._graph, "CPU", self._properties).create_infer_request()


class OnnxNetwork:
    """Runs on one provider of ONNX Runtime, by default CUDA on the first GPU; never on another in place of it."""

    def __init__(self, model: bytes, choose: ChooseColumns | None, provider: str = _CUDA) -> None:
        """Load the network."""
        try:
            import onnxruntime
        except ImportError as error:
            raise OcrFailed(f"engine rapidocr needs onnxruntime-gpu to read on a GPU: `{_INSTALL_GPU}`") from error
        if provider not in onnxruntime.get_available_providers():
            raise OcrFailed(
                f"this onnxruntime has no CUDA provider: `pip uninstall onnxruntime; {_INSTALL_GPU}`, or set device cpu"
            )
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # of the wheels that torch brings; their folders are on no search path
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._errors = onnxruntime_errors()
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=[(provider, {"cudnn_conv_algo_search": "HEURISTIC"})]
            )
        except self._errors as error:
            raise OcrFailed(f"onnxruntime cannot load the networks onto the GPU: {error}") from error
        if provider not in self._session.get_providers():
            raise OcrFailed(
                "onnxruntime-gpu finds no GPU that it can use; set device cpu, or see its log for the cause"
            )
        self.characters = self._session.get_modelmeta().custom_metadata_map.get(_CHARACTERS, "").splitlines()
        self._input = self._session.get_inputs()[0].name
        self._columns = None if choose is None else np.asarray(choose(self.characters))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the output; what is left of a softmax is scaled to 1 again, as a softmax over it alone.

        Raises:
            RuntimeError: it gave up, for example for want of the GPU's memory.
        """
        blue_first = images[..., ::-1].transpose(0, 3, 1, 2)
        scaled = (np.ascontiguousarray(blue_first, dtype=np.float32) - _MIDDLE) / _MIDDLE
        try:
            output: NDArray[np.float32] = self._session.run(None, {self._input: scaled})[0]
        except self._errors as error:
            raise RuntimeError(str(error)) from error  # as OpenVINO does; a batch's other pages are read
        if self._columns is None:
            return output
        output = output[..., self._columns]
        output /= output.sum(axis=-1, keepdims=True)
        return output


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return the classes of ONNX Runtime's errors, which have nothing but Exception in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state

    known = vars(onnxruntime_pybind11_state).values()
    return tuple(one for one in known if isinstance(one, type) and issubclass(one, Exception))


def import_openvino() -> Any:
    """Return the module `openvino`, which sends nothing: with its package for that, the import tells Intel of itself.

    Raises:
        OcrFailed: it is not installed.
    """
    # An import of None fails as one of a package that is not installed, and OpenVINO then takes a stub of its own.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise OcrFailed(f"engine rapidocr needs openvino to read on a CPU: `{INSTALL}`") from error
    return openvino


def _read(model: bytes) -> tuple[Any, Any]:
    """Return OpenVINO's core and the network's graph."""
    core = import_openvino().Core()
    return core, core.read_model(model)


def _from_bytes(graph: Any) -> Any:
    """Return the graph with the conversion from RGB bytes in it."""
    openvino = import_openvino()
    steps = openvino.preprocess.PrePostProcessor(graph)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().preprocess().reverse_channels().convert_element_type(openvino.Type.f32).mean(_MIDDLE).scale(_MIDDLE)
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _properties(threads: int) -> dict[str, Any]:
    return {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}


def _infer(request: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    request.infer([images])
    output: NDArray[np.float32] = request.get_output_tensor().data
    return output


def _named_characters(graph: Any) -> list[str]:
    information = graph.get_rt_info()
    if "framework" not in information or _CHARACTERS not in information["framework"]:
        return []
    named: str = information["framework"][_CHARACTERS].value
    return named.splitlines()


def _cut_columns(graph: Any, width: int, columns: Sequence[int]) -> None:
    """Keep some columns of the last layer: of its weights and of its bias, the only constants of this width."""
    opset13 = import_openvino().opset13
    for node in graph.get_ops():
        if node.get_type_name() == "Constant" and list(node.get_output_shape(0))[-1:] == [width]:
            cut = opset13.constant(np.ascontiguousarray(node.data[..., list(columns)]))
            node.output(0).replace(cut.output(0))
    graph.validate_nodes_and_infer_types()
