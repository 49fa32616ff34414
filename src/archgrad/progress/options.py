"""Command-line options made from the fields of a configuration section. Imports no torch."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from typer.core import TyperCommand

from archgrad.errors import ArchgradError
from archgrad.settings.config import FILLED_IN
from archgrad.settings.presets import PRESETS
from archgrad.settings.text_config import TextOptions

Given = dict[str, dict[str, Any]]  # section -> the options that were given explicitly
TITLES = {
    "data": "Data", "search": "Search", "train": "Retraining", "compare": "Comparison",
    "pool": "Where searches run",
}  # fmt: skip


class Grouped(TyperCommand):
    """A command whose help lists options by what they are about: its own first, text last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options, a heading a group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        text = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            section, _, field = (param.name or "").partition("__")
            if record is None:
                continue
            if field in TextOptions.model_fields:
                text.append(record)
            elif param.param_type_name == "argument":
                groups["Arguments"].append(record)
            else:
                groups.setdefault(TITLES[section] if field else "Options", []).append(record)
        for title, records in {**groups, "Language models": text}.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def with_options(
    sections: Mapping[str, tuple[type[BaseModel], str]],
    without: Collection[str] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option a field of the sections; it gets those given as `given`.

    `sections`: name -> (class, prefix of its option names); `without`: fields that are no
    options of this command, as "search.method".
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "given"
        ]
        made = {
            f"{name}__{field}": _option(section, name, field, prefix)
            for name, (section, prefix) in sections.items()
            for field in section.model_fields
            if field not in FILLED_IN and f"{name}.{field}" not in without
        }

        def wrapper(**values: Any) -> None:
            given: Given = {name: {} for name in sections}
            for key in made:
                value = values.pop(key)
                if value is not None and value != []:
                    name, field = key.split("__")
                    given[name][field] = _pairs(value) if field == "method_options" else value
            command(given=given, **values)

        parameters = own + list(made.values())
        wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        )
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        return wrapper

    return decorate


def _option(section: type[BaseModel], name: str, field: str, prefix: str) -> inspect.Parameter:
    info = section.model_fields[field]
    kind = _plain(info.annotation)
    default = info.get_default(call_default_factory=True)
    shown = "" if default is None or default == {} else _text(default)
    for data, sections in PRESETS.items():
        if field in sections.get(name, {}):
            shown += f"; {data}: {_text(sections[name][field])}"
    flag = "--" + prefix + field.replace("_", "-")
    if field == "method_options":
        flag, kind = "--method-option", list[str]
    if kind is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    shown = shown.removeprefix("; ")  # without a default of all
    help_text = (info.description or "") + (f" [{shown}]" if shown else "")
    option = typer.Option(None, flag, help=help_text, show_default=False)
    return inspect.Parameter(
        f"{name}__{field}",
        inspect.Parameter.KEYWORD_ONLY,
        default=option,
        annotation=kind | None,
    )


def _plain(annotation: Any) -> Any:
    """The type without an optional None."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(a for a in get_args(annotation) if a is not type(None))
    return annotation


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _pairs(texts: list[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dict."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise ArchgradError(f'--method-option: found "{text}", expected KEY=VALUE')
        pairs[key] = value
    return pairs
