"""config.json of OpenVINO Model Server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["ovms_config"]


def ovms_config(names: Sequence[str], *, instances: int, root: str = "/models") -> dict[str, Any]:
    """The server's list of models.

    Args:
        names: of the models, each a folder of the repository.
        instances: streams of each.
        root: where the repository is mounted in the server's container.
    """
    plugin = {"NUM_STREAMS": str(instances)}
    return {
        "model_config_list": [
            {"config": {"name": name, "base_path": f"{root}/{name}", "plugin_config": plugin}} for name in names
        ]
    }
