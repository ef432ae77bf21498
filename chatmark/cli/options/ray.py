"""
Options of a Ray cluster.
"""

import attrs
import click

from chatmark.cli.options.groups import option_group, shared

_TITLE = "Ray cluster"


@attrs.frozen
class Cluster:
    """
    The cluster that a job runs on.

    Args:
        address: Its address.
        workers: How many workers, None for the default.
    """

    address: str
    workers: int | None


def _cluster(ray: str | None, ray_workers: int | None) -> Cluster | None:
    if ray is None and ray_workers is not None:
        raise click.UsageError("--ray-workers needs --ray")
    return None if ray is None else Cluster(ray, ray_workers)


ray_options = option_group(
    "cluster",
    _cluster,
    shared(
        _TITLE,
        "--ray",
        metavar="ADDRESS",
        help="Send from a Ray cluster: auto joins the one of this machine, HOST:PORT another, "
        "local starts one.",
    ),
    shared(
        _TITLE,
        "--ray-workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Workers on the cluster, a CPU each.  [default: one a CPU, 4 at most]",
    ),
)
