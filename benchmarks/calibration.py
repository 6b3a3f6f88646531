"""A fixed piece of pure-Python work, timed in the same run as a measurement.

Costs are given as multiples of its time, so that a slower or busier machine changes both alike.
"""

import json
import time

_ROUNDS = 20
_MESSAGE = {"model": "gpt-6-sol", "messages": [{"role": "user", "content": f"word {n}"} for n in range(20)]}


def work() -> int:
    """Works with dictionaries, strings, calls and numbers, as a server does. Must never be changed: constants that
    were measured against it would have another meaning."""
    total = 0
    for number in range(_ROUNDS):
        text = json.dumps(_MESSAGE)
        fields = {f"name-{n}": f"value {n + number}" for n in range(100)}
        lines = "\r\n".join(f"{name}: {value}" for name, value in fields.items()).split("\r\n")
        total += len(text) + sum(len(line.partition(": ")[2]) for line in lines)
        total += sum(n * n % 7 for n in range(500))
    return total


def work_seconds(times: int = 10) -> float:
    """Returns the seconds of this thread's processor time that the work takes: the least of several runs."""
    times_taken = []
    for _ in range(times):
        began = time.thread_time()
        work()
        times_taken.append(time.thread_time() - began)
    return min(times_taken)
