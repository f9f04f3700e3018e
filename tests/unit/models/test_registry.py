"""The registry's facts against the modules they describe."""

import re
import subprocess
import sys

import pytest
import torch

from edgedepth.core.errors import OptionError
from edgedepth.models.clip_text import ClipText
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.registry import (
    DEFAULT_MODEL,
    MODELS,
    LocalWeights,
    ModelEntry,
    ShippedParts,
    WeightsSource,
    model_entry,
)
from edgedepth.models.relative import RelativeDepth, Rsa, build_network
from edgedepth.models.relative_config import RelativeConfig
from edgedepth.models.rsa_head import ScaleShiftHead
from edgedepth.models.zoedepth_config import ZoeDepthConfig

PINNED = [entry for entry in MODELS.values() if not isinstance(entry.weights, LocalWeights | ShippedParts)]


def shapes_of(entry: ModelEntry) -> torch.nn.Module:
    if isinstance(entry.config, DepthProConfig):
        return DepthPro(entry.config)
    pytest.importorskip("transformers", reason="networks of relative depth are transformers' classes")
    if isinstance(entry.config, RelativeConfig):
        return build_network(entry.config)
    if isinstance(entry.config, ZoeDepthConfig):
        return build_network(entry.config.network)
    network = RelativeDepth(build_network(entry.config.relative))
    return Rsa(network, ClipText(entry.config.text), ScaleShiftHead(entry.config.head))


@pytest.mark.parametrize("entry", MODELS.values(), ids=MODELS)
def test_the_number_of_parameters_is_the_modules(entry: ModelEntry) -> None:
    with torch.device("meta"):  # shapes only: no memory is taken
        module = shapes_of(entry)
    assert sum(parameter.numel() for parameter in module.parameters()) == entry.parameters


def test_sizes() -> None:
    assert round(model_entry("depth-pro").parameters / 1e6) == 952  # millions, of the published model
    assert model_entry("depth-pro-mini").parameters <= 12_000_000


@pytest.mark.parametrize("entry", PINNED, ids=lambda entry: entry.name)
def test_published_weights_are_pinned(entry: ModelEntry) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", entry.weights.sha256)
    if isinstance(entry.weights, WeightsSource):
        assert re.fullmatch(r"[0-9a-f]{40}", entry.weights.revision)
        assert entry.weights.licence_url.startswith("https://")
    # fp16 weights and little else: the size and the number of parameters must fit each other
    assert 2 * entry.parameters < entry.weights.size < 2.01 * entry.parameters


def test_what_ships_is_small_and_says_that_it_is_a_demonstration() -> None:
    mini = model_entry("depth-pro-mini")
    assert mini.weights.size <= 25_000_000
    assert mini.demonstration
    assert "DEMONSTRATION" in mini.note
    assert not model_entry("depth-pro").demonstration


def test_names() -> None:
    assert DEFAULT_MODEL in MODELS
    assert all(name == entry.name for name, entry in MODELS.items())
    with pytest.raises(OptionError, match=r"'depth-po'.*depth-pro, depth-pro-mini"):
        model_entry("depth-po")


def test_the_registry_the_lookup_and_the_loader_import_without_any_extra() -> None:
    code = (
        "import sys, edgedepth.models.loading; "
        "loaded = {'torch', 'huggingface_hub', 'safetensors', 'filelock'} & set(sys.modules); "
        "sys.exit(str(loaded) if loaded else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
