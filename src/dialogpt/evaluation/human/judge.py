"""The `judge` command: replies -> a study's file -> judges, on a web page or in the terminal.

An existing study is continued; settings that are given must then be those that it was made with.
"""

import logging
from dataclasses import fields

from dialogpt.errors import UsageError, check_least, given
from dialogpt.evaluation.human import JudgeConfig, server, terminal
from dialogpt.evaluation.human.store import Store, tidy_name
from dialogpt.evaluation.human.study import Settings, Study, make_study
from dialogpt.evaluation.inputs import read_replies, warn_of

log = logging.getLogger(__name__)

STORED = ("kind", "criteria", "against", "items", "judges", "check_every", "seed")  # what a study is made with


def judge(config: JudgeConfig) -> str:
    """Make or continue the study, and ask its judges; returns how far it has come, and what to do next."""
    _check(config)
    if not config.terminal:
        server.check_installed()  # before a file is written
    with _opened(config) as store:
        _describe(store)
        if config.terminal:
            terminal.ask(store, config.terminal)
        else:
            server.serve(store, config.host, config.port, config.names)
        state = store.state()
    return (
        f"items with all their judges: {state.complete} of {state.items}; answers: {state.answers} of {state.wanted}; "
        f"judges: {state.judges}\nwho wins: dialogpt judge report {config.study}"
    )


def _check(config: JudgeConfig) -> None:
    """UsageError for settings that cannot work."""
    check_least(config, items=0, judges=1, check_every=0, seed=0, port=0)
    if config.check_every == 1:
        raise UsageError("--check-every 1: every item would be a check", "name 2 or more, or 0 for none")
    if config.port > 65_535:
        raise UsageError(f"--port {config.port} is above 65535", "name a port, such as 8000")
    if config.kind == "ratings" and config.against == "all":
        raise UsageError("--against all is for pairs", "ratings have one reply at a time: leave it out")
    if config.terminal and config.names:
        raise UsageError(
            "--terminal and --names together", "the terminal is for one judge, links are for the page: leave one out"
        )
    if config.terminal and (of_page := given(config, "host", "port")):
        raise UsageError(f"--terminal and --{of_page[0]} together", "there is no page then: leave one out")
    if len(set(config.criteria)) < len(config.criteria) or not all(name.strip() for name in config.criteria):
        raise UsageError(f"--criteria {' '.join(config.criteria)}: one is blank or named twice", "name each once")
    names = [tidy_name(name) for name in (*config.names, *filter(None, [config.terminal]))]
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError(f"--names {' '.join(names)}: a name occurs twice", "give each judge a name of their own")


def _opened(config: JudgeConfig) -> Store:
    """The study, made of the replies when there is none yet."""
    if not config.study.exists():
        if not config.hyps:
            raise UsageError(f"{config.study} does not exist", "make it from systems' replies: --hyps A.jsonl B.jsonl")
        return Store.create(config.study, _made(config))
    store = Store.open(config.study)
    try:
        if config.hyps:
            _compare(config, store, _made(config))
        else:
            _compare_settings(config, store.settings)
    except BaseException:
        store.close()
        raise
    return store


def _made(config: JudgeConfig) -> Study:
    if config.kind == "pairs" and len(config.hyps) < 2:
        raise UsageError("pairs need two systems", "name at least two files of replies, or --kind ratings")
    inputs = read_replies(config.hyps, config.refs)
    warn_of(inputs.dropped)
    return make_study(config, inputs)


def _compare(config: JudgeConfig, store: Store, made: Study) -> None:
    """UsageError when these replies and settings would have made another study."""
    there = store.settings
    if made.settings.systems != there.systems:
        raise UsageError(
            f"{config.study} is about {', '.join(there.systems)}, --hyps about {', '.join(made.settings.systems)}",
            "name another file for another study; to continue this one, leave out --hyps",
        )
    for name in STORED:
        _same(config, name, getattr(made.settings, name), getattr(there, name))
    if list(made.items) != store.items:
        raise UsageError(
            f"{config.study} was made with other replies or contexts of {', '.join(there.systems)}",
            "name another file for another study; to continue this one, leave out --hyps",
        )


def _compare_settings(config: JudgeConfig, there: Settings) -> None:
    """UsageError for a setting that was given, and is not the one that the study was made with."""
    if config.refs:
        raise UsageError(f"--refs is given, but {config.study} exists already", "leave it out to continue the study")
    for field in fields(config):
        if field.name in STORED and getattr(config, field.name) != field.default:
            _same(config, field.name, getattr(config, field.name), getattr(there, field.name))


def _same(config: JudgeConfig, name: str, given: object, there: object) -> None:
    if given != there:
        shown, made = (" ".join(value) if isinstance(value, tuple) else value for value in (given, there))
        raise UsageError(
            f"--{name.replace('_', '-')} {shown}, but {config.study} was made with {made}",
            "leave it out to continue the study, or name another file",
        )


def _describe(store: Store) -> None:
    settings = store.settings
    log.info(
        "%s: %s of %s by %s; %d contexts, %d items, %d judges each",
        store.path, settings.kind, ", ".join(settings.systems), ", ".join(settings.criteria),
        settings.contexts, len(store.items), settings.judges,
    )  # fmt: skip
    if settings.ties_left_out:
        log.info("%d pairs have the same reply twice: ties, about which nobody is asked", settings.ties_left_out)
