"""
Groups of options that several commands share: each group reaches the command as one typed value.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, cast

import attrs
import click

F = TypeVar("F", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option with a title in the help."""

    def __init__(self, *declarations: Any, title: str, **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self.title = title


class GroupedCommand(click.Command):
    """A command whose help lists options by title."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each title."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "title", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def options_of(
    values: type[attrs.AttrsInstance],
    title: str,
    helps: Mapping[str, str],
    *,
    env: bool = True,
    **settings: Mapping[str, Any],
) -> list[GroupedOption]:
    """
    Return options for fields of an attrs class: names, types and defaults are those of the fields.

    Args:
        values: The class.
        title: The title of the options in the help.
        helps: The help of each field that is an option.
        env: Whether a value may also come from the variable CHATMARK_<OPTION>.
        **settings: Further arguments of `click.Option` for a field; `names` are other names of it.
    """
    fields = attrs.fields_dict(values)
    options: list[GroupedOption] = []
    for name, text in helps.items():
        given: dict[str, Any] = {"help": text, **settings.get(name, {})}
        default = fields[name].default
        if default is True or default is False:
            given["is_flag"] = True
        elif isinstance(default, float | int):
            kind = click.FloatRange if isinstance(default, float) else click.IntRange
            given = {"type": kind(min=0), "default": default, "show_default": True, **given}
        if env:
            given["envvar"] = f"CHATMARK_{name.upper()}"
        names = given.pop("names", (f"--{name.replace('_', '-')}",))
        options.append(GroupedOption((*names, name), title=title, **given))
    return options


def option_group(
    name: str, build: Callable[..., object], *options: click.Option
) -> Callable[[F], F]:
    """
    Return a decorator that adds options to a command.

    Args:
        name: The argument of the command that takes the value of the group.
        build: Makes that value, given those of the options by name.
        *options: The options.
    """

    def add(command: F) -> F:
        @functools.wraps(command)
        def with_group(*args: Any, **given: Any) -> Any:
            value = build(**{str(option.name): given.pop(str(option.name)) for option in options})
            return command(*args, **{name: value}, **given)

        # click reads the options of a function there, the last one first.
        known = getattr(with_group, "__click_params__", [])
        vars(with_group)["__click_params__"] = [*known, *reversed(options)]
        return cast("F", with_group)

    return add


def refuse(option: str, reason: str) -> NoReturn:
    """Refuse the value of an option."""
    raise click.BadParameter(reason, click.get_current_context(), param_hint=option)
