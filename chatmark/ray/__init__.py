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

Ray Data reads the files in slices, and checks their rows as `chatmark.jobs` does. A hash gives
each user to one worker, so all rows of a user meet there in their order. The worker groups and
sends them with the code that sends a file from one process. The rows stay in the cluster until
their worker is done: the successor of a lost worker begins with the same rows.

- `input`: files, slices of them, and checked rows as tables;
- `budget`: one budget of calls for all workers;
- `workers`: the actors, their secrets, their failures as Parquet, and one report of all;
- `runtime`, `local`: Ray itself; `options`, `job`: all of it together.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.ray.input.dataset import ReadingError
    from chatmark.ray.job import RayJob, apply_on_ray
    from chatmark.ray.options import RayOptions
    from chatmark.ray.runtime import joined
    from chatmark.ray.workers.pool import WorkerLostError

_HOMES = {
    "RayJob": "chatmark.ray.job",
    "RayOptions": "chatmark.ray.options",
    "ReadingError": "chatmark.ray.input.dataset",
    "WorkerLostError": "chatmark.ray.workers.pool",
    "apply_on_ray": "chatmark.ray.job",
    "joined": "chatmark.ray.runtime",
}

__all__ = ["RayJob", "RayOptions", "ReadingError", "WorkerLostError", "apply_on_ray", "joined"]

__getattr__, __dir__ = _lazily(__name__, _HOMES)
