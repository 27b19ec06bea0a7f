"""The same shards as tasks of Ray Data, on this machine or on the cluster that `RAY_ADDRESS` names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from llmkit.data.corpus.shards import Shard
from llmkit.data.corpus.shardwork import ShardDone, ShardJob, work_shard
from llmkit.errors import RunError, UnavailableError


def run_with_ray(job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardDone]:
    """Do shards as tasks of Ray Data; each is yielded as it is done.

    Every node must see the inputs and the registry under the same paths: what a task makes is written there, and only
    its number comes back. A cluster is joined if Ray finds one (`RAY_ADDRESS`), else one is started here.

    Raises:
        UnavailableError: Ray is not installed.
        RunError: a task failed for a reason of Ray's own. What a shard itself raises is raised as it is.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UnavailableError("Ray is not installed", mend="pip install 'llmkit[ray]'") from error
    if not shards:
        return
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="warning")
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        tasks = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        for row in tasks.map(partial(_task, job)).iter_rows():
            yield ShardDone(int(row["number"]), int(row["size"]))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise RunError(f"a task of Ray failed: {error}", mend="see Ray's own log for what happened") from error


def _task(job: ShardJob, row: dict[str, Shard]) -> dict[str, int]:
    done = work_shard(job, row["shard"])
    return {"number": done.number, "size": done.size}
