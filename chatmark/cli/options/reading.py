"""Options of the commands that read many users from a server."""

import attrs

from chatmark.cli.options.access import SERVER, Access
from chatmark.cli.options.calling import CALLING, Calling
from chatmark.cli.options.groups import option
from chatmark.cli.options.inputs import INPUTS, Inputs


@attrs.frozen(kw_only=True)
class ReadingOptions:
    """The options of all these commands."""

    access: Access = SERVER
    calling: Calling = CALLING
    quiet: bool = option("Print nothing but results and errors.", False, names=["-q", "--quiet"])


@attrs.frozen(kw_only=True)
class ComparingOptions(ReadingOptions):
    """The options of the commands that compare a file with the server."""

    inputs: Inputs = INPUTS
    as_json: bool = option("Print the result as JSON.", False, names=["--json"])
