"""The loop that all phases share, on a model of one weight whose optimum is known."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import current_thread, main_thread

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgedepth.core.errors import TrainingError
from edgedepth.training.run_folder import RunFolder
from edgedepth.training.training_loop import Pace, PhaseSettings, TrainedGroup, parameter_groups, run_phase

CPU = torch.device("cpu")
PHASE = PhaseSettings(name="line", steps=60, batch=16, peak_lr=0.1, weight_decay=0.0, seed=5)


class Numbers:
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def to(self, device: torch.device) -> "Numbers":
        return Numbers(self.x.to(device))


class Line:
    """y = 3x, learnt; a second weight stands still."""

    def __init__(self) -> None:
        self.module = nn.ParameterDict({"slope": torch.zeros(1), "frozen": torch.full((1,), 7.0)})
        self.drawn: list[float] = []

    def trained(self) -> list[TrainedGroup]:
        return [TrainedGroup(parameters=[self.module["slope"]])]

    def draw(self, random: np.random.Generator, count: int) -> Numbers:
        return Numbers(torch.from_numpy(random.normal(size=count).astype(np.float32)))

    def loss(self, batch: Numbers) -> Mapping[str, Tensor]:
        self.drawn.append(float(batch.x[0]))
        error = (self.module["slope"] - 3.0) * batch.x
        return {"square": error.square().mean()}

    def validate(self) -> Mapping[str, float]:
        return {"val_slope": float(self.module["slope"].detach())}


def folder(path: Path) -> RunFolder:
    return RunFolder(path, {"test": 1})


def test_it_learns_and_leaves_averaged_weights(tmp_path: Path) -> None:
    task, run = Line(), folder(tmp_path / "run")
    assert run_phase(task, PHASE, run, device=CPU, pace=Pace(log_every=10, checkpoint_every=30))
    learnt = run.load_weights("line")
    assert abs(float(task.module["slope"].detach()) - 3.0) < 0.1  # where Adam is after 60 steps of at most 0.1
    assert abs(float(learnt["slope"]) - 3.0) < 0.3  # the average trails
    assert float(learnt["slope"]) != float(task.module["slope"].detach())
    assert float(learnt["frozen"]) == 7.0
    steps = [p.step for p in run.curves if p.name == "square"]
    assert steps == [10, 20, 30, 40, 50, 60]
    assert [p.step for p in run.curves if p.name == "val_slope"] == [30, 60]
    losses = [p.value for p in run.curves if p.name == "loss"]
    assert losses[-1] < losses[0] / 20


def test_a_stopped_run_ends_where_an_unstopped_one_does(tmp_path: Path) -> None:
    whole, parts = folder(tmp_path / "whole"), folder(tmp_path / "parts")
    one = Line()
    run_phase(one, PHASE, whole, device=CPU)
    seen: list[float] = []
    for _ in range(3):
        task = Line()  # a new process has nothing but the folder
        done = run_phase(task, PHASE, folder(tmp_path / "parts"), device=CPU, stop_after=23)
        seen += task.drawn
    assert done
    assert seen == one.drawn
    assert torch.equal(parts.load_weights("line")["slope"], whole.load_weights("line")["slope"])


def test_threads_that_draw_ahead_change_nothing(tmp_path: Path) -> None:
    tasks = {drawers: Line() for drawers in (0, 1, 4)}
    for drawers, task in tasks.items():
        run_phase(task, PHASE, folder(tmp_path / str(drawers)), device=CPU, pace=Pace(drawers=drawers))
    for drawers in (0, 4):
        assert tasks[drawers].drawn == tasks[1].drawn
        assert torch.equal(tasks[drawers].module["slope"], tasks[1].module["slope"])


def test_without_threads_a_batch_is_drawn_when_it_is_wanted(tmp_path: Path) -> None:
    """Scenes that were rendered meanwhile are among those that the next step draws from."""
    events: list[str] = []

    class Told(Line):
        def draw(self, random: np.random.Generator, count: int) -> Numbers:
            assert current_thread() is main_thread()
            events.append("draw")
            return super().draw(random, count)

        def loss(self, batch: Numbers) -> Mapping[str, Tensor]:
            events.append("learn")
            return super().loss(batch)

    run_phase(Told(), PHASE, folder(tmp_path / "run"), device=CPU, pace=Pace(drawers=0), stop_after=5)
    assert events == ["draw", "learn"] * 5


class Plane(Line):
    """y = W x + b: a matrix, which Muon trains, and a bias, which AdamW does."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.module = nn.ParameterDict({"w": torch.randn(3, 4, generator=random), "b": torch.zeros(3)})

    def trained(self) -> list[TrainedGroup]:
        return parameter_groups(self.module.parameters())

    def loss(self, batch: Numbers) -> Mapping[str, Tensor]:
        x = batch.x.reshape(-1, 4)
        error = x @ self.module["w"].T + self.module["b"] - x[:, :3] - 1.0
        return {"square": error.square().mean()}

    def validate(self) -> Mapping[str, float]:
        return {}


def as_a_gpu_keeps_it(checkpoint: Path) -> None:
    """Rates are tensors there, and AdamW's steps can be recorded."""
    state = torch.load(checkpoint, weights_only=True)
    for optimizer in state["optimizers"]:
        for group in optimizer["param_groups"]:
            group["lr"] = torch.tensor(group["lr"])
            if "capturable" in group:
                group["capturable"] = True
    torch.save(state, checkpoint)


def as_torch_s_muon_keeps_it(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    muon = torch.optim.Muon([nn.Parameter(torch.zeros(3, 4))], lr=1.0)
    for group in state["optimizers"][1]["param_groups"]:
        group |= {**muon.param_groups[0], "params": group["params"]}
    torch.save(state, checkpoint)


@pytest.mark.parametrize("keep", [as_a_gpu_keeps_it, as_torch_s_muon_keeps_it])
def test_a_run_that_began_elsewhere_goes_on_here(tmp_path: Path, keep: Callable[[Path], None]) -> None:
    """What was learnt is taken from the checkpoint; how it goes on is this machine's."""
    one, other = Plane(), Plane()
    assert run_phase(one, PHASE, folder(tmp_path / "whole"), device=CPU)
    assert not run_phase(Plane(), PHASE, folder(tmp_path / "parts"), device=CPU, stop_after=30)
    keep(tmp_path / "parts" / "checkpoint.pt")
    assert not run_phase(other, PHASE, folder(tmp_path / "parts"), device=CPU, stop_after=20)
    state = folder(tmp_path / "parts").load_checkpoint("line")
    assert state is not None
    groups = [group for optimizer in state["optimizers"] for group in optimizer["param_groups"]]
    assert [type(group["lr"]) for group in groups] == [float, float]
    assert not any(group.get("capturable") for group in groups)
    assert run_phase(other, PHASE, folder(tmp_path / "parts"), device=CPU)
    for name in ("w", "b"):
        assert torch.equal(one.module[name], other.module[name])


def test_the_schedule_rises_then_falls() -> None:
    rates = [PHASE.learning_rate(step) for step in range(PHASE.steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(PHASE.peak_lr)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.05 * PHASE.peak_lr


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    class Breaks(Line):
        def loss(self, batch: Numbers) -> Mapping[str, Tensor]:
            terms = super().loss(batch)
            return terms if len(self.drawn) < 8 else {"square": terms["square"] * float("nan")}

    run = folder(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"square is not finite"):
        run_phase(Breaks(), PHASE, run, device=CPU, pace=Pace(log_every=1, checkpoint_every=5))
    state = run.load_checkpoint("line")
    assert state is not None
    assert state["step"] == 5
    assert np.isfinite(float(state["average"]["slope"]))


def test_another_seed_draws_other_batches(tmp_path: Path) -> None:
    tasks = [Line(), Line()]
    for seed, task in enumerate(tasks):
        settings = dataclasses.replace(PHASE, seed=seed, steps=3)
        run_phase(task, settings, folder(tmp_path / str(seed)), device=CPU)
    assert tasks[0].drawn != tasks[1].drawn
