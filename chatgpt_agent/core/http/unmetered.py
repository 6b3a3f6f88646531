"""Answers that report no tokens of their own: they pass unread, and their rows have none."""

from chatgpt_agent.core.usage import Answer, Usage

NOTHING_USED = Answer(usage=Usage(input=0, output=0), complete=True)


class PassingStream:
    """Passes a stream on as it comes."""

    complete = False

    def feed(self, chunk: bytes) -> bytes:
        """Returns the chunk."""
        return chunk

    def end(self, *, clean: bool) -> None:
        """Ends the stream."""

    def take_held(self) -> bytes:
        """Returns nothing, because nothing is held."""
        return b""

    def answer(self) -> Answer:
        """Returns that nothing was used."""
        return NOTHING_USED
