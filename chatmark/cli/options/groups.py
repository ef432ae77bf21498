"""
Groups of options that several commands share: each group reaches the command as one typed value.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar, cast

import attrs
import click

F = TypeVar("F", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """
    An option that stands under a title in the help.
    """

    def __init__(self, *declarations: Any, title: str, **settings: Any) -> None:
        super().__init__(*declarations, **settings)
        self.title = title


class GroupedCommand(click.Command):
    """
    A command whose help lists options by title.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """
        Write a section for each title.
        """
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "title", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


@attrs.frozen
class SharedOption:
    """
    An option of a group, not yet part of a command.
    """

    declarations: Sequence[str]
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """
        The name of its value.
        """
        return str(click.Option(self.declarations).name)


def shared(title: str, *declarations: str, env: bool = True, **settings: Any) -> SharedOption:
    """
    Return an option; its value may also come from the variable CHATMARK_<OPTION>.
    """
    if env:
        variable = declarations[0].removeprefix("--").upper().replace("-", "_")
        settings["envvar"] = f"CHATMARK_{variable}"
    if "default" in settings:
        settings.setdefault("show_default", True)
    return SharedOption(declarations, {"cls": GroupedOption, "title": title, **settings})


def option_group(
    name: str, build: Callable[..., object], *options: SharedOption
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
            value = build(**{option.name: given.pop(option.name) for option in options})
            return command(*args, **{name: value}, **given)

        wrapped = cast("F", with_group)
        for option in reversed(options):
            wrapped = click.option(*option.declarations, **option.settings)(wrapped)
        return wrapped

    return add


def refuse(option: str, reason: str) -> NoReturn:
    """
    Refuse the value of an option.
    """
    raise click.BadParameter(reason, click.get_current_context(), param_hint=option)
