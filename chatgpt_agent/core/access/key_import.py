"""A table of OpenAI keys for users who exist: name and key, checked line by line. No error quotes a key."""

from collections.abc import Sequence

from chatgpt_agent.core.access.settings import check_openai_key
from chatgpt_agent.core.errors import InvalidValue
from chatgpt_agent.core.names import check_name

COLUMNS = ("name", "openai_key")


def read_keys(rows: Sequence[tuple[int, Sequence[str]]]) -> dict[str, str]:
    """Returns the OpenAI keys in a table's rows, which come with their line numbers, by the names of users. Raises
    InvalidValue with the line."""
    rows = [(line, [cell.strip() for cell in cells]) for line, cells in rows if any(cell.strip() for cell in cells)]
    header = [cell.lower().replace(" ", "_") for cell in rows[0][1]] if rows else []
    if sorted(header) != sorted(COLUMNS):  # not quoted: in a file without a header it may be a key
        raise InvalidValue(f"line 1 must name the columns {' and '.join(COLUMNS)}")
    keys: dict[str, str] = {}
    for line, cells in rows[1:]:
        try:
            if len(cells) != len(header):
                raise InvalidValue(f"{len(cells)} cells for {len(header)} columns")
            values = dict(zip(header, cells, strict=True))
            check_name("name", values["name"])
            check_openai_key(values["openai_key"])
            if values["name"] in keys:
                raise InvalidValue(f"name: {values['name']!r} is in the file twice")
        except InvalidValue as error:
            raise InvalidValue(f"line {line}: {error.message}") from None
        keys[values["name"]] = values["openai_key"]
    if not keys:
        raise InvalidValue("the file has no users")
    return keys
