import os
import subprocess
import sys

import pytest

# A block of 64 MiB is taken, written and given back 20 times: 16,384 pages of 4 KiB each time.
PROGRAM = """
import resource
from mirg.models.device import keep_freed_memory

kept = keep_freed_memory()
b"x" * 2**26
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    b"x" * 2**26
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def freed_and_taken(**told: str) -> tuple[bool, int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment | told
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told")
def test_freed_memory_is_kept_for_the_next_block():
    kept, faults = freed_and_taken()
    if not kept:
        pytest.skip("no glibc here")
    assert faults < 1000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts pages so")
@pytest.mark.parametrize("setting", ["MALLOC_ARENA_TEST=8", "GLIBC_TUNABLES=glibc.malloc.arena_test=8"])
def test_an_environment_that_sets_malloc_is_left_alone(setting):
    kept, faults = freed_and_taken(**dict([setting.split("=", 1)]))
    assert not kept and faults > 100_000
