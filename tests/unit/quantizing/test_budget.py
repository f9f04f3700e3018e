"""Budgets: read strictly, and searched with as few questions and kept blocks as it takes."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.calibration.budget import LEAST_INT8, Answers, Budget, Figures, Outcome, parse_budget, search
from edgedepth.calibration.frontier import draw_frontier
from edgedepth.core.errors import OptionError

GOOD = Figures(abs_rel=0.005, delta1=0.995, boundary_f1=0.98, fov_deg=0.2)


def additive(costs: dict[str, float]) -> Answers:
    """A model whose AbsRel is the sum of what its INT8 blocks cost."""

    def measure(kept: Sequence[str]) -> Figures:
        error = math.fsum(cost for block, cost in costs.items() if block not in kept)
        return Figures(abs_rel=error, delta1=1.0, boundary_f1=1.0, fov_deg=0.0)

    return Answers(None, measure)


def alike(costs: dict[str, float]) -> object:
    """All blocks are of the same size."""
    return lambda kept: (1 - len(kept) / len(costs), 1000 * len(kept))


def find(costs: dict[str, float], limit: float) -> Outcome:
    return search(list(costs), Budget(abs_rel=limit), additive(costs), alike(costs))  # type: ignore[arg-type]


class TestReading:
    def test_all_four(self) -> None:
        budget = parse_budget("absrel=0.01, delta1=0.99,boundary_f1=0.95,fov_deg=0.5")
        assert budget == Budget(abs_rel=0.01, delta1=0.99, boundary_f1=0.95, fov_deg=0.5)
        assert parse_budget(str(budget)) == budget

    @pytest.mark.parametrize(
        "text",
        ["", "absrel", "absrel=", "absrel=x", "absrel=nan", "absrel=-1", "delta1=1.5", "fov_deg=inf", "rmse=1",
         "absrel=0.1,absrel=0.2", "absrel=0.1;delta1=0.9", "absrel=0.1,"],
    )  # fmt: skip
    def test_what_means_nothing_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(OptionError, match="budget") as caught:
            parse_budget(text)
        assert "--budget absrel=0.01" in caught.value.remedy


class TestUse:
    @pytest.mark.parametrize(
        ("budget", "use"),
        [
            (Budget(abs_rel=0.01), 0.5),
            (Budget(delta1=0.99), 0.5),
            (Budget(boundary_f1=0.9), 0.2),
            (Budget(fov_deg=0.1), 2.0),
            (Budget(abs_rel=0.01, fov_deg=0.1), 2.0),
            (Budget(), 0.0),
            (Budget(abs_rel=0), math.inf),
        ],
    )
    def test_the_tightest_limit_counts(self, budget: Budget, use: float) -> None:
        assert budget.use(GOOD) == pytest.approx(use)
        assert budget.meets(GOOD) == (use <= 1)

    def test_what_is_not_a_number_never_meets_a_budget(self) -> None:
        edgeless = Figures(abs_rel=0, delta1=1, boundary_f1=math.nan, fov_deg=0)
        assert not Budget(boundary_f1=0.5).meets(edgeless)
        assert Budget(abs_rel=0.5).meets(edgeless)

    def test_nothing_lost_meets_the_strictest(self) -> None:
        assert Budget(abs_rel=0, delta1=1, boundary_f1=1, fov_deg=0).meets(
            Figures(abs_rel=0, delta1=1, boundary_f1=1, fov_deg=0)
        )

    @given(st.floats(1e-6, 0.9), st.floats(0.1, 0.999999), st.floats(1e-4, 50))
    def test_a_rounded_budget_is_no_narrower(self, abs_rel: float, delta1: float, fov_deg: float) -> None:
        figures = Figures(abs_rel=abs_rel, delta1=delta1, boundary_f1=1.0, fov_deg=fov_deg)
        rounded = Budget(abs_rel=abs_rel, delta1=delta1, fov_deg=fov_deg).rounded()
        assert rounded.use(figures) <= 1 + 1e-9


class TestSearch:
    def test_everything_in_int8_is_asked_first_and_taken(self) -> None:
        answers = additive({"a": 0.001, "b": 0.002})
        outcome = search(["a", "b"], Budget(abs_rel=0.01), answers, alike({"a": 0, "b": 0}))  # type: ignore[arg-type]
        assert outcome.best is not None
        assert outcome.best.kept == ()
        assert len(answers.known) == 1

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.floats(0.001, 1), min_size=2, max_size=7), st.floats(0.05, 0.95))
    def test_as_few_blocks_are_kept_as_possible(self, costs: list[float], part: float) -> None:
        """Against brute force: where costs add up, no mixture that meets the budget keeps fewer."""
        named = {f"block{i}": cost for i, cost in enumerate(costs)}
        limit = part * math.fsum(costs)
        answers = additive(named)
        fewest = min(
            len(kept)
            for size in range(len(named) + 1)
            for kept in itertools.combinations(named, size)
            if Budget(abs_rel=limit).meets(answers(kept))
        )
        outcome = find(named, limit)
        if 1 - fewest / len(named) >= LEAST_INT8:
            assert outcome.best is not None
            assert len(outcome.best.kept) == fewest
            assert outcome.best.figures.abs_rel <= limit
        else:
            assert outcome.best is None

    def test_the_costliest_are_ranked_first(self) -> None:
        outcome = find({"cheap": 0.1, "dear": 0.5, "middling": 0.2}, 0.4)
        assert [block for block, _ in outcome.ranking] == ["dear", "middling", "cheap"]
        assert outcome.best is not None
        assert outcome.best.kept == ("dear",)

    def test_a_budget_that_nothing_meets_tells_the_nearest_and_the_frontier(self) -> None:
        costs = dict.fromkeys("abcdefgh", 0.1)
        outcome = find(costs, 0.05)
        assert outcome.best is None
        # A quarter of the work has to be INT8: two of eight.
        assert (len(outcome.nearest.kept), outcome.nearest.figures.abs_rel) == (6, pytest.approx(0.2))
        shares = [mixture.int8_share for mixture in outcome.frontier]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] == 1
        assert len({mixture.kept for mixture in outcome.frontier}) == len(outcome.frontier)

    def test_an_interrupted_search_asks_nothing_twice(self, tmp_path: Path) -> None:
        costs = {name: 0.01 * (index + 1) for index, name in enumerate("abcdefgh")}
        asked: list[tuple[str, ...]] = []

        def measure(kept: Sequence[str]) -> Figures:
            if len(asked) == 6 and not resumed:
                raise KeyboardInterrupt
            asked.append(tuple(kept))
            error = math.fsum(cost for block, cost in costs.items() if block not in kept)
            return Figures(abs_rel=error, delta1=1.0, boundary_f1=math.nan, fov_deg=0.0)

        def go() -> Outcome:
            answers = Answers(tmp_path / "measured.json", measure)
            return search(list(costs), Budget(abs_rel=0.1), answers, alike(costs))  # type: ignore[arg-type]

        resumed = False
        with pytest.raises(KeyboardInterrupt):
            go()
        resumed = True
        outcome = go()
        assert len(asked) == len(set(asked))
        again = len(asked)
        assert go() == outcome or math.isnan(outcome.nearest.figures.boundary_f1)
        assert len(asked) == again

    def test_progress_never_passes_its_total(self) -> None:
        steps: list[tuple[int, int]] = []
        costs = dict.fromkeys("abcdefgh", 0.1)
        search(
            list(costs),
            Budget(abs_rel=0.05),
            additive(costs),
            alike(costs),  # type: ignore[arg-type]
            progress=lambda step, done, total: steps.append((done, total)),
        )
        assert all(done <= total for done, total in steps)
        assert steps[-1][0] == steps[-1][1]


def test_the_plot_is_well_formed_and_has_a_dot_a_mixture() -> None:
    costs = {"a": 0.1, "b": 0.3, "c": 0.2}
    outcome = find(costs, 0.35)
    assert outcome.best is not None
    root = ET.fromstring(draw_frontier(outcome.frontier, outcome.best, Budget(abs_rel=0.35)))
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == len(outcome.frontier)
    assert sum(circle.get("fill") != "none" for circle in circles) == 1
