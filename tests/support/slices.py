"""Large texts are read in slices; with small slices a small text takes the path of a large one."""

import contextlib
from collections.abc import Iterator

import pytest

from chatgpt_agent.core import cooperative
from chatgpt_agent.core.http import answer, json_object, json_outline, request


@contextlib.contextmanager
def slices_of(size: int) -> Iterator[None]:
    """Sets the size of a slice in bytes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (cooperative, json_object, json_outline, answer, request):
            patch.setattr(module, "SLICE", size)
        yield
