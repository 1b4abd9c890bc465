"""A process that computes cases for another one: started as a file, with pipes as its input and output.

It imports nothing before it watches for the end of its parent, whose death closes its input: that ends it at once,
whatever it is doing. So it is no module of the package to itself, and the imports of the package come late.
"""

import json
import os
import queue
import sys
import threading


def main() -> None:
    """Take orders, a line of JSON each: where modules are found, the options of the run, then ids of cases."""
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    # what a case prints goes to standard error; standard output is kept for the answers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path[:] = json.loads(orders.get())

    from jaxgrad.verify.cases._side_by_side import answer

    options = json.loads(orders.get())
    while True:
        answer(json.loads(orders.get()), options, answers)


def _listen(orders: "queue.SimpleQueue[str]") -> None:
    """Pass the orders on; end the process where the parent has ended, or has no more for it."""
    for line in sys.stdin:
        orders.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
