"""What the simulated OpenAI says: plausible words, of which the first say that they are made up."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

INTRODUCTION = "This answer is made up by the simulated OpenAI of the demonstration: no model has read your message."
SENTENCES = (
    "A short plan helps: collect the figures, compare them with last month, and write down what has changed.",
    "The second option is cheaper, but it needs more time to set up.",
    "Most of the difference comes from long inputs, which a cache would make cheaper.",
    "Please check the dates in the second table before you send it.",
    "Three points stand out, and the last of them matters most.",
    "The tests pass, but one of them depends on the order in which they run.",
    "A smaller model is enough for this, as long as the instructions stay short.",
    "Customers ask for this mostly on Mondays, in the first hours of the day.",
    "I would rename the function, because it does more than its name says.",
    "In summary: keep the first version, and add an example to the text.",
)


def answer_words(draw: random.Random, limit: int | None) -> tuple[list[str], bool]:
    """Returns the words of an answer, each with the space after it, and whether the limit has cut it. A word counts as
    one token."""
    text = " ".join([INTRODUCTION, *draw.sample(SENTENCES, draw.randint(2, 4))])
    tokens = [f"{word} " for word in text.split()]
    return tokens[:limit], limit is not None and limit < len(tokens)


def input_tokens(messages: object) -> int:
    """Returns the token count of messages or of an input: a token for each four characters, and four for each
    message."""
    texts = list(_texts(messages))
    return 4 * len(texts) + sum(-(-len(text) // 4) for text in texts) or 1


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        yield from _texts(value.get("content") or value.get("text") or [])
