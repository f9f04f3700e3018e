"""What usually makes a tensor wrong, told from its values; and the option that cures it. Pure functions.

Each cause is claimed on evidence of its own, and the evidence is told with it. Without any, none is claimed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgedepth.core.session import Array
from edgedepth.verify.blame import Feeds, InnerError, Tapped
from edgedepth.verify.depth_errors import compare_tensors

__all__ = [
    "Cause",
    "Displacement",
    "cause_inside",
    "cause_of_frozen",
    "cause_of_input",
    "cause_of_scale",
    "displacement",
]

FP16_MAX = 65504.0

_STEPS = 127  # of int8 on each side of zero
_CUT_OFF = 0.01  # of a tensor's values beyond its scale's range: percentile ranges leave less out
_COARSE = 16  # steps that a tensor's largest value has to have
_SAME = 1e-3  # pictures in -1..1 that are the same up to the last digits of resizing
_EXPLAINED = 0.5  # of a difference's variance that a displacement has to explain


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why something is wrong.

    Args:
        kind: a word for programs: "fp16 overflow".
        says: what was seen, in a sentence.
        cure: the command or option.
    """

    kind: str
    says: str
    cure: str


def cause_inside(
    bad: InnerError, candidate: Tapped, reference: Tapped, feeds: Feeds, *, precision: str
) -> Cause | None:
    """Why the first wrong tensor of a stage is wrong.

    Args:
        bad: that tensor.
        candidate: the graph that it is in.
        reference: the graph that is right.
        feeds: of the stage.
        precision: of the candidate.
    """
    return (
        _overflow(bad, precision)
        or _frozen(bad, candidate, reference)
        or _wrong_scale(bad, candidate, feeds)
        or _convention(bad, reference)
        or _swapped_in_graph(bad, candidate, reference, feeds)
        or _changed_weight(bad, candidate, reference)
        or _scaled(bad)
    )


def cause_of_frozen(tensor: str, what: str) -> Cause:
    """A value that doesn't depend on the input any more."""
    return Cause(
        kind="frozen constant",
        says=f"{tensor} is {what} in the bundle, and depends on the input in the reference: it was frozen at the value "
        "that it had when the model was traced",
        cure="export again with this version; if you traced the model yourself, compute the value from tensors and not "
        "from Python numbers",
    )


def cause_of_input(fed: Array, expected: Array) -> Cause | None:
    """Why what the program feeds its stages isn't what the reference sees.

    Args:
        fed: (C, H, W) float32, as the program made it of a picture.
        expected: likewise, as the reference made it.

    Returns:
        None where the two are the same.
    """
    difference = float(np.abs(fed - expected).max())
    if difference <= _SAME:
        return None
    if fed.shape[0] == 3 and float(np.abs(fed[::-1] - expected).max()) <= max(_SAME, difference / 10):
        return Cause(
            kind="swapped RGB",
            says="with red and blue exchanged the model's input is the reference's",
            cure="color='rgb' or color='bgr', whichever the frames really are; in your own program frame[..., ::-1]",
        )
    moved = displacement(fed, expected)
    if moved.explained > _EXPLAINED:
        return Cause(
            kind="resize convention",
            says=f"the model's input lies {moved.x_px:+.2f} pixels to the right and {moved.y_px:+.2f} down of the "
            f"reference's in the middle of the picture, and is stretched by {moved.stretch_x:+.2%} and "
            f"{moved.stretch_y:+.2%}: {moved.explained:.0%} of the difference is that",
            cure="resize with half-pixel centres: align_corners=False in torch, coordinate_transformation_mode "
            "half_pixel in ONNX; cv2.INTER_LINEAR has them",
        )
    return Cause(
        kind="pre-processing",
        says=f"the model's input is off by up to {difference:.3g} (it lies in -1..1)",
        cure="compare size, mean, std and the range of the pixels with the manifest's preprocess",
    )


def cause_of_scale(depth_scale: float, correlation: float, *, fov_scale: float) -> Cause | None:
    """Whether all that is wrong with metres is a constant factor, and where that comes from.

    Args:
        depth_scale: by least squares, candidate over reference.
        correlation: of the two; a factor explains everything only where it is near 1.
        fov_scale: the factor that the two fields of view give: tan(reference / 2) inverse to tan(candidate / 2).
    """
    if not (abs(depth_scale - 1) > 1e-3 and correlation > 0.999):
        return None
    from_view = abs(fov_scale - depth_scale) < 0.25 * abs(depth_scale - 1)
    where = (
        f"the field of view explains it (a factor of {fov_scale:.4f})"
        if from_view
        else f"the field of view doesn't explain it (a factor of {fov_scale:.4f}): the way from degrees to metres does"
    )
    return Cause(
        kind="focal path",
        says=f"depth is right but for a factor of {depth_scale:.4f} (correlation {correlation:.6f}); {where}",
        cure="look at the stage fov; or tell the focal length: infer(frame, focal_px=...)"
        if from_view
        else "canonical inverse depth is scaled by W / f_px with the original frame's width: look for another width, "
        "or a focal length of another size of the picture",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Displacement:
    """How one picture lies on another: pixels in the middle, and stretch from there; the part that it explains."""

    x_px: float
    y_px: float
    stretch_x: float
    stretch_y: float
    explained: float


def displacement(moved: Array, expected: Array) -> Displacement:
    """The shift and stretch, by axis, that best explain the difference of two pictures that are nearly the same.

    First order in the displacement (Lucas and Kanade 1981), for the picture as a whole.

    Args:
        moved: (C, H, W).
        expected: (C, H, W).
    """
    _, height, width = expected.shape
    down, right = np.gradient(expected.astype(np.float64), axis=(1, 2))
    x = (np.arange(width) - (width - 1) / 2)[None, None]
    y = (np.arange(height) - (height - 1) / 2)[None, :, None]
    # What is d to the right at a place was further left in the picture that it came from.
    columns = np.stack([-right, -right * x, -down, -down * y]).reshape(4, -1)
    difference = (moved.astype(np.float64) - expected).reshape(-1)
    found, *_ = np.linalg.lstsq(columns @ columns.T, columns @ difference, rcond=None)
    left = difference - found @ columns
    total = float(difference @ difference)
    return Displacement(
        x_px=float(found[0]),
        y_px=float(found[2]),
        stretch_x=float(found[1]),
        stretch_y=float(found[3]),
        explained=1 - float(left @ left) / total if total > 0 else 0.0,
    )


def _overflow(bad: InnerError, precision: str) -> Cause | None:
    if bad.error.nan + bad.error.inf == 0:
        return None
    counted = f"{bad.error.inf} infinite and {bad.error.nan} NaN values"
    if precision == "fp16" and bad.largest > FP16_MAX / 2:
        return Cause(
            kind="fp16 overflow",
            says=f"{bad.tensor} reaches {bad.largest:.4g} in the reference, and fp16 ends at {FP16_MAX:.0f}: {counted}",
            cure="export with --fp32, or with --target openvino --bf16, which has fp32's range",
        )
    return Cause(
        kind="not finite",
        says=f"{bad.tensor} has {counted}; the reference's largest value there is {bad.largest:.4g}",
        cure="export with --fp32; if it is fp32 already, the weights or a kernel of this runtime are broken",
    )


def _wrong_scale(bad: InnerError, candidate: Tapped, feeds: Feeds) -> Cause | None:
    """A Q/DQ pair in the block whose scale doesn't fit what passes through it."""
    quantizers = [node for node in candidate.nodes if node.op == "QuantizeLinear" and node.block == bad.node.block]
    before = bad.node.inputs[0]
    quantizers += [
        node
        for node in candidate.nodes
        if node.op == "QuantizeLinear" and node not in quantizers and before.startswith(node.inputs[0])
    ]
    for node in quantizers:
        name, scale_name = node.inputs[:2]
        if name in candidate.constants or scale_name not in candidate.constants:
            continue
        scale = float(np.max(candidate.constant(scale_name)))
        (_, values), *_ = candidate.values(feeds, [name])
        size = np.abs(values.astype(np.float64))
        cut, largest = float((size > (_STEPS + 1) * scale).mean()), float(size.max())
        told = f"the scale of {name} covers ±{scale * _STEPS:.3g}, and its values reach ±{largest:.3g}"
        if cut > _CUT_OFF:
            told += f": {cut:.1%} of them are cut off"
        elif largest < _COARSE * scale:
            told += f": they have {largest / scale:.1f} of {_STEPS} steps"
        else:
            continue
        return Cause(
            kind="Q/DQ scale",
            says=told,
            cure="calibrate again on pictures like those that it will see: edgedepth calibrate SOURCE --out SET, then "
            "edgedepth export --int8 --calib SET; or keep the block in high precision with --budget",
        )
    return None


def _convention(bad: InnerError, reference: Tapped) -> Cause | None:
    """The same operation with other attributes: above all a Resize."""
    same = next((node for node in reference.nodes if node.outputs[0] == bad.tensor), None)
    if same is None:
        return None
    for name in dict.fromkeys([*same.attributes, *bad.node.attributes]):
        mine, theirs = bad.node.attributes.get(name), same.attributes.get(name)
        if mine != theirs:
            resize = bad.node.op in ("Resize", "GridSample")
            return Cause(
                kind="resize convention" if resize else "another operation",
                says=f"{bad.node.op} {bad.node.name} has {name} {mine}; the reference's has {theirs}",
                cure="export again with this version; half_pixel is the convention of align_corners=False",
            )
    return None


def _swapped_in_graph(bad: InnerError, candidate: Tapped, reference: Tapped, feeds: Feeds) -> Cause | None:
    """Whether the tensor is right once the picture's red and blue are exchanged."""
    pictures = [name for name, array in feeds.items() if array.ndim == 4 and array.shape[1] == 3]
    if not pictures:
        return None
    swapped = {
        name: np.ascontiguousarray(array[:, ::-1]) if name in pictures else array for name, array in feeds.items()
    }
    (_, actual), *_ = candidate.values(swapped, [bad.tensor])
    (_, expected), *_ = reference.values(feeds, [bad.tensor])
    error = compare_tensors(actual.astype(np.float32), expected.astype(np.float32))
    if not error.mean_rel < 0.1 * bad.error.mean_rel:
        return None
    return Cause(
        kind="swapped RGB",
        says=f"{bad.tensor} is the reference's once red and blue of {pictures[0]} are exchanged: the graph takes BGR",
        cure="export again with this version; a graph of your own: exchange the first convolution's input channels",
    )


def _frozen(bad: InnerError, candidate: Tapped, reference: Tapped) -> Cause | None:
    """A constant in the block, up to the wrong tensor, where the reference has something that it computes."""
    same = {node.outputs[0]: node for node in reference.nodes}
    computed = _depends_on_inputs(reference)
    for node in candidate.nodes:
        if node.block == bad.node.block and node.outputs[0] in same:
            for mine, theirs in zip(node.inputs, same[node.outputs[0]].inputs, strict=False):
                if mine in candidate.constants and theirs in computed:
                    return cause_of_frozen(theirs, f"the constant {mine}" if mine != theirs else "a constant")
        if node is bad.node:
            break
    return None


def _depends_on_inputs(graph: Tapped) -> set[str]:
    known = set(graph.constants)
    reached: set[str] = set()
    for node in graph.nodes:
        # What is neither a constant nor made of constants alone comes from an input.
        if any(name and (name in reached or name not in known) for name in node.inputs):
            reached |= set(node.outputs)
        else:
            known |= set(node.outputs)
    return reached


def _changed_weight(bad: InnerError, candidate: Tapped, reference: Tapped) -> Cause | None:
    same = next((node for node in reference.nodes if node.outputs[0] == bad.tensor), None)
    if same is None:
        return None
    for mine, theirs in zip(bad.node.inputs, same.inputs, strict=False):
        if mine not in candidate.constants or theirs not in reference.constants:
            continue
        actual, expected = candidate.constant(mine), reference.constant(theirs)
        if actual.shape != expected.shape or not np.issubdtype(expected.dtype, np.floating) or not expected.size:
            continue
        error = compare_tensors(actual.astype(np.float32), expected.astype(np.float32))
        if not error.mean_rel <= 1e-2:
            return Cause(
                kind="changed weight",
                says=f"the weight {_told_name(theirs, bad)} of {bad.node.op} {bad.node.name} is off by "
                f"{error.mean_rel:.3g} of its mean size",
                cure="export again from the checkpoint that was meant: edgedepth export --weights PATH",
            )
    return None


def _told_name(weight: str, bad: InnerError) -> str:
    return weight if "." in weight else f"{weight} (in {bad.node.block})"


def _scaled(bad: InnerError) -> Cause | None:
    if math.isfinite(bad.factor) and abs(bad.factor - 1) > 0.01 and bad.error.cosine > 0.999:
        return Cause(
            kind="constant factor",
            says=f"{bad.tensor} is {bad.factor:.4g} times the reference's, and right otherwise",
            cure="look for a scale that is applied twice, or never: of a weight, a LayerScale, a Q/DQ pair",
        )
    return None
