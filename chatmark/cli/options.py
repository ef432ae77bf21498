"""Options as typed values: the fields of an attrs class declare the options of a command."""

import functools
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NoReturn, final

import attrs
import click

from chatmark import InputError, MarkNames
from chatmark.cli import terminal

_DECLARED: Final = "chatmark.option"
# The secrets are not options; the others are those that most environments have.
_OTHER_VARIABLES: Final = frozenset(
    f"CHATMARK_{name}"
    for name in ("SECRET_KEY", "USERSIG", "SDKAPPID", "IDENTIFIER", "REGION", "BASE_URL")
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


@final
@attrs.frozen
class _Group:
    make: Callable[..., object]
    options: tuple[Option, ...]


def option(text: str, default: object = None, metavar: str | None = None, **settings: Any) -> Any:
    make = functools.partial(Option, text=text, default=default, metavar=metavar, **settings)
    return attrs.field(default=default, metadata={_DECLARED: make})


file_option = functools.partial(option, metavar="FILE")


def group(make: Callable[..., object], *options: Option) -> Any:
    return attrs.field(metadata={_DECLARED: _Group(make, options)})


def _declared_in(values: type[attrs.AttrsInstance]) -> dict[str, Callable[[str], Option] | _Group]:
    fields = attrs.fields(values)
    return {each.name: each.metadata[_DECLARED] for each in fields if _DECLARED in each.metadata}


def options_of(values: type[attrs.AttrsInstance], *only: str) -> list[Option]:
    found: list[Option] = []
    for name, declared in _declared_in(values).items():
        if isinstance(declared, _Group):
            found += declared.options
        elif not only or name in only:
            found.append(declared(name))
    return found


@attrs.frozen
class Logging:
    log_format: object = option(
        "The form of messages: json is an object a line, with time, level, phase and target.",
        type=click.Choice(["text", "json"]),
        expose_value=False,
        is_eager=True,
        callback=terminal.set_log_format,
    )
    verbose: object = option(
        "Write what the library does; twice, every request.",
        names=("-v", "--verbose"),
        count=True,
        expose_value=False,
        callback=terminal.set_verbosity,
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
        params = [*params, *options_of(options), *options_of(Logging)]
        # `python -OO` drops docstrings.
        settings["help"] = getattr(options, "HELP", None) or settings["help"]
        super().__init__(name, params=params, **settings)
        self._options = options

    def invoke(self, ctx: click.Context) -> object:
        _warn_of_unknown_variables(ctx)
        given, values = ctx.params, dict[str, object]()
        for name, declared in _declared_in(self._options).items():
            if isinstance(declared, _Group):
                members = {each.field: given.pop(each.field) for each in declared.options}
                values[name] = declared.make(**members)
            else:
                values[name] = given.pop(name)
        given["options"] = self._options(**values)
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


def read_names(names: Sequence[str], names_file: str | None) -> MarkNames:
    """Return the names of a file and of the command line, which overrides the file."""
    known: dict[str, int] = {}
    if names_file is not None:
        try:
            text = pathlib.Path(names_file).read_text("utf-8-sig")
            known |= MarkNames.from_toml(text).own
        except UnicodeDecodeError:
            refuse("--names-file", f"{names_file} must be UTF-8 text")
        except InputError as error:
            refuse("--names-file", f"{names_file}: {error.reason}")
    for name, bit in read_pairs("--names", "NAME=BIT", names).items():
        if not (bit.isascii() and bit.isdigit()):
            refuse("--names", f"'{name}={bit}' must be NAME=BIT")
        known[name] = int(bit)
    try:
        return MarkNames(**known)
    except InputError as error:
        refuse("--names", error.reason)


_name = functools.partial(Option, title="Names of marks")
NAME_OPTIONS: Final = (
    _name("names", "Your name for a bit, such as vip=32. Repeatable.", (), metavar="NAME=BIT"),
    _name("names_file", "A TOML file of names, in its table [marks]: vip = 32.", metavar="FILE"),
)
NAMES: Any = group(read_names, *NAME_OPTIONS)
