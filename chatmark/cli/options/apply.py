"""The options of the commands that send changes."""

import attrs

from chatmark.cli.options.access import SERVER_OR_LOCAL, Access
from chatmark.cli.options.calling import CALLING, Calling
from chatmark.cli.options.groups import option, refuse_given
from chatmark.cli.options.inputs import INPUTS, Inputs
from chatmark.cli.options.job import JOB
from chatmark.cli.options.ray import CLUSTER, Cluster
from chatmark.cli.options.target import Target
from chatmark.conversations import check_id
from chatmark.jobs.options import JobOptions
from chatmark.limits import MAX_USER_ID_BYTES


@attrs.frozen(kw_only=True)
class SendingOptions:
    """The options of all these commands."""

    access: Access = SERVER_OR_LOCAL
    calling: Calling = CALLING
    job: JobOptions = JOB
    dry_run: bool = option("Check everything, and send nothing.", False)
    report: str | None = option("Write a summary as JSON.", title="Output", metavar="FILE")
    html: str | None = option(
        "Write a page about the job, with a plot of it.", title="Output", metavar="FILE"
    )
    as_json: bool = option("Print the summary as JSON.", False, title="Output", names=["--json"])
    show: tuple[str, ...] = option(
        "Show this user's marks at the end.", title="Output", multiple=True, metavar="USER"
    )
    quiet: bool = option(
        "Print nothing but errors.", False, title="Output", names=("-q", "--quiet")
    )

    @property
    def outputs(self) -> dict[str, str | None]:
        """The path of each output by its option."""
        return {
            "--report": self.report,
            "--html": self.html,
            "--journal": self.job.journal,
            "--failed": self.job.failed,
            "--undo": self.job.undo,
        }

    def target(self) -> Target | None:
        """Return the server, None with --dry-run; refuse options that do not fit."""
        for user in self.show:
            check_id("show", user, MAX_USER_ID_BYTES)
        if self.dry_run:
            return None
        target = self.access.target()
        if not target.name:
            refuse_given({"--journal": self.job.journal}, "needs another server than --local")
        return target


@attrs.frozen(kw_only=True)
class ApplyOptions(SendingOptions):
    """The options of `chatmark apply`."""

    inputs: Inputs = INPUTS
    cluster: Cluster | None = CLUSTER
