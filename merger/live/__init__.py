"""Merging in device memory (needs torch; transformers for the modules).

    live = LiveMerge(open_checkpoint("a"), open_checkpoint("b"))
    live.prepare("slerp")
    live.apply(MergeRecipe.build("slerp", {"slerp_t": 0.3}))
    with live.lend("merged") as module: ...
"""

from merger.live.live_merge import AppliedMerge, LiveMerge, ModelName, WeightsIdentity

__all__ = ["AppliedMerge", "LiveMerge", "ModelName", "WeightsIdentity"]
