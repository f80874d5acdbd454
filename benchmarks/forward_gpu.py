"""`forward_speed --device cuda`: the model alone on a GPU, beside what the GPU multiplies in that run.

Every batch lies on the GPU before the clock starts, and answers stay there: the copies, and the making of batches, are
in the pages per second of the whole Tagger, printed last next to what the well-known notebook published (14.65, on
another GPU, in float32, two pages a batch). The clock waits for the GPU (torch.cuda.synchronize) on both sides.

Matrix products are counted by hand (`products`), two operations for a multiplication with its addition: those of
`FastLayoutLM`, whose last layer computes only what the head reads. Without padding: what the pages' own tokens need;
with it: what the GPU is given. Softmax, norms, GELU and look-ups count as nothing, though they take time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from transformers import LayoutLMv3Config

from benchmarks.forward_sides import NOTEBOOK_LENGTH, Answers, Side, check, eager_name, in_turns, padded_inputs, rows_of
from benchmarks.speed_subjects import MODELS, WindowJob, given_pages, jobs_of
from benchmarks.timing import Spent, machine, spread, timed
from handler.errors import HandlerError
from handler.page import Page
from handler.tagging.encoding import LENGTH_STEP
from handler.tagging.layoutlm import LayoutLM, load
from handler.tagging.tagger import Tagger, TaggerSettings

DEVICE = "cuda"
NOTEBOOK_PAGES_S = 14.65
GOAL_SHARE = 0.4
TOLERANCE = 1e-3
"""Of a float32 logit: a GPU's kernels sum in another order for each padding. The goal is that of the CPU, 1e-4."""
PRODUCT_SIZE = 8192
PRODUCTS = 20
"""In a row for one measurement of the product: some 30 ms on a large GPU."""
PASSES_S = 0.2
"""Forward passes are repeated until so many seconds are over, so that a batch of one is measured too."""
COLUMNS = ("model", "windows", "side", "windows/s", "x eager float32", "x eager, same type", "CPU s/window")


@dataclass(frozen=True, slots=True)
class Placed:
    """One way to run a batch that lies on the device.

    Args:
        side: what the table says of it.
        forward: one pass; (windows, tokens, labels), left on the device.
    """

    side: Side
    forward: Callable[[], Tensor]


def matmul_rate(device: str, size: int, repeats: int) -> list[float]:
    """Return the rate of a square bfloat16 product in TFLOP/s, each the mean of a few products in a row."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)

    def some() -> None:
        for _ in range(PRODUCTS):
            torch.mm(left, right, out=out)
        synchronize(device)

    some()  # the library chooses its kernel
    return [2 * size**3 * PRODUCTS / timed(some).wall_s / 1e12 for _ in range(repeats)]


def synchronize(device: str) -> None:
    """Wait until the device has done what it was given; a CPU has."""
    if device != "cpu":
        torch.cuda.synchronize()


def products(config: LayoutLMv3Config, tokens: int) -> int:
    """Return the floating-point operations of `FastLayoutLM`'s matrix products for one window of so many text tokens.

    The products of weights, queries with keys, attention with values, and of the image's patches.
    """
    width, inner, labels = config.hidden_size, config.intermediate_size, int(config.num_labels or 0)
    patch = config.patch_size
    assert isinstance(patch, int), f"patches are squares in every published LayoutLMv3, got {patch}"
    in_a_row = config.input_size // patch if config.visual_embed else 0
    rows = tokens + (in_a_row**2 + 1 if in_a_row else 0)

    def layer(answers: int) -> int:
        attention = 2 * rows * answers * width
        return rows * width * 3 * width + attention + answers * width * width + 2 * answers * width * inner

    image = in_a_row**2 * config.num_channels * patch**2 * width
    head = tokens * width * (labels if labels < 10 else width + labels)
    return 2 * (image + (config.num_hidden_layers - 1) * layer(rows) + layer(tokens) + head)


def placed_sides(models: dict[str, LayoutLM], jobs: Sequence[WindowJob]) -> Iterator[Placed]:
    """Yield all ways to run one batch: Hugging Face's model at both paddings, and ours."""
    for dtype, model in models.items():
        for length in (NOTEBOOK_LENGTH, None):
            inputs = padded_inputs(model, jobs, length)
            yield _placed(eager_name(dtype, length), dtype, False, model, inputs, jobs)
        inputs = padded_inputs(model, jobs, LENGTH_STEP)
        yield _placed(f"ours, {dtype}", dtype, True, model.accelerated(), inputs, jobs)


def _placed(
    name: str, dtype: str, ours: bool, model: LayoutLM, inputs: dict[str, Tensor], jobs: Sequence[WindowJob]
) -> Placed:
    def forward() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = model.model(**inputs).logits
        return logits

    def run(_: Sequence[WindowJob]) -> Answers:
        logits = forward().float().cpu().numpy()
        return [row[window.positions] for row, (window, _) in zip(logits, jobs, strict=True)]

    return Placed(Side(name, dtype, ours, run), forward)


def measure(device: str, placed: Sequence[Placed], repeats: int) -> list[list[Spent]]:
    """Run all sides in turn, each for a while; return what one pass took, turn by turn."""

    def several(forward: Callable[[], Tensor], passes: int) -> None:
        for _ in range(passes):
            forward()
        synchronize(device)

    for _ in range(2):  # the libraries choose their kernels, memory is taken
        once = [timed(partial(several, one.forward, 1)).wall_s for one in placed]
    passes = [max(1, round(PASSES_S / seconds)) for seconds in once]
    spent = in_turns([partial(several, one.forward, count) for one, count in zip(placed, passes, strict=True)], repeats)
    return [
        [Spent(one.wall_s / count, one.cpu_s / count) for one in each]
        for each, count in zip(spent, passes, strict=True)
    ]


def share_of_peak(config: LayoutLMv3Config, jobs: Sequence[WindowJob], walls: Sequence[float], peak: float) -> str:
    """Return at which rate our forward passes of a batch multiply, and that as a share of the large product's rate."""
    lengths = [len(window.input_ids) for window, _ in jobs]
    longest = max(lengths) + -max(lengths) % LENGTH_STEP
    needed = sum(products(config, length) for length in lengths)
    given = len(jobs) * products(config, longest)
    rates = [[work / wall / 1e12 for wall in walls] for work in (needed, given)]
    shares = [statistics.median(rate) / peak for rate in rates]
    return (
        f"{spread(rates[0], 1)} TFLOP/s without padding, {spread(rates[1], 1)} with it: {shares[0]:.1%} and "
        f"{shares[1]:.1%} of the large product's (goal {GOAL_SHARE:.0%})"
    )


def tagger_pages_s(device: str, folder: Path, dtype: str, pages: Sequence[Page], windows: int, repeats: int) -> str:
    """Return how many pages a second the whole Tagger labels: tokens, batches, copies, forward pass, regions."""
    tagger = Tagger.load(folder, TaggerSettings(device=device, dtype=dtype, batch_windows=windows))
    failed = [answer for answer in tagger.tag(pages) if isinstance(answer, HandlerError)]
    assert not failed, failed[0]
    rates = [len(pages) / timed(lambda: tagger.tag(pages)).wall_s for _ in range(repeats)]
    return spread(rates, 1)


def on_the_gpu(args: argparse.Namespace, device: str = DEVICE, size: int = PRODUCT_SIZE) -> None:
    """Print the table, how far the answers are apart, rates of products and pages per second.

    Args:
        args: of `forward_speed`.
        device: `cpu` to try this without a GPU.
        size: of the large product.
    """
    torch.backends.cudnn.allow_tf32 = False  # float32 is meant where it is said; matrix products keep to it anyway
    most = max(args.batches)
    pages = list(islice(given_pages(args.funsd, args.sroie, args.docbank), most))  # each has a window at least
    print(machine())
    peaks = matmul_rate(device, size, args.repeats)
    peak = statistics.median(peaks)
    print(f"A product of {size} x {size} x {size} in bfloat16: {spread(peaks, 1)} TFLOP/s\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    notes: list[str] = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            MODELS[name](Path(folder))
            models = {dtype: load(folder, device, dtype) for dtype in args.dtypes}
            notes += _one_model(device, name, models, pages, args, peak)
            del models  # the Tagger has the GPU to itself
            dtype = args.dtypes[-1]
            rate = tagger_pages_s(device, Path(folder), dtype, pages, most, args.repeats)
            notes.append(f"{name}, {len(pages)} pages, the whole Tagger in {dtype}, batches of {most}: {rate} pages/s")
    print(f"\nThe notebook published {NOTEBOOK_PAGES_S} pages/s. Differences are those of logits from eager float32.")
    print(*notes, sep="\n")


def _one_model(
    device: str,
    name: str,
    models: dict[str, LayoutLM],
    pages: Sequence[Page],
    args: argparse.Namespace,
    peak: float,
) -> Iterator[str]:
    """Print one model's rows; yield what is to be said below the table."""
    loaded = models["float32"]
    config: LayoutLMv3Config = loaded.model.config
    jobs = jobs_of(loaded, pages)
    for windows in args.batches:
        assert len(jobs) >= windows, f"{len(pages)} pages have {len(jobs)} windows, fewer than a batch of {windows}"
        placed = list(placed_sides(models, jobs[:windows]))
        sides = [one.side for one in placed]
        spent = measure(device, placed, args.repeats)
        print("\n".join(rows_of(sides, spent, windows, (name, windows), windows)), flush=True)
        yield f"{name}, {windows} windows: {check(sides, [side.run(jobs) for side in sides], TOLERANCE)}"
        for side, each in zip(sides, spent, strict=True):
            if side.ours and side.dtype == "bfloat16":
                walls = [one.wall_s for one in each]
                yield f"{name}, {windows} windows, {side.name}: {share_of_peak(config, jobs[:windows], walls, peak)}"
