"""Options as typed values: the fields of an attrs class declare the options of a command."""

import functools
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NoReturn, TypeVar, cast

import attrs
import click

from chatmark.cli.render import log

F = TypeVar("F", bound=Callable[..., Any])
Make = Callable[..., object]
# The function that makes the value of a group, and the options of the group.
_Group = tuple[Make, Collection[click.Option]]

_DECLARED: Final = "chatmark.option"
# The secrets are not options; the others are those that most environments have.
_OTHER_VARIABLES: Final = frozenset(
    f"CHATMARK_{name}"
    for name in ("SECRET_KEY", "USERSIG", "SDKAPPID", "IDENTIFIER", "REGION", "BASE_URL")
)


class GroupedOption(click.Option):
    """An option with the title of its section in the help."""

    def __init__(self, *declarations: Any, title: str, **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self.title = title


def logging_options() -> list[click.Option]:
    """Return the options that every command has."""
    return [
        click_option(
            "log_format",
            "How lines on standard error are written: json is an object a line, with its time, "
            "level, phase and target.",
            None,
            type=click.Choice(["text", "json"]),
            expose_value=False,
            is_eager=True,
            callback=log.set_format,
        ),
        click_option(
            "verbose",
            "Write what the library does; twice, every request.",
            None,
            names=("-v", "--verbose"),
            count=True,
            expose_value=False,
            callback=log.set_verbosity,
        ),
    ]


class GroupedCommand(click.Command):
    """A command whose help has a section for each title."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += logging_options()

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        _warn_of_unknown_variables(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, the untitled options last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "title", "Options"), []).append(record)
        for title in sorted(sections, key=lambda title: title == "Options"):
            with formatter.section(title):
                formatter.write_dl(sections[title])


def _warn_of_unknown_variables(ctx: click.Context) -> None:
    """Warn of variables that no option reads, such as CHATMARK_DRYRUN."""
    unknown = {name for name in os.environ if name.startswith("CHATMARK_")} - _OTHER_VARIABLES
    group = ctx.find_root().command
    if unknown and isinstance(group, click.Group):
        commands = [group.get_command(ctx, name) for name in group.list_commands(ctx)]
        unknown -= {str(each.envvar) for command in commands if command for each in command.params}
    for name in sorted(unknown):
        log.warn(f"the variable {name} has no effect: there is no such option")


def click_option(
    name: str,
    text: str,
    default: object,
    *,
    title: str = "Options",
    names: Collection[str] = (),
    **settings: Any,
) -> GroupedOption:
    """Return an option of click; its default decides the type: a flag, or a number from 0."""
    if isinstance(default, bool):
        settings["is_flag"] = True
    elif isinstance(default, float | int):
        kind = click.FloatRange if isinstance(default, float) else click.IntRange
        settings = {"type": kind(min=0), "default": default, "show_default": True, **settings}
    elif isinstance(default, str):
        settings = {"default": default, "show_default": True, **settings}
    names = names or (f"--{name.replace('_', '-')}",)
    *_, longest = sorted(names, key=len)
    settings["envvar"] = f"CHATMARK_{longest.strip('-').replace('-', '_').upper()}"
    return GroupedOption((*names, name), title=title, help=text, **settings)


def option(text: str, default: object = None, *, secret: bool = False, **settings: Any) -> Any:
    """Return a field of an attrs class that is an option; see `click_option`."""
    declared = {"text": text, "default": default, **settings}
    return attrs.field(default=default, repr=not secret, metadata={_DECLARED: declared})


file_option = functools.partial(option, metavar="FILE")


def group(make: Make, *options: click.Option) -> Any:
    """Return a field that *make* makes of the options, by default those of its own fields."""
    members = options or tuple(options_of(cast("Any", make)))
    return attrs.field(metadata={_DECLARED: (make, members)})


def options_of(values: type[attrs.AttrsInstance], only: Collection[str] = ()) -> list[click.Option]:
    """Return the options of the fields of a class, or *only* of some fields."""
    found: list[click.Option] = []
    for field in attrs.fields(values):
        declared = field.metadata.get(_DECLARED)
        if isinstance(declared, tuple):
            found += cast("tuple[Any, list[click.Option]]", declared)[1]
        elif declared is not None and (not only or field.name in only):
            found.append(click_option(field.name, **declared))
    return found


def takes_options(values: type[attrs.AttrsInstance]) -> Callable[[F], F]:
    """Return a decorator that gives a command the options of a class, as the argument `options`."""
    members = options_of(values)
    groups: dict[str, _Group] = {
        field.name: declared
        for field in attrs.fields(values)
        if isinstance(declared := field.metadata.get(_DECLARED), tuple)
    }

    def add(command: F) -> F:
        @functools.wraps(command)
        def with_options(*args: Any, **given: Any) -> Any:
            own = {str(each.name): given.pop(str(each.name)) for each in members}
            made = {
                name: make(**{str(each.name): own.pop(str(each.name)) for each in options})
                for name, (make, options) in groups.items()
            }
            return command(*args, options=values(**own, **made), **given)

        # click reads the options of a function there, the last one first.
        known = getattr(with_options, "__click_params__", [])
        vars(with_options)["__click_params__"] = [*known, *reversed(members)]
        return cast("F", with_options)

    return add


def refuse_usage(reason: str) -> NoReturn:
    """Refuse the command as it was given."""
    raise click.UsageError(reason, click.get_current_context())


def refuse_given(options: Mapping[str, object], reason: str) -> None:
    """Refuse the options that are given: those with a value."""
    for name, value in options.items():
        if value not in (None, False, ()):
            refuse_usage(f"{name} {reason}")


def refuse(option: str, reason: str) -> NoReturn:
    """Refuse the value of an option."""
    raise click.BadParameter(reason, click.get_current_context(), param_hint=option)
