"""Work on many rows lets other tasks run in between."""

from chatgpt_agent.adapters.cooperative import BATCH, map_cooperatively
from tests.support.tasks import runs_of_others


async def test_rows_are_converted_in_batches() -> None:
    """All rows are converted in their order, and other tasks run before each batch."""
    rows = range(4 * BATCH + 1)
    assert await map_cooperatively(str, rows) == [*map(str, rows)]
    assert await runs_of_others(map_cooperatively(str, rows)) >= 5
