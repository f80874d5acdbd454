"""What was tried for the model on a CPU and not kept, beside the eager model and ours: one window, in one run.

`python -m benchmarks.alternatives [--funsd DIR --sroie DIR --docbank DIR] [--models graft:minilm] [--repeats 5]`

torch.compile of transformers' model (for this one length: other lengths compile again), torch's own dynamic int8,
ONNX Runtime in float32 and in dynamic int8. The longest window of the first pages (512 tokens where a page has so many)
is run by all in turn. "Made ready" is what compiling, exporting or quantizing took, and how long the first pass was.

The ONNX rows need packages that LayoutLoop does not have; without them they are left out. To have them for one run:
`pip install --target FOLDER onnx onnxruntime onnxscript`, then `PYTHONPATH=FOLDER python -m benchmarks.alternatives`.
torch.compile needs a C++ compiler; `--without compile` leaves its rows out.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.forward_sides import in_turns, padded_inputs
from benchmarks.speed_subjects import MODELS, WindowJob, add_page_options, given_pages, jobs_of
from benchmarks.timing import Clock, machine, spread
from handler.tagging.encoding import LENGTH_STEP, collate
from handler.tagging.layoutlm import LayoutLM, load

PAGES = 6
OPSET = 18
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
KINDS = ("compile", "int8", "onnx")
COLUMNS = ("model", "way", "windows/s", "times eager float32", "CPU s/window", "largest difference", "made ready s")

Run = Callable[[], NDArray[np.float32]]
"""One pass: (1, tokens, labels) logits."""


class Logits(torch.nn.Module):
    """A model that gives a tensor, as an exporter wants it."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Take a transformers model."""
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, bbox: Tensor, *pixels: Tensor) -> Tensor:
        """Return its logits."""
        image = {"pixel_values": pixels[0]} if pixels else {}
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, bbox=bbox, **image).logits
        return logits


def of_torch(model: Any, inputs: dict[str, Tensor]) -> Run:
    """Return a pass of a transformers model, compiled and quantized ones too."""

    def run() -> NDArray[np.float32]:
        # A compiled model keeps to no_grad: made in inference mode, it could be used nowhere else.
        with torch.no_grad():
            logits: NDArray[np.float32] = model(**inputs).logits.float().numpy()
        return logits

    return run


def of_ours(model: LayoutLM, job: WindowJob) -> Run:
    """Return a pass of our model, its batch made beforehand as for all others."""
    return partial(model.accelerated().logits, collate([job], model.pad_id, LENGTH_STEP))


def of_torch_int8(model: Any, inputs: dict[str, Tensor]) -> Run:
    """Return a pass with int8 weights in every product, the other numbers quantized as they come."""
    # The tables of relative positions are linear layers too, of which the model takes the weights.
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    products = {name for name in linear if "rel_pos" not in name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated in favour of torchao, another package
        quantized = torch.ao.quantization.quantize_dynamic(model, products, dtype=torch.qint8)
    return of_torch(quantized, inputs)


def export(model: Any, inputs: dict[str, Tensor], path: Path) -> None:
    """Write the model as ONNX, for inputs of just these shapes."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(model).eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )


def of_onnx(path: Path, inputs: dict[str, Tensor]) -> Run:
    """Return a pass of ONNX Runtime with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {name: tensor.numpy() for name, tensor in inputs.items()}
    feed = {one.name: given[one.name] for one in session.get_inputs()}  # what the graph does not use is gone
    return lambda: session.run(None, feed)[0]


def of_onnx_int8(model: Path, path: Path, inputs: dict[str, Tensor]) -> Run:
    """Return the same with int8 weights, the other numbers quantized as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it recommends preprocessing on the root logger
    quantize_dynamic(model, path, weight_type=QuantType.QInt8)
    return of_onnx(path, inputs)


def ways(
    models: dict[str, LayoutLM], job: WindowJob, folder: Path, without: list[str]
) -> Iterator[tuple[str, Callable[[], Run]]]:
    """Yield the name of each way and what makes it ready, eager float32 first.

    Args:
        models: by number type.
        job: the window.
        folder: for files of ONNX.
        without: kinds that are left out.
    """
    inputs = {dtype: padded_inputs(model, [job], None) for dtype, model in models.items()}
    first = inputs["float32"]
    for dtype, model in models.items():
        yield f"eager, {dtype}", partial(of_torch, model.model, inputs[dtype])
    for dtype, model in models.items():
        yield f"ours, {dtype}", partial(of_ours, model, job)
    if "compile" not in without:
        for dtype, model in models.items():
            compiled: Any = torch.compile(model.model, dynamic=False)
            yield f"torch.compile, {dtype}", partial(of_torch, compiled, inputs[dtype])
    model = models["float32"]
    if "int8" not in without:
        yield "torch, dynamic int8", partial(of_torch_int8, model.model, first)
    if "onnx" not in without:
        exported = folder / "model.onnx"

        def exported_run() -> Run:
            export(model.model, first, exported)
            return of_onnx(exported, first)

        yield "ONNX Runtime, float32", exported_run
        yield "ONNX Runtime, dynamic int8", partial(of_onnx_int8, exported, folder / "int8.onnx", first)


def rows(name: str, models: dict[str, LayoutLM], job: WindowJob, without: list[str], repeats: int) -> Iterator[str]:
    """Yield the rows of one model."""
    runs: dict[str, Run] = {}
    ready_s: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for way, make in ways(models, job, Path(folder), without):
            clock = Clock()
            runs[way] = make()
            runs[way]()
            ready_s[way] = clock.spent().wall_s
        spent = in_turns(list(runs.values()), repeats)
        # All have answers for the window's own tokens; what stands on padding differs.
        own = len(job[0].input_ids)
        answers = {way: run()[:, :own] for way, run in runs.items()}
    (reference, eager) = next(iter(answers.values())), spent[0]
    for (way, logits), each in zip(answers.items(), spent, strict=True):
        assert logits.shape == reference.shape, f"{way}: {logits.shape} instead of {reference.shape}"
        times = [one.wall_s / other.wall_s for one, other in zip(eager, each, strict=True)]
        rate = 1 / statistics.median(one.wall_s for one in each)
        cpu_s = statistics.median(one.cpu_s for one in each)
        apart = np.abs(logits - reference).max()
        cells = (name, way, f"{rate:.2f}", spread(times), f"{cpu_s:.3f}", f"{apart:.1e}", f"{ready_s[way]:.1f}")
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_page_options(parser)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["graft:minilm"])
    parser.add_argument("--without", nargs="+", choices=KINDS, default=[])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice (default)")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    print(machine())
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing and "onnx" not in given.without:
        given.without.append("onnx")
        print(f"without ONNX Runtime: {', '.join(missing)} not installed (--help says how)")
    pages = list(islice(given_pages(given.funsd, given.sroie, given.docbank), PAGES))
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in given.models:
        with tempfile.TemporaryDirectory() as folder:
            MODELS[name](Path(folder))
            models = {dtype: load(folder, "cpu", dtype) for dtype in ("float32", "bfloat16")}
        loaded = models["float32"]
        job = max(jobs_of(loaded, pages), key=lambda one: len(one[0].input_ids))
        tokens = len(job[0].input_ids)
        print("\n".join(rows(f"{name}, {tokens} tokens", models, job, given.without, given.repeats)), flush=True)


if __name__ == "__main__":
    main()
