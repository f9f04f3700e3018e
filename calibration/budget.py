"""An accuracy budget, and the search for the fewest blocks that have to stay in high precision to meet it.

Pure: what a mixture of precisions costs is asked of a function. Every answer is kept, so nothing is asked twice, and
an interrupted search goes on where it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from edgedepth.core.errors import OptionError
from edgedepth.core.files import write_file
from edgedepth.core.progress import Progress, silent

__all__ = ["LEAST_INT8", "Answers", "Budget", "Figures", "Mixture", "Outcome", "Weigher", "parse_budget", "search"]

LEAST_INT8 = 0.25
"""Of the layers' multiplications: with less of it in INT8 a bundle is hardly smaller or faster, and isn't called so."""

_EXAMPLE = "--budget absrel=0.01,delta1=0.99,boundary_f1=0.95,fov_deg=0.5"
_NAMES = {"absrel": "abs_rel", "delta1": "delta1", "boundary_f1": "boundary_f1", "fov_deg": "fov_deg"}
_DROPS = 8  # blocks that are tried in INT8 again after the bisection, the cheapest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A mixture against the fp32 reference on the held-back frames.

    Args:
        abs_rel: mean over the frames of the mean of |d - r| / r.
        delta1: mean over the frames of the fraction of pixels with max(d / r, r / d) < 1.25.
        boundary_f1: mean over the frames of the boundary F1 against the reference's own edges, over what the
            reference scores against itself. NaN where no frame has an edge.
        fov_deg: largest difference of the field of view over the frames, in degrees.
    """

    abs_rel: float
    delta1: float
    boundary_f1: float
    fov_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be lost; None: anything. abs_rel and fov_deg are upper limits, delta1 and boundary_f1 lower ones."""

    abs_rel: float | None = None
    delta1: float | None = None
    boundary_f1: float | None = None
    fov_deg: float | None = None

    def use(self, figures: Figures) -> float:
        """How much of the budget is used, by the limit that is nearest or farthest exceeded: 1 is all of it."""
        used = [0.0]
        for name, limit in self._limits().items():
            value = getattr(figures, name)
            lost, allowed = (1 - value, 1 - limit) if name in ("delta1", "boundary_f1") else (value, limit)
            if not math.isfinite(lost):
                return math.inf
            used.append(lost / allowed if allowed > 0 else (math.inf if lost > 0 else 0.0))
        return max(used)

    def meets(self, figures: Figures) -> bool:
        """Whether every limit is kept."""
        return self.use(figures) <= 1

    def __str__(self) -> str:
        limits = self._limits()
        return ",".join(f"{short}={limits[name]:g}" for short, name in _NAMES.items() if name in limits)

    def rounded(self) -> Budget:
        """A budget of two digits that is no narrower."""
        looser = {name: _rounded_up(value) for name, value in self._limits().items() if name in ("abs_rel", "fov_deg")}
        looser |= {name: 1 - _rounded_up(1 - value) for name, value in self._limits().items() if name not in looser}
        return Budget(**looser)

    def _limits(self) -> dict[str, float]:
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}


def parse_budget(text: str) -> Budget:
    """A budget from "absrel=0.01,delta1=0.99".

    Raises:
        OptionError: it can't be understood, or a limit makes no sense.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in _NAMES or not equals:
            raise OptionError(
                f"the budget {text!r} has {part.strip()!r}; allowed are {', '.join(f'{one}=NUMBER' for one in _NAMES)}",
                remedy=_EXAMPLE,
            )
        if _NAMES[name] in limits:
            raise OptionError(f"the budget {text!r} names {name} twice", remedy=_EXAMPLE)
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        highest = math.inf if name == "fov_deg" else 1.0
        if not (0 <= value <= highest and math.isfinite(value)):
            allowed = "a number of degrees, 0 or more" if name == "fov_deg" else "a number from 0 to 1"
            raise OptionError(f"the budget's {name} is {number!r}; allowed is {allowed}", remedy=_EXAMPLE)
        limits[_NAMES[name]] = value
    return Budget(**limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Which blocks stay in high precision, and what that gives.

    Args:
        kept: names of the blocks, sorted.
        figures: against the reference.
        int8_share: of the layers' multiplications of a frame, 0 to 1.
        size: bytes of the weights.
    """

    kept: tuple[str, ...]
    figures: Figures
    int8_share: float
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a search found.

    Args:
        best: the mixture that meets the budget with the fewest blocks kept; None: none does.
        nearest: of the mixtures that are INT8 enough, the one that uses the least of the budget.
        ranking: each block with the share of the budget that it uses alone, the costliest first.
        frontier: every mixture that was measured, the most INT8 first.
    """

    best: Mixture | None
    nearest: Mixture
    ranking: tuple[tuple[str, float], ...]
    frontier: tuple[Mixture, ...]


Weigher = Callable[[Sequence[str]], tuple[float, int]]
"""The INT8 share and the size in bytes of a mixture, from the names of the kept blocks."""


class Answers:
    """What was measured, in a file.

    Args:
        path: the file; None keeps them in memory.
        measure: the figures of a mixture, from the names of the kept blocks.
    """

    def __init__(self, path: Path | None, measure: Callable[[Sequence[str]], Figures]) -> None:
        self._path = path
        self._measure = measure
        self.known: dict[tuple[str, ...], Figures] = {}
        if path is not None and path.is_file():
            for entry in json.loads(path.read_text(encoding="utf-8")):
                self.known[tuple(entry["kept"])] = Figures(**entry["figures"])

    def __call__(self, kept: Sequence[str]) -> Figures:
        """The figures of a mixture, measured once."""
        key = tuple(sorted(kept))
        if key not in self.known:
            self.known[key] = self._measure(key)
            if self._path is not None:
                entries = [{"kept": list(k), "figures": asdict(f)} for k, f in self.known.items()]
                write_file(self._path, json.dumps(entries, indent=1).encode())
        return self.known[key]


def search(
    blocks: Sequence[str], budget: Budget, answers: Answers, weigh: Weigher, *, progress: Progress = silent
) -> Outcome:
    """Keep as few blocks as possible in high precision.

    All INT8 is measured first; if that meets the budget, it is taken. Else each block is measured alone in INT8, which
    ranks them; a bisection over the ranking finds how many of the costliest have to be kept, and last the cheapest of
    those are tried in INT8 again, one after the other.

    Args:
        blocks: names of all that could be INT8.
        budget: what may be lost.
        answers: measures mixtures.
        weigh: share and size of a mixture.
        progress: told of each measurement.
    """
    steps = 1 + len(blocks) + max(1, math.ceil(math.log2(len(blocks) + 1))) + _DROPS
    tried: list[Mixture] = []

    def measured(kept: Sequence[str], what: str) -> Mixture:
        progress(what, len(tried), steps)
        share, size = weigh(kept)
        tried.append(Mixture(kept=tuple(sorted(kept)), figures=answers(kept), int8_share=share, size=size))
        return tried[-1]

    ranking: list[tuple[str, float]] = []
    best = measured((), "everything in INT8")
    if not budget.meets(best.figures):
        alone = {
            block: measured([other for other in blocks if other != block], f"{block} alone in INT8") for block in blocks
        }
        ranking = sorted(
            ((block, budget.use(mixture.figures)) for block, mixture in alone.items()),
            key=lambda row: (-row[1], row[0]),
        )
        best = _bisect([block for block, _ in ranking], budget, measured)
        best = _drop(best, [block for block, _ in ranking], budget, measured)
        if best.int8_share < LEAST_INT8:
            best = measured(_most_kept(ranking, weigh), "as many blocks kept as may be")
    progress("searched", steps, steps)
    enough = [mixture for mixture in tried if mixture.int8_share >= LEAST_INT8] or tried[:1]
    return Outcome(
        best=best if budget.meets(best.figures) and best.int8_share >= LEAST_INT8 else None,
        nearest=min(enough, key=lambda mixture: (budget.use(mixture.figures), -mixture.int8_share)),
        ranking=tuple(ranking),
        frontier=tuple(sorted(_unique(tried), key=lambda mixture: (-mixture.int8_share, mixture.kept))),
    )


def _bisect(ranked: Sequence[str], budget: Budget, measured: Callable[[Sequence[str], str], Mixture]) -> Mixture:
    """The fewest of the costliest blocks that, kept, meet the budget; all of them if no fewer do."""
    low, high = 0, len(ranked)  # `low` kept is too few; `high` is enough, or all there are
    found: Mixture | None = None
    while high - low > 1:
        middle = (low + high) // 2
        mixture = measured(ranked[:middle], f"the {middle} costliest blocks kept")
        if budget.meets(mixture.figures):
            high, found = middle, mixture
        else:
            low = middle
    return found if found is not None else measured(ranked, "every block kept")


def _drop(
    best: Mixture, ranked: Sequence[str], budget: Budget, measured: Callable[[Sequence[str], str], Mixture]
) -> Mixture:
    """Try the kept blocks in INT8 again, the cheapest first."""
    for block in [name for name in reversed(ranked) if name in best.kept][:_DROPS]:
        mixture = measured([name for name in best.kept if name != block], f"{block} in INT8 after all")
        if budget.meets(mixture.figures):
            best = mixture
    return best


def _rounded_up(value: float) -> float:
    """The next number of two digits."""
    if value <= 0 or not math.isfinite(value):
        return value
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step) * step:.6g}")


def _most_kept(ranking: Sequence[tuple[str, float]], weigh: Weigher) -> list[str]:
    """The costliest blocks, as far as what is left is INT8 enough."""
    kept: list[str] = []
    for block, _ in ranking:
        if weigh([*kept, block])[0] >= LEAST_INT8:
            kept.append(block)
    return kept


def _unique(mixtures: Sequence[Mixture]) -> list[Mixture]:
    return list({mixture.kept: mixture for mixture in mixtures}.values())
