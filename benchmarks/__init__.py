"""How fast schedcore is, beside APScheduler 3.11.3 and beside the limit: ``python -m benchmarks --help``.

Each file here without an underscore is a group of measurements, and each measurement is made of up to three subjects:

``schedcore``
    the checkout, built and installed as users get it;
``apscheduler``
    the same calls on APScheduler, through its documented interface. Both subjects run the very same code: only the name of
    the imported package differs;
``bare``
    the limit: the same work with the barest means, a heap, a pool, a loop or a database driver, and none of what a scheduler
    is for.

Rules. Each measurement is made in a fresh process. The subjects take turns (A B C A B C …), so that a machine that gets slower
or busier meanwhile does so for all of them, and the figures are medians. Garbage collection, thread switching and frequency
scaling are left as they are. Beside each wall time stands the CPU time of the process, which other programs disturb less.
"""
