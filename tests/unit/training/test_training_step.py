"""A step: its rates, its clipped gradients, and what is made quick on a GPU."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.vit import Attention, Block
from edgedepth.training.muon import StackedMuon
from edgedepth.training.tile_pretraining import TilePretraining
from edgedepth.training.training_step import Step, quicken

CPU = torch.device("cpu")
TINY = DepthProConfig(
    width=24, depth=2, heads=2, patch=16, tile=128, hooks=(0, 1), feature_dims=(8, 12, 16, 16), decoder_width=16
)


@dataclass
class Numbers:
    x: Tensor

    def to(self, device: torch.device) -> Numbers:
        return Numbers(self.x.to(device))


def layers() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"first": nn.Linear(6, 8), "second": nn.Linear(8, 3)})


def step_of(module: nn.ModuleDict, *, tensors: bool) -> Step:
    def group(names: list[str], share: float) -> dict[str, object]:
        parameters = [p for name, p in module.named_parameters() if name.rpartition(".")[2] in names]
        return {"params": parameters, "share": share, "lr": torch.ones(()) if tensors else 1.0}

    def loss(batch: Numbers) -> Mapping[str, Tensor]:
        out = module["second"](torch.tanh(module["first"](batch.x)))
        return {"square": out.float().square().mean(), "sum": 100 * out.float().mean()}

    adamw = torch.optim.AdamW([group(["bias"], 1.0)], weight_decay=0.02, fused=True)
    muon = StackedMuon([group(["weight"], 3.0)], weight_decay=0.02)
    return Step(loss, [adamw, muon], CPU)


def batch_of(step: int) -> Numbers:
    return Numbers(torch.randn(16, 6, generator=torch.Generator().manual_seed(step)))


def test_rates_that_are_tensors_teach_what_numbers_do() -> None:
    """A GPU's rates are tensors; a processor's are numbers."""
    modules = layers(), layers()
    plain, tensor = (step_of(module, tensors=flag) for module, flag in zip(modules, (False, True), strict=True))
    for step in range(8):
        rate = 0.01 * (step + 1)
        one, other = plain(batch_of(step), rate), tensor(batch_of(step), rate)
        for name in one:
            # bfloat16 of weights that differ in float32's last digit.
            assert float(one[name]) == pytest.approx(float(other[name]), rel=0.02, abs=0.02)
    for mine, theirs in zip(modules[0].parameters(), modules[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=5e-3)  # a tenth of a step of 0.08, or less
    assert any(
        not torch.equal(mine, start) for mine, start in zip(modules[0].parameters(), layers().parameters(), strict=True)
    )


@pytest.mark.parametrize("tensors", [False, True])
def test_a_step_sets_each_group_s_share_of_the_rate(tensors: bool) -> None:
    module = layers()
    start = copy.deepcopy(module)
    step_of(module, tensors=tensors)(batch_of(0), 0.0)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), start.parameters(), strict=True))
    step_of(module, tensors=tensors)(batch_of(0), 0.01)
    # AdamW's first step is the rate, decay aside; Muon's is its size, 0.2 of three times the rate.
    bias = (module["first"].bias - start["first"].bias).detach().abs()
    assert bias.max() == pytest.approx(0.01, rel=0.02)
    weight = (module["first"].weight - start["first"].weight).detach()
    assert weight.square().mean().sqrt() == pytest.approx(0.2 * 0.03, rel=0.3)


def test_a_step_tells_the_loss_before_it_and_keeps_no_graph() -> None:
    module = layers()
    step = step_of(module, tensors=False)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = module["second"](torch.tanh(module["first"](batch_of(0).x))).float()
    terms = step(batch_of(0), 0.01)
    assert terms.keys() == {"square", "sum"}
    assert not any(term.requires_grad for term in terms.values())
    assert float(terms["square"]) == pytest.approx(float(out.square().mean()), rel=1e-6)  # float32
    assert float(terms["sum"]) == pytest.approx(float(100 * out.mean()), rel=1e-5)


def test_gradients_are_clipped_together() -> None:
    module = layers()
    step_of(module, tensors=False)(batch_of(0), 0.0)
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    assert len(gradients) == 4
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
    assert float(norm) == pytest.approx(1.0, rel=1e-4)  # of 100 and more before


@pytest.mark.slow  # torch imports its compiler
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method. is deprecated:DeprecationWarning")  # that compiler's
def test_what_is_quickened_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    torch.manual_seed(0)
    module = TilePretraining(TINY).eval()
    quick = copy.deepcopy(module)
    quicken(quick)
    assert all(part.fused for part in quick.modules() if isinstance(part, Attention))
    assert not any(part.fused for part in module.modules() if isinstance(part, Attention))
    compiled = {name for name, part in quick.named_modules() if part._compiled_call_impl is not None}
    blocks = {name for name, part in quick.named_modules() if isinstance(part, Block)}
    assert len(blocks) == 2
    assert blocks <= compiled
    image = torch.randn(2, 3, 128, 128)
    # Compiling takes a minute and a compiler; tests/gpu does.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        mine, theirs = quick(image, 2), module(image, 2)
    torch.testing.assert_close(mine.canonical, theirs.canonical, rtol=1e-4, atol=1e-5)  # other sums in float32
    torch.testing.assert_close(mine.fov_deg, theirs.fov_deg, rtol=1e-4, atol=1e-5)
    # Names stay, so that weights and checkpoints are everybody's.
    assert quick.state_dict().keys() == module.state_dict().keys()
