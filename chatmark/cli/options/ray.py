"""Options of a Ray cluster."""

import functools

import attrs
import click

from chatmark.cli.options.groups import group, option, options_of, refuse_given

_ray = functools.partial(option, title="Ray cluster")


@attrs.frozen
class Cluster:
    """The cluster of a job."""

    ray: str = _ray(
        "Send from a Ray cluster: auto joins the cluster of this machine, HOST:PORT joins another, "
        "local starts one.",
        metavar="ADDRESS",
    )
    ray_partitions: int | None = _ray(
        "Parts of the changes, by user; a loss costs one.  [default: 256]",
        metavar="N",
        type=click.IntRange(min=1),
    )


def _cluster(ray: str | None, ray_partitions: int | None) -> Cluster | None:
    if ray is None:
        refuse_given({"--ray-partitions": ray_partitions}, "needs --ray")
        return None
    return Cluster(ray, ray_partitions)


CLUSTER = group(_cluster, *options_of(Cluster))
