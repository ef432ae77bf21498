"""
Options of a Ray cluster.
"""

import attrs
import click

from chatmark.cli.options.groups import option_group, options_of


@attrs.frozen
class Cluster:
    """The cluster that a job runs on: its address, and how many workers, None for the default."""

    ray: str
    ray_workers: int | None


def _cluster(ray: str | None, ray_workers: int | None) -> Cluster | None:
    if ray is None and ray_workers is not None:
        raise click.UsageError("--ray-workers needs --ray")
    return None if ray is None else Cluster(ray, ray_workers)


ray_options = option_group(
    "cluster",
    _cluster,
    *options_of(
        Cluster,
        "Ray cluster",
        {
            "ray": "Send from a Ray cluster: auto joins the one of this machine, HOST:PORT "
            "another, local starts one.",
            "ray_workers": "Workers on the cluster, a CPU each.  [default: one a CPU, 4 at most]",
        },
        ray={"metavar": "ADDRESS"},
        ray_workers={"metavar": "N", "type": click.IntRange(min=1)},
    ),
)
