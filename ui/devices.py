"""Which devices there are, and what speaks to each."""

from functools import partial

from ui import zero_gpu
from ui.deaths import Deaths, Patience
from ui.executor import Executor
from ui.logs import begin_process
from ui.process_executor import ProcessExecutor
from ui.settings import Settings


def executors_for(settings: Settings) -> list[Executor]:
    """One process per device of the settings; on a ZeroGPU Space the one that is lent."""
    if zero_gpu.wanted():
        return [zero_gpu.ZeroGpuExecutor(settings.device)]
    patience = Patience()
    deaths = Deaths(patience.refuse)
    prepare = partial(begin_process, settings.log_format)
    return [
        ProcessExecutor(device, settings.pairs, deaths=deaths, patience=patience, prepare=prepare)
        for device in devices(settings)
    ]


def devices(settings: Settings) -> list[str]:
    """The devices named in the settings; "all" is every GPU that CUDA_VISIBLE_DEVICES leaves, or the CPU."""
    named = settings.devices or (settings.device,)
    if named != ("all",):
        return list(named)
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
