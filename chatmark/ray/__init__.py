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

Ray Data reads the files in slices; whoever reads a slice checks its rows as `chatmark.jobs` does.
Each user belongs to one worker, by a hash, so all rows of a user meet there in their order, and are
grouped and sent by the very code that sends a file from one process. What a worker was given stays
in the cluster until it is done: when it is lost, another begins with the same rows.

- `finding`, `reading`, `rowtable`: files, slices of them, and checked rows as tables;
- `worker`, `crew`: an actor with some of the users, and whoever hires and replaces such;
- `leases`, `office`, `budget`: one budget of calls for all workers;
- `sealed`: secrets on their way; `failures`: what failed, as Parquet; `summing`: one report;
- `engine`, `local`: Ray itself; `options`, `job`: all of that together.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.ray.crew import WorkerLostError
    from chatmark.ray.engine import joined
    from chatmark.ray.job import RayJob, apply_on_ray
    from chatmark.ray.options import RayOptions
    from chatmark.ray.reading import ReadingError

_HOMES = {
    "RayJob": "chatmark.ray.job",
    "RayOptions": "chatmark.ray.options",
    "ReadingError": "chatmark.ray.reading",
    "WorkerLostError": "chatmark.ray.crew",
    "apply_on_ray": "chatmark.ray.job",
    "joined": "chatmark.ray.engine",
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
