"""The options of `chatmark apply`."""

import attrs

from chatmark.cli.options.access import SERVER_OR_LOCAL, Access
from chatmark.cli.options.calling import CALLING, Calling
from chatmark.cli.options.groups import option
from chatmark.cli.options.inputs import INPUTS, Inputs
from chatmark.cli.options.job import JOB
from chatmark.cli.options.ray import CLUSTER, Cluster
from chatmark.jobs.options import JobOptions


@attrs.frozen(kw_only=True)
class ApplyOptions:
    """The options of the command."""

    access: Access = SERVER_OR_LOCAL
    calling: Calling = CALLING
    inputs: Inputs = INPUTS
    job: JobOptions = JOB
    cluster: Cluster | None = CLUSTER
    dry_run: bool = option("Check the file, and send nothing.", False)
    report: str | None = option("Write a summary as JSON.", metavar="FILE")
    html: str | None = option("Write a page about the job, with a plot of it.", metavar="FILE")
    show: tuple[str, ...] = option(
        "Show this user's marks at the end.", multiple=True, metavar="USER"
    )
    quiet: bool = option("Print nothing but errors.", False, names=("-q", "--quiet"))
