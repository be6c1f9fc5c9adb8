"""Settings that cannot work are refused with the flag's name."""

import math

import pytest

from dialogpt.decoding import DecodingConfig, ReplyConfig
from dialogpt.errors import UsageError
from dialogpt.model.checkpoint import generation_config


@pytest.mark.parametrize(
    "name, values",
    {
        "max_new_tokens": (0, -1),
        "min_new_tokens": (-1, 65),
        "temperature": (-0.1, 5.1, 99, math.nan, math.inf),
        "top_k": (-1,),
        "top_p": (0.0, -0.1, 1.1, math.nan),
        "min_p": (-0.1, 1.1, math.nan),
        "repetition_penalty": (0.0, -1.0, 10.1, math.nan, math.inf),
        "no_repeat_ngram": (-1, 101),
        "no_repeat_context": (-1, 101),
        "num_beams": (0,),
        "length_penalty": (-10.1, 10.1, math.nan, math.inf),
        "seed": (-1,),
    }.items(),
)
def test_values_out_of_range(name: str, values: tuple[float, ...]) -> None:
    for value in values:
        with pytest.raises(UsageError) as caught:
            DecodingConfig(**{name: value})  # type: ignore[arg-type]
        assert caught.value.message == f"--{name.replace('_', '-')} {value} is out of range"
        assert caught.value.hint.startswith("it must be ")


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 1}, {"min_new_tokens": 0}, {"min_new_tokens": 64}, {"temperature": 0}, {"top_k": 0},
        {"temperature": 5}, {"top_k": 10**400}, {"top_p": 1.0}, {"top_p": 1e-9},
        {"no_repeat_ngram": 0}, {"repetition_penalty": 0.5}, {"seed": 0},
    ],
    ids=str,
)  # fmt: skip
def test_values_at_the_edge_of_the_range(settings: dict[str, float]) -> None:
    config = DecodingConfig(**settings)  # type: ignore[arg-type]
    assert all(getattr(config, name) == value for name, value in settings.items())


def test_transformers_is_told_to_decode_as_we_do() -> None:
    """generation_config.json is written below this layer, so its numbers stand there once more."""
    defaults = DecodingConfig()
    written = generation_config(end_id=7)
    assert (written["temperature"], written["top_k"], written["top_p"], written["no_repeat_ngram_size"]) == (
        defaults.temperature, defaults.top_k, defaults.top_p, defaults.no_repeat_ngram
    )  # fmt: skip
    assert written["do_sample"]
    assert written["eos_token_id"] == written["pad_token_id"] == 7


@pytest.mark.parametrize(
    "settings, in_vain",
    [
        ({"top_k": 5, "min_p": 0.1}, []),
        ({"temperature": 0, "top_k": 5, "min_p": 0.1}, ["--top-k", "--min-p"]),
        ({"temperature": 0, "num_beams": 4}, []),
        ({"temperature": 0.8, "num_beams": 4}, ["--temperature"]),
    ],
    ids=str,
)
def test_what_only_drawn_replies_use(settings: dict[str, float], in_vain: list[str]) -> None:
    assert ReplyConfig(**settings).only_drawn()[0] == in_vain  # type: ignore[arg-type]
