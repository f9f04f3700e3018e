"""Work on many items by several workers, here, in processes or on a Ray cluster, whoever is killed meanwhile."""

from edgedepth.crew.base import Crew, CrewOptions, Engine, Lost, Worker
from edgedepth.crew.here import Here
from edgedepth.crew.opening import open_crew

__all__ = ["Crew", "CrewOptions", "Engine", "Here", "Lost", "Worker", "open_crew"]
