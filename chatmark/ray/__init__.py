"""
Jobs on a Ray cluster: the rows of a table are read where they are. Needs the extra `ray`.

    from chatmark import Credentials, Region
    from chatmark.ray import RayOptions, apply_on_ray

    report = await apply_on_ray(
        ["s3://warehouse/marks/*.parquet"],
        Credentials.from_env(),
        RayOptions(failed="failed"),
        address="auto",
        region=Region.SINGAPORE,
    )

Tasks on any machine read the files in slices, check their rows as `chatmark.jobs` does, and group
them by user into partitions. One actor sends partition after partition with the code that sends a
file from one process, and each is noted in a checkpoint on shared storage.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.ray.driver import SenderLostError
    from chatmark.ray.job import RayJob, apply_on_ray
    from chatmark.ray.options import RayOptions
    from chatmark.ray.runtime import ReadingError, joined

_HOMES = {
    "RayJob": "chatmark.ray.job",
    "RayOptions": "chatmark.ray.options",
    "ReadingError": "chatmark.ray.runtime",
    "SenderLostError": "chatmark.ray.driver",
    "apply_on_ray": "chatmark.ray.job",
    "joined": "chatmark.ray.runtime",
}

__all__ = ["RayJob", "RayOptions", "ReadingError", "SenderLostError", "apply_on_ray", "joined"]

__getattr__, __dir__ = _lazily(__name__, _HOMES)
