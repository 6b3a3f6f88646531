"""A fixed piece of pure-Python work: what the processor does in a time that is measured in the same run.

Costs are given as multiples of it, so that a slower or a busy machine changes both alike.
"""

import json
import time

_ROUNDS = 20
_MESSAGE = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"word {n}"} for n in range(20)]}


def work() -> int:
    """Dictionaries, strings, calls and numbers, as a server's code has them. Must never be changed: constants that
    were measured against it would mean something else."""
    total = 0
    for turn in range(_ROUNDS):
        text = json.dumps(_MESSAGE)
        fields = {f"name-{n}": f"value {n + turn}" for n in range(100)}
        lines = "\r\n".join(f"{name}: {value}" for name, value in fields.items()).split("\r\n")
        total += len(text) + sum(len(line.partition(": ")[2]) for line in lines)
        total += sum(n * n % 7 for n in range(500))
    return total


def work_seconds(times: int = 10) -> float:
    """Seconds of this thread's processor time that the work takes: the least of some, which nothing disturbed."""
    times_taken = []
    for _ in range(times):
        began = time.thread_time()
        work()
        times_taken.append(time.thread_time() - began)
    return min(times_taken)
