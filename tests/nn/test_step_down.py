import pytest

from openmedlab.core import MemoryGuardError
from openmedlab.nn.memory import step_down


def test_stepping_down_tells_what_was_tried():
    told = []

    def out():
        raise MemoryError

    def torch_like():
        raise RuntimeError("CUDA out of memory. Tried to allocate")

    rungs = [("on the GPU", torch_like), ("in smaller tiles", out), ("on the CPU", lambda: 7)]
    assert step_down(rungs, told.append) == 7
    assert told == [
        "Out of memory on the GPU; trying in smaller tiles.",
        "Out of memory in smaller tiles; trying on the CPU.",
    ]
    with pytest.raises(MemoryGuardError, match="on the CPU, the smallest way"):
        step_down([("on the CPU", out)])


def test_other_errors_are_not_swallowed():
    def bug():
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        step_down([("a", bug), ("b", lambda: 1)])
