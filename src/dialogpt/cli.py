"""The command line: each command fills one configuration dataclass and calls one library function.

Options are read off the dataclass: a field's name, type, default and `Annotated` help. Precedence: default < --config
file (TOML) < flag. Results go to stdout, everything else to stderr. Exit codes: 0, 1 an error, 2 usage, 130 Ctrl-C.
"""

import dataclasses
import logging
import os
import sys
import types
import typing
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import msgspec

from dialogpt import __version__
from dialogpt.errors import DataError, DialoGPTError, UsageError, did_you_mean, is_out_of_memory, needs_torch
from dialogpt.logs import set_up_logging
from dialogpt.process import leave, prepare

OF_ALL = ("--debug", "--quiet", "-q", "--version")  # options of `dialogpt` itself


class Command(NamedTuple):
    """Where a command's configuration and function are, and which field is the positional argument.

    Options named in `lists` take all the words up to the next option: `--refs a b c`.
    """

    config: str
    function: str
    argument: str
    quiet: bool = False
    optional: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


COMMANDS = {
    "extract": Command("dialogpt.data:ExtractConfig", "dialogpt.data.extract:extract", "dumps"),
    "import": Command("dialogpt.data:ImportConfig", "dialogpt.data.importing:import_files", "files"),
    "mix": Command("dialogpt.data:MixConfig", "dialogpt.data.mixing:mix", "mixture"),
    "references": Command("dialogpt.data:ReferencesConfig", "dialogpt.data.references:references", "dumps"),
    "preferences": Command("dialogpt.data:PreferencesConfig", "dialogpt.data.preferences:preferences", "dumps"),
    "tokenizer": Command(
        "dialogpt.tokens:TokenizerConfig", "dialogpt.tokens.bpe:make_tokenizer", "sessions", optional=("sessions",)
    ),
    "tokenize": Command("dialogpt.tokens:TokenizeConfig", "dialogpt.tokens.shards:tokenize", "sessions"),
    "train": Command("dialogpt.train:TrainConfig", "dialogpt.train.loop:train", "shards"),
    "generate": Command("dialogpt.decoding:GenerateConfig", "dialogpt.decoding.generate:generate", "contexts"),
    "evaluate": Command(
        "dialogpt.evaluation:EvaluateConfig",
        "dialogpt.evaluation.evaluate:evaluate",
        "hyps",
        lists=("refs", "metrics", "models"),
    ),
    "select": Command(
        "dialogpt.evaluation:SelectConfig",
        "dialogpt.evaluation.selection:select",
        "refs",
        lists=("models", "backward", "rankers"),
    ),
    "judge": Command(
        "dialogpt.evaluation.human:JudgeConfig",
        "dialogpt.evaluation.human.judge:judge",
        "study",
        lists=("hyps", "refs", "criteria", "names"),
    ),
    "judge report": Command(
        "dialogpt.evaluation.human:JudgeReportConfig",
        "dialogpt.evaluation.human.report:report",
        "study",
        lists=("hyps", "refs", "metrics"),
    ),
    "chat": Command("dialogpt.chat:ChatConfig", "dialogpt.chat.terminal:chat", "model", quiet=True),
    "conversations": Command(
        "dialogpt.chat:ConversationsConfig", "dialogpt.chat.conversations:conversations", "search", optional=("search",)
    ),
    "serve": Command("dialogpt.chat.serving:ServeConfig", "dialogpt.chat.serving.serve:serve", "model"),
    "bot": Command("dialogpt.chat.bots:BotConfig", "dialogpt.chat.bots.run:bot", "platform", lists=("allow",)),
    "export": Command("dialogpt.export:ExportConfig", "dialogpt.export.export:export", "model"),
    "info": Command("dialogpt.info:InfoConfig", "dialogpt.info:info", "path", quiet=True, optional=("path",)),
}


def main() -> None:
    """Run the command line and exit; a DialoGPTError becomes `error:` and `hint:` lines."""
    debug = "--debug" in sys.argv
    prepare()
    try:
        leave(_group().main(standalone_mode=False))
    except (click.UsageError, click.Abort) as error:  # its traceback would show click's internals
        sys.exit(_report(error))
    except (DialoGPTError, KeyboardInterrupt) as error:
        if debug:
            raise
        sys.exit(_report(error))
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # errors that no command explains: a full disk, a file where a folder should be
        if debug:
            raise
        named = f"{error.filename}: " if error.filename else ""
        sys.exit(_report(DataError(f"{named}{error.strerror or error}", "check disk space, paths and permissions")))
    except (MemoryError, RuntimeError) as error:
        if debug or not is_out_of_memory(error):
            raise
        first_line = str(error).rpartition("DefaultCPUAllocator: ")[2].partition("\n")[0]
        words = first_line.partition(". ")[0] or "out of memory"
        sys.exit(_report(DataError(words, "stop what else uses memory, or try a smaller model or --device cpu")))


def _report(error: BaseException) -> int:
    """Print `error:` and `hint:` lines to stderr; returns the exit code."""
    message, hint, code = "interrupted", "", 130
    if isinstance(error, DialoGPTError):
        message, hint, code = error.message, error.hint, error.exit_code
    elif isinstance(error, click.UsageError):
        message, code = error.format_message(), 2
        hint = f"see `{error.ctx.command_path if error.ctx else 'dialogpt'} --help`"
        if isinstance(error, click.NoSuchOption) and error.option_name in OF_ALL:
            hint = f"it goes before the command: `dialogpt {error.option_name} ...`"
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return code


def _group() -> click.Group:
    return _Commands(
        name="dialogpt",
        help="DialoGPT anew: from a Reddit dump or a chat file to a bot that talks.",
        params=[
            click.Option(["--debug"], is_flag=True, help="show the traceback of an error"),
            click.Option(
                ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="print it"
            ),
            click.Option(["--quiet", "-q"], is_flag=True, help="show no progress, only warnings"),
        ],
        callback=_help_when_alone,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )


def _help_when_alone(debug: bool, quiet: bool) -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"dialogpt {__version__}")
        ctx.exit()


class _Commands(click.Group):
    """Builds a command when it is needed, so that `--help` imports no torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return _command(name) if name in COMMANDS else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if (both := " ".join(args[:2])) in COMMANDS:  # a command of two words
            args = [both, *args[2:]]
        name = args[0]
        if name not in COMMANDS:
            hint = did_you_mean(name, COMMANDS, f"the commands are {', '.join(COMMANDS)}")
            raise UsageError(f"no command {name!r}", hint)
        return super().resolve_command(ctx, args)


class _Command(click.Command):
    """A command some of whose options take several words, `--refs a b`, which click reads as `--refs a --refs b`."""

    def __init__(self, name: str, *, lists: tuple[str, ...], **settings: Any) -> None:
        super().__init__(name, **settings)
        self.lists = lists

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._with_options(args))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click does not say which option lacks its value
            raise

    def _with_options(self, args: list[str]) -> list[str]:
        """The words, before each of a list its option."""
        words: list[str] = []
        option = ""
        for place, word in enumerate(args):
            if word == "--":
                return words + args[place:]
            if word.startswith("-") and not word[1:].isdigit():  # or it is a number
                option = word if word in self.lists else ""
            elif option and words[-1] != option:
                words.append(option)
            words.append(word)
        return words


def _command(name: str) -> click.Command:
    where = COMMANDS[name]
    config_type = _locate(where.config)
    fields = dataclasses.fields(config_type)
    hints = typing.get_type_hints(config_type, include_extras=True)
    params = [_parameter(field, hints[field.name], where.argument) for field in fields]
    params.append(_config_option({field.name: _given(typing.get_args(hints[field.name])[0]) for field in fields}))

    def run(**values: Any) -> None:
        for field in fields:
            if field.default is dataclasses.MISSING and not values[field.name] and field.name not in where.optional:
                flag = field.name.upper() if field.name == where.argument else "--" + field.name.replace("_", "-")
                raise UsageError(f"{flag} is missing", f"see `dialogpt {name} --help`")
        made = config_type(**values)
        root = click.get_current_context().find_root().params
        set_up_logging(logging.WARNING if root["quiet"] or where.quiet else logging.INFO)
        with needs_torch(f"`dialogpt {name}`"):
            function = _locate(where.function)
        result = function(made)
        if os.environ.get("RANK", "0") == "0":  # of torchrun's processes, only one prints
            _show(result)

    doc = (config_type.__doc__ or "").strip()
    text = doc.split(": ", 1)[-1] + f"\n\n{where.argument.upper()}: {typing.get_args(hints[where.argument])[1]}"
    return _Command(
        name,
        lists=tuple(f"--{field}" for field in where.lists),
        params=params,
        callback=run,
        help=text[:1].upper() + text[1:],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )


def _parameter(field: Any, hint: Any, argument: str) -> click.Parameter:
    kind, help_text = _given(typing.get_args(hint)[0]), typing.get_args(hint)[1]
    default = None if field.default is dataclasses.MISSING else field.default
    many = typing.get_origin(kind) is tuple
    options: dict[str, Any] = {"type": _click_type(kind), "default": None if many else default}
    if field.name == argument:
        return click.Argument([field.name], nargs=-1 if many else 1, required=False, **options)
    flag = "--" + field.name.rstrip("_").replace("_", "-")  # from_: Python keeps the plain word for itself
    names = [f"{flag}/--no-{flag[2:]}" if kind is bool else flag, field.name]
    show = default not in (None, "", ()) and default is not False
    return click.Option(names, help=help_text, show_default=show, multiple=many, **options)


def _click_type(kind: Any) -> Any:
    if typing.get_origin(kind) is Literal:
        return click.Choice(list(typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return _click_type(typing.get_args(kind)[0])
    if isinstance(kind, types.UnionType):
        return _click_type(_given(kind))
    return click.Path(path_type=Path) if kind is Path else kind


def _given(kind: Any) -> Any:
    """The type of a setting that is given: X of `X | None`, and of `X | Y` the first."""
    if isinstance(kind, types.UnionType):
        return next(k for k in typing.get_args(kind) if k is not types.NoneType)
    return kind


def _config_option(kinds: dict[str, Any]) -> click.Option:
    """`--config FILE`: a TOML file whose settings replace defaults; flags override them."""

    def read(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
        if path is None:
            return
        import tomllib

        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # with Windows' mark, too
        except OSError as error:
            raise UsageError(f"--config {path} cannot be read: {error.strerror}", "check the path") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"--config {path} does not load: {error}", "it is a TOML file: name = value") from error
        values = {f"{key}_" if f"{key}_" in kinds else key: value for key, value in values.items()}
        for key, value in values.items():
            if key not in kinds:
                known = [name.rstrip("_") for name in kinds]
                hint = did_you_mean(key, known, f"known: {', '.join(known)}")
                raise UsageError(f"{path}: unknown setting {key!r}", hint)
            try:  # strictly: click takes 2.5 for an int
                msgspec.convert(value, kinds[key], dec_hook=lambda kind, value: kind(value))
            except msgspec.ValidationError as error:
                raise UsageError(
                    f"{path}: {key} = {value!r} does not fit: {error}", "numbers have no quotes, lists have [ ]"
                ) from error
        ctx.default_map = values

    kind = click.Path(path_type=Path)
    text = "TOML file with any of these settings"
    return click.Option(["--config"], type=kind, is_eager=True, expose_value=False, callback=read, help=text)


def _show(result: Any) -> None:
    """Print what a command returned: a manifest as a table, a path or text as a line, None not at all."""
    from dialogpt.artifact import Manifest, describe_manifest

    if isinstance(result, Manifest):
        click.echo(describe_manifest(result))
    elif result is not None:
        click.echo(str(result))


def _locate(where: str) -> Any:
    module, name = where.split(":")
    return getattr(import_module(module), name)
