"""Files of the console, which are read when the first page is rendered."""

from pathlib import Path

import pytest

from chatgpt_agent.web.console import assets
from chatgpt_agent.web.console.assets import Assets


def test_page_beside_the_first_finds_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are rendered in threads: a second one may need a file while the first one reads them."""
    for name in ("a.css", "b.css"):
        (tmp_path / name).write_text("p {}")
    files = Assets(tmp_path, "/static")
    read, reads = assets.read_asset, 0
    beside: list[bool] = []

    def read_beside(path: Path) -> assets.Asset:
        nonlocal reads
        reads += 1
        if reads == 2:
            beside.append(all(files.get(name) for name in ("a.css", "b.css")))
        return read(path)

    monkeypatch.setattr(assets, "read_asset", read_beside)
    assert files.get("a.css")
    assert beside == [True]
