"""The parts of pages that are made from the package: its names, its commands, its codes."""

import enum
import importlib
import inspect
from collections.abc import Iterator
from typing import Any, Final

import click

from chatmark.cli.app import chatmark as commands_of_chatmark
from chatmark.codes import CODES
from chatmark.jobs import Accounts, JobReport

# The names of `chatmark` by subject; others follow under "More".
_SUBJECTS: Final = {
    "The session": ("MarkSession", "MarkHandle", "Credentials", "Region"),
    "Changes": ("MarkChange", "Conversation", "ConversationType", "OptType", "Changes"),
    "Marks": ("ConversationMark", "MarkNames"),
    "Results": ("MarkResult", "MarkReport", "MarkedConversation", "MarkedPage"),
    "The pace": ("CallBudget", "Budget", "Permit", "CallOutcome"),
    "Watching": (
        *("SessionStats", "Hook", "Event", "RequestEnded", "RetryPlanned", "Paused"),
        *("ChangesSettled", "SignatureRenewed", "redact_url"),
    ),
    "UserSig": ("make_usersig", "read_usersig", "UserSigContent"),
}
#: The public modules; `chatmark` has its own page.
MODULES: Final = ("jobs", "emulator", "testing", "redis", "otel", "cattrs", "ray")

#: The keys of a job's report.
REPORT: Final = {
    "schema": "the version of these keys",
    "job": "the id of the job, the same in each of its runs",
    "version": "the version of chatmark",
    "command": "the command, without secrets",
    "target": "the application and the server",
    "application": "the SDKAppID",
    "input": "the name of the input",
    "file": "the name of the input",
    "ok": "true if everything in the input took effect; the exit status is 0 then",
    "interrupted": "true if a signal or the caller stopped the job before its end",
    "stopped": "the error that stopped it, in words, or null",
    "bad_row": "the row of standard input that ended it, with its fault, or null",
    "rows": "rows read",
    "conversations": "conversations that the rows are about; 0 for standard input",
    "changes": "changes in the rows: a row in the vendor's own form may have a hundred",
    "applied": "changes that took effect",
    "unchanged": "changes that the server had already (`--skip-unchanged`)",
    "refused": "changes that the server refused",
    "set_aside": "rows that cannot be applied (`--max-errors`)",
    "unconfirmed": "changes that were sent, and no answer says whether they took effect",
    "not_sent": "changes that the job did not come to",
    "balanced": "true: each change is counted exactly once",
    "failures_by_code": "changes that failed, by code; `unconfirmed` for those without one",
    "refused_by_code": "refused changes: `code`, `count`, `meaning` and `advice` of each code",
    "calls": "requests of this run until all changes were sent, retries among them",
    "items_sent": "conversations in those requests",
    "retries": "conversations sent again, counted each time",
    "retries_by_reason": "the same by code, HTTP status or kind of network fault",
    "pauses": "how often the server asked to slow down",
    "paused_seconds": "for how many seconds in all; null if unknown",
    "started_at": "start of this run, ISO 8601, UTC",
    "ended_at": "end of this run, ISO 8601, UTC",
    "elapsed_seconds": "seconds of this run until all changes were sent",
    "phases": "each phase (check, group, read, send, verify) with its count, seconds and calls",
    "read_back_calls": "calls of `--verify`",
    "read_back_seconds": "seconds of `--verify`",
    "by_hour": "`from`, `seconds`, `applied`, `failed`, `calls` and `retries` of each hour",
    "earlier_runs": "sums of the earlier runs of the same journal, or null",
    "journal": "the path of the journal; null if there is none any more",
    "undo": "the path of the rows that bring back what was (`--undo`), or null",
    "failures": "the first failures: the fields of a row, `code`, `info`, `attempts`, `error`, "
    "`line`, `rows`",
    "read_back": "the result of `--verify`: `conversations`, `differing`, `cleared_by_clients`, "
    "`unread`, `differences`, `errors`; or null",
}


def packages() -> str:
    """Return the reference of all other public modules."""
    parts: list[str] = []
    for name in MODULES:
        module = f"chatmark.{name}"
        parts += [f"## {module}", "", "```{eval-rst}", f".. automodule:: {module}"]
        parts += ["   :no-members:", "```", "", names(module, "###")]
    return "\n".join(parts)


def names(module: str, level: str = "##") -> str:
    """Return the reference of a public module: every name with its docstring."""
    package = importlib.import_module(module)
    public = public_names(package)
    subjects = dict(_SUBJECTS) if module == "chatmark" else {}
    listed = {name for each in subjects.values() for name in each}
    rest = [name for name in public if name not in listed]
    errors = [name for name in rest if _is_error(getattr(package, name))]
    others = [name for name in rest if name not in errors]
    if module == "chatmark":
        subjects |= {"More": tuple(others), "Errors": tuple(errors)}
    else:
        subjects = {"": tuple(others + errors)}
    lines: list[str] = []
    for title, members in subjects.items():
        present = [name for name in members if name in public]
        if present:
            # A module without errors needs no headings.
            lines += [] if len(subjects) == 1 else [f"{level} {title}", ""]
            lines += ["```{eval-rst}"]
            lines += [line for name in present for line in _directive(package, module, name)]
            lines += ["```", ""]
    return "\n".join(lines)


def public_names(package: Any) -> list[str]:
    """Return the public names of a module: its `__all__`, else what it defines itself."""
    declared = getattr(package, "__all__", None)
    if declared is not None:
        return list(declared)
    return [
        name
        for name, value in vars(package).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == package.__name__
    ]


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def _directive(package: Any, module: str, name: str) -> Iterator[str]:
    value = getattr(package, name)
    kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
    if hasattr(value, "_pytestfixturefunction") or "Fixture" in type(value).__name__:
        # A fixture is documented as what it gives.
        yield f".. py:function:: {name}"
        yield ""
        yield from (f"   {line}" for line in inspect.cleandoc(value.__doc__ or "").splitlines())
    elif kind == "data":
        yield f".. py:data:: {module}.{name}"
        yield ""
        yield f"   ``{value}``".replace("chatmark.", "")
    else:
        yield f".. auto{kind}:: {module}.{name}"
        if _is_error(value):
            yield "   :show-inheritance:"
        yield ""
        if isinstance(value, enum.EnumType):
            members = ", ".join(f"``{member}``" for member in value.__members__)
            yield from (f"   Members: {members}.", "")
        for member, each in _members(value).items():
            kind = "property" if isinstance(each, property) else "method"
            yield from (f"   .. auto{kind}:: {module}.{name}.{member}", "")
    yield ""


def _members(value: object) -> dict[str, object]:
    """Return the documented public attributes of a class, in the order of its source."""
    if not inspect.isclass(value):
        return {}
    # A public class may have a base that is not.
    own = [
        kind for kind in value.__mro__ if kind is value or kind.__module__.startswith("chatmark.")
    ]
    return {
        name: member
        for kind in own
        for name, member in list(vars(kind).items())
        if not name.startswith("_")
        and (callable(member) or isinstance(member, property | classmethod | staticmethod))
        and inspect.getdoc(member)
    }


def commands() -> str:
    """Return every command with its help and its options, as the command line has them."""
    context = click.Context(commands_of_chatmark, info_name="chatmark")
    return "\n".join(_command(commands_of_chatmark, context))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    if context.parent is not None:
        yield f"{'#' * (1 + context.command_path.count(' '))} {context.command_path}"
        yield ""
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```text", f"{context.command_path} {usage}", "```", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield from (_escaped(" ".join(paragraph.split())), "")
    if context.parent is not None and not isinstance(command, click.Group):
        yield from _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _command(child, click.Context(child, context, info_name=name))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [each for each in command.params if isinstance(each, click.Option)]
    if not options:
        return
    # Two columns fit a phone.
    yield from ("| option, and its variable | meaning |", "| --- | --- |")
    for each in options:
        record = each.get_help_record(context)
        if record is None:
            continue
        extra = each.get_help_extra(context)
        default = extra.get("default", "")
        notes = [f"Default: {default}."] if default else []
        if extra.get("range"):
            notes.append(f"Range: {extra['range']}.")
        names = [record[0], each.envvar] if isinstance(each.envvar, str) else [record[0]]
        option = "<br>".join(_cell(f"`{name}`") for name in names)
        yield f"| {option} | {_cell(' '.join([each.help or '', *notes]))} |"
    yield ""


def report() -> str:
    """Return every key of the report of a job with its meaning."""
    lines = ["| key | is |", "| --- | --- |"]
    lines += [
        f"| `{key}` | {REPORT.get(key, '')} |"
        for key in JobReport(file="", rows=0, accounts=Accounts()).document()
    ]
    return "\n".join(lines)


def codes() -> str:
    """Return every code of the vendor that chatmark knows, with its handling."""
    lines = ["| code | meaning | chatmark | advice | page |", "| --- | --- | --- | --- | --- |"]
    for number, row in sorted(CODES.items()):
        texts = map(_cell, (row.meaning, row.handling.value, row.advice))
        lines.append(f"| {number} | {' | '.join(texts)} | [page]({row.page}) |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", r"\*").replace("_", r"\_")


def _cell(text: str) -> str:
    if not text.startswith("`"):
        text = _escaped(text)
    return text.replace("|", r"\|").replace("\n", " ")
