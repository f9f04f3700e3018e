"""The error tree is the one that its module draws, and every error says how to go on."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from edgedepth.core import errors
from edgedepth.core.errors import EdgeDepthError, UserError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, EdgeDepthError)]


def drawn_tree() -> dict[str, str]:
    """Child -> parent, as the docstring's drawing has it: a level is four characters deep."""
    parents: dict[str, str] = {}
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r" {4}([│├└─ ]*)(\w+Error)  ", line):
            level, name = len(match[1]) // 4, match[2]
            del branch[level:]
            if branch:
                parents[name] = branch[-1]
            branch.append(name)
    return parents


def test_the_drawn_tree_is_the_class_tree() -> None:
    real = {cls.__name__: cls.__base__.__name__ for cls in CLASSES if cls.__base__ and cls is not EdgeDepthError}
    assert drawn_tree() == real
    assert len(real) > 10


def test_all_is_complete() -> None:
    assert sorted(errors.__all__) == sorted(cls.__name__ for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
class TestEveryError:
    def test_demands_a_remedy(self, cls: type[EdgeDepthError]) -> None:
        with pytest.raises(TypeError, match="remedy"):
            cls("it broke")  # type: ignore[call-arg]

    def test_tells_problem_and_remedy_in_one_line(self, cls: type[EdgeDepthError]) -> None:
        assert str(cls("it broke", remedy="mend it")) == "it broke | mend it"

    def test_exit_code_is_2_for_what_the_caller_can_cure(self, cls: type[EdgeDepthError]) -> None:
        assert cls.exit_code == (2 if issubclass(cls, UserError) else 1)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_survives_pickling(self, cls: type[EdgeDepthError], protocol: int) -> None:
        back = pickle.loads(pickle.dumps(cls("it broke", remedy="mend it"), protocol))
        assert type(back) is cls
        assert (back.problem, back.remedy, back.args) == ("it broke", "mend it", ("it broke",))

    def test_is_documented(self, cls: type[EdgeDepthError]) -> None:
        assert cls.__doc__
        assert "__doc__" in vars(cls)
