"""MIG-Bench: its annotations and two ways of scoring responses to it (``docs/how-to/score-migbench.md``).

* ``official``: the protocol of the published numbers, to the letter, weaknesses included;
* ``strict``: the answer only, in the right image, in one frame, one to one.
"""
