"""The command line of every flow: made from the flow's one pydantic model, the same that the UI's form shows.

Exit codes: 0 done, 2 bad input or settings, 1 anything else. With `--json` the result is one JSON object on stdout;
logs are on stderr, always.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import json
import logging
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from prefect.exceptions import Abort
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, CliSettingsSource, CliUnknownArgs, SettingsError

from flows.embedded import end_left_servers, mark_this_command, shield_server
from glaucoma.errors import ArcError, InputError
from glaucoma.settings import PresetSettings, is_by_preset

DONE, FAILED, BAD_INPUT = 0, 1, 2
_UNKNOWN = "unknown_options"
_SEE_HELP = "see --help for every setting"
_FAILED_STATE = re.compile(
    r"""(?P<before>Finished in state \w+\((?P<quote>['"]).*?\bexception:? )(?P<kind>\w+): (?P<error>.*)(?P=quote)\)""",
    re.DOTALL,
)
"""The engine writes a state's message as Python would: either quotation mark, and a line's end as two characters."""
_SHORT_CHARACTERS = 100
Show = Callable[[Any], None]


class OutputOptions(BaseModel):
    """What only the command line has."""

    config: Path | None = Field(
        default=None, description="A YAML file with any of these settings; options given here win."
    )
    json_output: bool = Field(
        default=False, alias="json", description="Print the result as one JSON object on stdout and nothing else."
    )


def main(
    flow: Callable[[Any], Any],
    config_type: type[PresetSettings],
    *,
    show: Show | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs `flow` with settings from the command line and gives the exit code.

    Args:
        flow: Takes one `config_type`; gives a pydantic model back.
        show: Prints a result for a person; the default prints its fields, one a line.
        arguments: The command line without the program's name; the process's own where absent.
    """
    try:
        config, as_json = parse(config_type, sys.argv[1:] if arguments is None else arguments)
    except InputError as error:
        return _complain(error)
    _quiet_errors()
    end_left_servers()
    mark_this_command()
    shield_server()
    try:
        result = flow(config)
    except ArcError as error:
        return _complain(error)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. The same command goes on where this one stopped.\n")
        return FAILED
    except Abort as error:  # of `tasks.own_run`: cancelled in Prefect's pages
        return _complain(error)
    except Exception as error:
        logging.getLogger("prefect.arc").debug("Unexpected error", exc_info=error)
        return _complain(error)
    if as_json:
        sys.stdout.write(json.dumps(result.model_dump(mode="json"), allow_nan=False) + "\n")
    else:
        (show or show_fields)(result)
    return DONE


def parse(config_type: type[PresetSettings], arguments: Sequence[str]) -> tuple[Any, bool]:
    """Settings from the command line over those of the `--config` file, and whether JSON is wanted.

    Raises:
        InputError: One line for each setting that is unknown, missing or out of bounds.
    """
    given = _given(config_type, arguments)
    as_json = bool(given.pop("json", False))
    file = given.pop("config", None)
    try:
        settings = _merged(_read_yaml(Path(file)), given) if file else given
        return config_type.model_validate(settings), as_json
    except ValidationError as error:
        raise InputError(explain(error), remedy=_SEE_HELP) from error


def _given(config_type: type[PresetSettings], arguments: Sequence[str]) -> dict[str, Any]:
    """What the command line says, as nested plain values that nobody has checked yet."""
    model: Any = type(
        config_type.__name__,
        (BaseSettings,),
        {
            "__doc__": config_type.__doc__,
            "__annotations__": {
                **{name: field.annotation for name, field in config_type.model_fields.items()},
                **{name: field.annotation for name, field in OutputOptions.model_fields.items()},
                _UNKNOWN: CliUnknownArgs,
            },
            **config_type.model_fields,
            **OutputOptions.model_fields,
            "model_config": ConfigDict(extra="forbid"),
        },
    )
    try:
        source = _CommandLine(
            model,
            cli_parse_args=list(arguments),
            cli_prog_name=_program(),
            cli_implicit_flags=True,
            cli_kebab_case=True,
            cli_enforce_required=False,
            cli_avoid_json=True,
            cli_hide_none_type=True,
            cli_ignore_unknown_args=True,
            formatter_class=_Help,
        )
        given = dict(source())
    except SettingsError as error:
        raise InputError(str(error), remedy=_SEE_HELP) from error
    if unknown := given.pop(_UNKNOWN, None):
        raise InputError(f"Unknown setting {unknown[0]}{_nearest(unknown[0], model)}", remedy=_SEE_HELP)
    return given


class _Help(argparse.HelpFormatter):
    """Help that begins with what must be given, and leaves the dozens of other settings to the list below."""

    def add_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], groups: Any, prefix: str | None = None
    ) -> None:
        needed = [f"{a.option_strings[-1]} {a.metavar}" for a in actions if (a.help or "").endswith("(required)")]
        words = " ".join([self._prog, *needed, "[settings]"])
        lines = textwrap.wrap(words, self._width - len("usage: "), subsequent_indent=" " * len("usage: "))
        super().add_usage("\n".join(lines).replace("%", "%%"), [], [], prefix)


class _CommandLine(CliSettingsSource[Any]):
    """pydantic-settings' command line, with choices shown as they are typed and no default where the preset decides."""

    def _metavar_format_recurse(self, obj: Any) -> str:
        if isinstance(obj, type) and issubclass(obj, Enum):
            return "{" + ",".join(str(member.value) for member in obj) + "}"
        if get_origin(obj) in (tuple, list):
            one = self._metavar_format_recurse(get_args(obj)[0])
            return f"{one},{one},.." if one.isalpha() and one != "JSON" else "[..]"
        return str(super()._metavar_format_recurse(obj))

    def _help_format(self, field_name: str, field_info: FieldInfo, *args: Any, **kwargs: Any) -> str:
        described, default = field_info.description or "", field_info.default
        if is_by_preset(field_info) or default is None or default == "":
            return described.replace("%", "%%")
        if isinstance(default, bool | Enum | tuple):
            return f"{described} (default: {_as_typed(default, field_info.annotation)})".replace("%", "%%")
        return str(super()._help_format(field_name, field_info, *args, **kwargs))


def _as_typed(value: bool | Enum | tuple[Any, ...], annotation: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Enum):
        return str(value.value)
    kind: TypeAdapter[Any] = TypeAdapter(annotation)
    return json.dumps(kind.dump_python(value, mode="json"))


def _program() -> str:
    script = Path(sys.argv[0])
    return f"python -m {script.parent.name}.{script.stem}"


def _nearest(option: str, model: type[BaseModel]) -> str:
    names = list(_options(model))
    close = difflib.get_close_matches(option.split("=")[0], names, n=3)
    return f"; the nearest: {', '.join(close)}" if close else ""


def _options(model: type[BaseModel], prefix: str = "--") -> Iterator[str]:
    for name, field in model.model_fields.items():
        shown = prefix + (field.alias or name).replace("_", "-")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _options(field.annotation, shown + ".")
        else:
            yield shown


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"The settings file {path} cannot be read: {error}", expected="a readable YAML file"
        ) from error
    if settings is not None and not isinstance(settings, dict):
        raise InputError(
            f"The settings file {path} holds a {type(settings).__name__}", expected="a mapping of settings"
        )
    return settings or {}


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        beneath = merged.get(name)
        merged[name] = _merged(beneath, value) if isinstance(value, dict) and isinstance(beneath, dict) else value
    return merged


def explain(error: ValidationError) -> str:
    """A validation error as one line for each setting: what was found there, and what pydantic expects."""
    lines = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"]) or "settings"
        found = "" if problem["type"] == "missing" else f" (found {problem['input']!r})"
        lines.append(f"{name}: {problem['msg']}{found}")
    return "; ".join(lines)


def show_fields(result: BaseModel) -> None:
    """Prints a result's plain fields, one a line."""
    for name, value in result.model_dump(mode="json").items():
        if isinstance(value, str | int | float | bool):
            sys.stdout.write(f"{name:<16} {value}\n")


def _complain(error: BaseException) -> int:
    """Says the error as the terminal's last line; listings inside it, such as a YAML error's, go on that line too."""
    kind = "Bad input" if isinstance(error, InputError) else "Failed"
    sys.stderr.write(f"{kind}: {' '.join(str(error).split()) or type(error).__name__}\n")
    return BAD_INPUT if isinstance(error, InputError) else FAILED


def _quiet_errors() -> None:
    """Keeps the engine's own words about errors that ARC raises on purpose short on the terminal, and drops tracebacks.

    Such an error is said in full once: at the end, or in the log of the flow that goes on without the failed part. The
    UI's logs and states keep all of it.
    """
    from prefect.logging.handlers import PrefectConsoleHandler

    if os.environ.get("ARC_TRACEBACKS"):
        return
    for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs"):  # the console's handler hangs at the root
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler) or type(handler) is logging.StreamHandler:
                handler.addFilter(_is_news)
                if not isinstance(handler.formatter, ShortStates):
                    handler.setFormatter(ShortStates(handler.formatter or logging.Formatter()))


def _is_news(record: logging.LogRecord) -> bool:
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, ArcError)


class ShortStates(logging.Formatter):
    """The console's formatter, with the engine's line on a failed run cut to the first sentence of an ARC error.

    A record is shared with the handler that sends it to the server, so it is never changed itself.
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        failed = _FAILED_STATE.match(message)
        if failed and failed["kind"] in _names_of_errors():
            record = copy.copy(record)
            short = f"{failed['kind']}: {_first_sentence(failed['error'])}{failed['quote']})"
            record.msg, record.args = failed["before"] + short, ()
        return self._formatter.format(record)


def _names_of_errors(kind: type[ArcError] = ArcError) -> set[str]:
    return {kind.__name__}.union(*map(_names_of_errors, kind.__subclasses__()))


def _first_sentence(text: str) -> str:
    sentence = re.split(r"(?<=\.)\s|\\n", text, maxsplit=1)[0]
    return textwrap.shorten(sentence, _SHORT_CHARACTERS, placeholder=" ..")
