"""Load a script of faults that was written as JSON."""

from typing import Any, Final

import attrs

from chatmark.emulator.faults import answers, fault, lines
from chatmark.emulator.faults.fault import Fault
from chatmark.emulator.faults.script import FaultScript
from chatmark.emulator.wire.fields import is_array, is_object

_FAULTS: Final[dict[str, type[Fault]]] = {
    name: each
    for module in (fault, answers, lines)
    for name, each in vars(module).items()
    if isinstance(each, type) and issubclass(each, Fault) and name != "NotApplied"
}
_TYPES: Final[dict[Any, Any]] = {int: int, float: int | float, str: str, bool: bool}


def load_faults(script: FaultScript, orders: object) -> None:
    """
    Add the faults of *orders*, an array of JSON, to *script*.

    Each entry is an object whose "when" names a method of `FaultScript`: next (the default),
    always, randomly or item. Its other fields are the arguments of the method; "times" repeats a
    fault of next. A fault is its name, or an object with its name and its arguments, such as
    ``{"name": "Refuse", "code": 60007}``. A conversation is an array of type and id.

    Raises:
        ValueError: It is not such an array.
    """
    if not is_array(orders):
        raise ValueError("must be a JSON array of faults")
    for number, order in enumerate(orders, 1):
        try:
            _add(script, order)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"entry {number}: {error}") from None


def _add(script: FaultScript, order: object) -> None:
    if not is_object(order):
        raise ValueError("must be an object")
    fields: dict[str, Any] = dict(order)
    when = fields.pop("when", "next")
    if when == "item":
        type_, id_ = fields.pop("conversation")
        script.item((type_, id_), **fields)
    elif when == "randomly":
        faults = [_fault(each) for each in fields.pop("faults")]
        script.randomly(fields.pop("probability"), [each for each in faults if each], **fields)
    elif when == "always":
        script.always(_fault(fields.pop("fault")), **fields)
    elif when == "next":
        script.next(*[_fault(fields.pop("fault"))] * fields.pop("times", 1), **fields)
    else:
        raise ValueError(f"when must be next, always, randomly or item, not {when!r}")


def _fault(raw: object) -> Fault | None:
    """Return the fault that JSON names, None for none."""
    if raw is None:
        return None
    fields: dict[str, Any] = dict(raw) if is_object(raw) else {"name": raw}
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in _FAULTS:
        raise ValueError(f"{name!r} is not a fault; the faults are {', '.join(sorted(_FAULTS))}")
    if "then" in fields:
        fields["then"] = _fault(fields["then"])
    if isinstance(fields.get("body"), str):
        fields["body"] = fields["body"].encode()
    if "conversations" in fields:
        fields["conversations"] = [(type_, id_) for type_, id_ in fields["conversations"]]
    for field in attrs.fields(attrs.resolve_types(_FAULTS[name])):
        kind, value = _TYPES.get(field.type), fields.get(field.alias)
        if kind and field.alias in fields and not isinstance(value, kind):
            raise ValueError(f"{field.alias} of {name} must be a {field.type.__name__}")
    return _FAULTS[name](**fields)
