"""
Jobs on a Ray cluster: the rows of a table are sent where they are. Needs the extra `ray`.

    from chatmark import Credentials, Region
    from chatmark.ray import RayOptions, apply_on_ray

    report = await apply_on_ray(
        ["s3://warehouse/marks/*.parquet"],
        Credentials.from_env(),
        RayOptions(failed="failed"),
        address="auto",
        region=Region.SINGAPORE,
    )

Ray Data reads the files in slices, and checks their rows as `chatmark.jobs` does.
Each user belongs to one worker, by a hash, so all rows of a user meet there in their order, and are
grouped and sent by the code that sends a file from one process. The rows of a worker stay
in the cluster until it is done: if it is lost, another one begins with the same rows.

- `files`, `dataset`, `row_tables`: files, slices of them, and checked rows as tables;
- `worker`, `worker_pool`: an actor with some of the users; starts and replaces actors;
- `permit_window`, `permit_server`, `budget`: one budget of calls for all workers;
- `sealed`: secrets for workers; `failures`: failures as Parquet; `summing`: one report;
- `runtime`, `local`: Ray itself; `options`, `job`: all of that together.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.ray.dataset import ReadingError
    from chatmark.ray.job import RayJob, apply_on_ray
    from chatmark.ray.options import RayOptions
    from chatmark.ray.runtime import joined
    from chatmark.ray.worker_pool import WorkerLostError

_HOMES = {
    "RayJob": "chatmark.ray.job",
    "RayOptions": "chatmark.ray.options",
    "ReadingError": "chatmark.ray.dataset",
    "WorkerLostError": "chatmark.ray.worker_pool",
    "apply_on_ray": "chatmark.ray.job",
    "joined": "chatmark.ray.runtime",
}

__all__ = [
    "RayJob",
    "RayOptions",
    "ReadingError",
    "WorkerLostError",
    "apply_on_ray",
    "joined",
]

__getattr__, __dir__ = _lazily(__name__, _HOMES)
