"""`Crew`: the workers, on this machine or behind any Dask scheduler."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from openmedlab.core.errors import InputError

CONNECT_S = 20
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Crew:
    """Connected workers: the Dask client, and what every task asks of its worker."""

    client: Any
    resources: dict[str, float]

    def size(self) -> int:
        """Workers there now (at least one is counted)."""
        return max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))


@contextmanager
def crew(
    workers: int = 1,
    *,
    scheduler: str | None = None,
    gpus: Sequence[str] = (),
    memory: str | None = None,
) -> Iterator[Crew]:
    """Yield workers, and end those started here.

    Parameters
    ----------
    workers
        Processes to start on this machine; 0 works in this process. They listen on the
        loopback alone.
    scheduler
        Address of a running Dask scheduler to use instead; its workers must see the same
        files. Where they offer a resource ``GPU``, every task takes one.
    gpus
        Names for ``CUDA_VISIBLE_DEVICES``; one worker is started for each.
    memory
        Limit of a worker (``"8GB"``), above which it is ended and its block done again; by
        default its share of the machine.

    Raises
    ------
    InputError
        Dask's cluster part is missing, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise InputError(
            "Work in blocks needs Dask's cluster part; install it with: "
            "pip install 'napari-openmedlab[cluster]'."
        ) from error
    if scheduler is None:
        with _local(workers, gpus, memory) as cluster, Client(cluster) as client:
            yield Crew(client, {})
        return
    try:
        client = Client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise InputError(f"No Dask scheduler answers at {scheduler}; check the address.") from error
    with client:
        offered = client.scheduler_info(n_workers=-1)["workers"].values()
        has_gpu = any("GPU" in worker.get("resources", {}) for worker in offered)
        yield Crew(client, {"GPU": 1} if has_gpu else {})


def _local(workers: int, gpus: Sequence[str], memory: str | None) -> Any:
    import logging

    import dask
    from distributed import LocalCluster, Nanny, Scheduler, SpecCluster

    count = len(gpus) or max(workers, 1)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // count))
    environment = dict.fromkeys(THREAD_VARIABLES, threads)
    limit = "auto" if memory is None else memory
    settings = {
        "distributed.nanny.pre-spawn-environ": environment,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": 1,
    }
    with dask.config.set(settings):
        if gpus:
            options: dict[str, Any] = {"nthreads": 1, "host": "127.0.0.1", "memory_limit": limit}
            each = {
                k: {"cls": Nanny, "options": {**options, "env": {"CUDA_VISIBLE_DEVICES": gpu}}}
                for k, gpu in enumerate(gpus)
            }
            listening = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
            return SpecCluster(
                workers=each,
                scheduler={"cls": Scheduler, "options": listening},
                silence_logs=logging.ERROR,
            )
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=workers > 0,
            host="127.0.0.1" if workers > 0 else None,
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=limit if workers > 0 else None,
            silence_logs=logging.ERROR,
        )
