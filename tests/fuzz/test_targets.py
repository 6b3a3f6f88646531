"""The targets of the fuzzer hold for what it begins with, and for what it has found."""

import pytest

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_target_holds_for_its_seeds(name: str) -> None:
    """Each seed is an input for which all holds."""
    for text in SEEDS[name]():
        TARGETS[name](text)
