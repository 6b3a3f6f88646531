"""A file between two steps of a page: compressed, in a hidden field of the second form.

So it is on no disk and in no memory between the steps, any agent can take the second one, and a restart loses nothing.
The field needs no signature: the admin who sends it may send any other file as well.
"""

import asyncio
import base64
import binascii
import zlib

from chatgpt_agent.core.errors import InvalidRequest

MAX_PACKED = 4 * 1024 * 1024  # characters; LiteLLM's list takes 0.2 million
LEVEL = 6


async def pack(data: bytes) -> str | None:
    """Returns a file as the value of a hidden field; None: it is too large for one."""
    # In a thread: the largest files take half a second.
    text = await asyncio.to_thread(lambda: base64.urlsafe_b64encode(zlib.compress(data, LEVEL)).decode())
    return text if len(text) <= MAX_PACKED else None


async def unpack(text: str, *, max_size: int) -> bytes:
    """Returns the file of a hidden field. Raises InvalidRequest for anything else, and for one of more than `max_size`
    bytes."""
    return await asyncio.to_thread(_unpack, text, max_size)


def _unpack(text: str, max_size: int) -> bytes:
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.urlsafe_b64decode(text.encode("ascii")), max_size + 1)
    except (ValueError, binascii.Error, zlib.error):
        raise InvalidRequest("The file of the form cannot be read.") from None
    if not reader.eof or len(data) > max_size:
        raise InvalidRequest("The file of the form cannot be read.")
    return data
