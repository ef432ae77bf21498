"""Options as typed values: the fields of an attrs class declare the options of a command."""

import functools
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NoReturn

import attrs
import click

from chatmark import InputError, MarkNames
from chatmark.cli import terminal

_DECLARED: Final = "chatmark.option"
_NAMES: Final = "Names of marks"
# Secrets and hosts are not options; the others are those that most environments have.
_OTHER_VARIABLES: Final = frozenset(
    f"CHATMARK_{name}"
    for name in (
        *("SECRET_KEY", "USERSIG", "HTTP_HOSTS"),
        *("SDKAPPID", "IDENTIFIER", "REGION", "BASE_URL"),
    )
)


class Option(click.Option):
    """An option for a field; its default decides the type: a flag, a number from 0, or several."""

    def __init__(
        self,
        name: str,
        text: str,
        default: object = None,
        *,
        title: str = "Options",
        names: Collection[str] = (),
        **settings: Any,
    ) -> None:
        if isinstance(default, bool):
            settings["is_flag"] = True
        elif default == ():
            settings["multiple"] = True
        elif default is not None:
            settings = {"default": default, "show_default": True, **settings}
            if not isinstance(default, str):
                kind = click.FloatRange if isinstance(default, float) else click.IntRange
                settings.setdefault("type", kind(min=0))
        names = names or (f"--{name.replace('_', '-')}",)
        variable = max(names, key=len).strip("-").replace("-", "_").upper()
        super().__init__((*names, name), help=text, envvar=f"CHATMARK_{variable}", **settings)
        self.field, self.title = name, title


def declare(text: str, metavar: str | None = None, **settings: Any) -> functools.partial[Option]:
    """Declare an option, which gets its name and its default from a field."""
    return functools.partial(Option, text=text, metavar=metavar, **settings)


def option(text: str, default: object = None, metavar: str | None = None, **settings: Any) -> Any:
    declared = declare(text, metavar, **settings)
    # A URL may hold a password.
    return attrs.field(default=default, repr=False, metadata={_DECLARED: declared})


file_option = functools.partial(option, metavar="FILE")
json_option = functools.partial(option, default=False, names=["--json"])
quiet_option = functools.partial(option, default=False, names=["-q", "--quiet"])


def options_of(values: type[attrs.AttrsInstance]) -> list[Option]:
    """Return the options of a class; its INHERITED declares those of fields of other bases."""
    inherited = getattr(values, "INHERITED", {})
    declared = (
        (each, each.metadata.get(_DECLARED, inherited.get(each.name)))
        for each in attrs.fields(values)
    )
    return [make(each.name, default=each.default) for each, make in declared if make is not None]


LOGGING: Final = (
    Option(
        "log_format",
        "The form of messages: json is an object a line, with time, level, phase and target.",
        type=click.Choice(["text", "json"]),
        expose_value=False,
        is_eager=True,
        callback=terminal.set_log_format,
    ),
    Option(
        "verbose",
        "Write what the library does; twice, every request.",
        names=("-v", "--verbose"),
        count=True,
        expose_value=False,
        callback=terminal.set_verbosity,
    ),
)


class Command(click.Command):
    """A command that gets an attrs class of options; its help has a section for each title."""

    def __init__(
        self,
        name: str | None,
        options: type[attrs.AttrsInstance],
        params: Sequence[click.Parameter] = (),
        **settings: Any,
    ) -> None:
        self._own, self._values = options_of(options), options
        super().__init__(name, params=[*params, *self._own, *LOGGING], **settings)

    def invoke(self, ctx: click.Context) -> object:
        _warn_of_unknown_variables(ctx)
        own = {each.field: ctx.params.pop(each.field) for each in self._own}
        ctx.params["options"] = self._values(**own)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "title", "Options"), []).append(record)
        # The untitled options are last.
        for title in sorted(sections, key=lambda title: title == "Options"):
            with formatter.section(title):
                formatter.write_dl(sections[title])


def command(options: type[attrs.AttrsInstance], text: str) -> Callable[..., Command]:
    """Return a decorator that makes a function a command with these options and this help."""
    # The decorator of click, because `python -OO` drops docstrings.
    return click.command(cls=Command, options=options, help=text)


def _warn_of_unknown_variables(ctx: click.Context) -> None:
    # CHATMARK_DRYRUN would have no effect, and no message would say so.
    unknown = {name for name in os.environ if name.startswith("CHATMARK_")} - _OTHER_VARIABLES
    group = ctx.find_root().command
    if unknown and isinstance(group, click.Group):
        commands = [group.get_command(ctx, name) for name in group.list_commands(ctx)]
        unknown -= {str(each.envvar) for command in commands if command for each in command.params}
    for name in sorted(unknown):
        terminal.warn(f"the variable {name} has no effect: there is no such option")


def refuse_usage(reason: str) -> NoReturn:
    raise click.UsageError(reason, click.get_current_context())


def refuse_given(options: Mapping[str, object], reason: str) -> None:
    for name, value in options.items():
        if value not in (None, False, ()):
            refuse_usage(f"{name} {reason}")


def refuse(option: str, reason: str) -> NoReturn:
    raise click.BadParameter(reason, click.get_current_context(), param_hint=option)


def read_pairs(option: str, form: str, values: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        first, sign, second = value.partition("=")
        if not (first and sign and second):
            refuse(option, f"{value!r} must be {form}")
        if first in pairs:
            refuse(option, f"give {first!r} once")
        pairs[first] = second
    return pairs


def _read_names(ctx: click.Context, _: object, names: Sequence[str]) -> MarkNames:
    """Return the names of a file and of the command line, which overrides the file."""
    known: dict[str, int] = {}
    if (path := ctx.params["names_file"]) is not None:
        try:
            known |= MarkNames.from_toml(pathlib.Path(path).read_text("utf-8-sig")).own
        except UnicodeDecodeError:
            refuse("--names-file", f"{path} must be UTF-8 text")
        except InputError as error:
            refuse("--names-file", f"{path}: {error.reason}")
    for name, bit in read_pairs("--names", "NAME=BIT", names).items():
        if not (bit.isascii() and bit.isdigit()):
            refuse("--names", f"'{name}={bit}' must be NAME=BIT")
        known[name] = int(bit)
    return MarkNames(**known)


# Without slots, because a class of options has several bases.
@attrs.frozen(kw_only=True, slots=False)
class Names:
    names: MarkNames = option(
        "Your name for a bit, such as vip=32. Repeatable.",
        (),
        "NAME=BIT",
        title=_NAMES,
        callback=_read_names,
    )
    names_file: str | None = option(
        "A TOML file of names, in its table [marks]: vip = 32.",
        metavar="FILE",
        title=_NAMES,
        is_eager=True,
    )
