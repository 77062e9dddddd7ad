"""Numbers that depend on what they are about and on nothing else: no generator, no state, no PYTHONHASHSEED."""

from __future__ import annotations

import hashlib

SPAN = 1 << 64


def keyed(*parts: int | str) -> int:
    """A number from 0 to 2^64 - 1, evenly spread, that is a function of ``parts`` (BLAKE2b).

    >>> keyed(0, "a") == keyed(0, "a"), keyed(0, "a") == keyed("0", "a"), keyed("ab", "c") == keyed("a", "bc")
    (True, False, False)
    """
    spelled = "".join(f"{type(part).__name__}{len(str(part))}:{part}" for part in parts)
    digest = hashlib.blake2b(spelled.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
