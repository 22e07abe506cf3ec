"""What a run takes of a machine, and which machine that was, without a name or an address of it.

Torch is asked only where the run has loaded it, for a build reads this too.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from functools import cache
from pathlib import Path

MIB = 2**20


def peak_memory(children: bool = False) -> int:
    """The most MiB that this process has held at once; with `children`, that a process has held
    which it started and which has ended."""
    whose = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(whose).ru_maxrss * unit // MIB


def peak_gpu_memory() -> int:
    """The most MiB that tensors of this process have held on its GPUs together; 0 without any."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return sum(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count()))) // MIB


def memory() -> int:
    """MiB of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB


@cache
def described() -> dict[str, str]:
    """Processor, cores, memory, system and GPUs in words."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": in_gib(memory()),
        "system": f"{platform.system()} {platform.machine()}",
    }
    return found | ({"GPUs": ", ".join(gpus())} if gpus() else {})


def gpus() -> list[str]:
    """Names of the GPUs that torch sees; none before it is loaded."""
    torch = sys.modules.get("torch")
    cards = range(torch.cuda.device_count()) if torch is not None else ()
    return [torch.cuda.get_device_name(i) for i in cards]


def in_gib(mib: int | float) -> str:
    """A size in words, such as `1.5 GiB`."""
    return f"{mib / 1024:,.{1 if mib < 10 * 1024 else 0}f} GiB"


def taken() -> dict[str, object]:
    """What a record keeps at the end of a run."""
    found = {"peak_memory_mib": peak_memory(), "machine": described()}
    gpu = peak_gpu_memory()
    return found | ({"peak_gpu_memory_mib": gpu} if gpu else {})


def _processor() -> str:
    """The model of the CPU, as the system names it."""
    facts = Path("/proc/cpuinfo")
    said = re.search(r"model name\s*:\s*(.+)", facts.read_text()) if facts.is_file() else None
    return said[1].strip() if said else platform.processor() or platform.machine()
