"""Files of replies and references in every form, and everything that can be wrong with them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dialogpt.errors import DataError, DialoGPTError, UsageError
from dialogpt.evaluation.inputs import Inputs, read_inputs, read_replies

Read = Callable[..., Inputs]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write files named by keyword, `hyp...` replies and `ref...` references, and read them together."""

    def make(clean: Callable[[str], str] | None = None, **files: str | bytes) -> Inputs:
        paths = []
        for name, content in files.items():
            path = tmp_path / (name.replace("_", "."))
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            paths.append(path)
        hyps, refs = ([path for path in paths if path.name.startswith(kind)] for kind in ("hyp", "ref"))
        return read_inputs(hyps, refs, clean)

    return make


def references(inputs: Inputs) -> list[list[str]]:
    return [list(several) for several in inputs.references]


ITEMS = [
    {"id": "t3/1", "context": ["Hi", {"text": "Hello", "speaker": "B"}], "references": ["a", "b"], "scores": [3, 1]},
    {"id": "t3/2", "context": ["كيف"], "references": ["с"], "human": "h"},
]
JSONL = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ITEMS)
CONTEXTS = [("Hi", "Hello"), ("كيف",)]


@pytest.mark.parametrize(
    "files, expected, contexts",
    [
        ({"ref0_txt": "a\nс\n", "ref1_txt": "b\n \n"}, [["a", "b"], ["с"]], [(), ()]),
        ({"ref0_txt": "a\nс"}, [["a"], ["с"]], [(), ()]),
        ({"ref_jsonl": JSONL}, [["a", "b"], ["с"]], CONTEXTS),
        ({"ref_jsonl": "\ufeff\n" + JSONL + "\n"}, [["a", "b"], ["с"]], CONTEXTS),
        ({"ref_jsonl_gz": gzip.compress(JSONL.encode())}, [["a", "b"], ["с"]], CONTEXTS),
        ({"ref_tsv": "Hi EOS Hello\t3|a\t-1|b\r\nكيف\t2|с\r\n"}, [["a", "b"], ["с"]], CONTEXTS),
        ({"ref_tsv": "context\tr1\tr2\nHi EOS Hello\ta\tb\nكيف\tс\t\n"}, [["a", "b"], ["с"]], CONTEXTS),
        ({"ref_tsv": "InstanceID\tReference1\t...\nk1\ta\tb\nk2\tс\n"}, [["a", "b"], ["с"]], [(), ()]),
        ({"ref_tsv": "x\t1|a\t2\ny\tс\n"}, [["1|a", "2"], ["с"]], [("x",), ("y",)]),  # no scores: `2` has none
    ],
)
def test_references(
    read: Read, files: dict[str, str | bytes], expected: list[list[str]], contexts: list[tuple[str]]
) -> None:
    inputs = read(hyp_txt="x\ny\n", **files)
    assert references(inputs) == expected
    assert [segment.context for segment in inputs.segments] == contexts


def test_blank_references_are_left_out_and_counted(read: Read) -> None:
    inputs = read(hyp_txt="x\n\n", ref0_txt="a\nс\n", ref1_txt="b\n\n", ref2_txt=" \n\u3000\n")
    assert references(inputs) == [["a", "b"], ["с"]]
    assert inputs.systems[0].replies == ("x", "")
    assert inputs.dropped == {"blank references, left out": 3, "blank replies of hyp, which count as empty": 1}


def reply(text: str, name: str | int = "", context: list[str] | None = None) -> str:
    made = {"id": name, "context": context or ["Hi"], "hypothesis": text, "logprob": -1.5, "ended": True}
    return json.dumps({key: value for key, value in made.items() if value != ""}, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    "hyps, expected",
    [
        (reply("x", "t3/1") + reply("y", "t3/2"), ("x", "y")),
        ("\n" + reply("y", "t3/2") + "\n" + reply("x", "t3/1"), ("x", "y")),  # matched by id
        (reply("x", "1") + reply("y", 2), ("x", "y")),  # what `generate` numbers where contexts have no id
        (reply("x") + reply("y"), ("x", "y")),
        ("x\ny\n", ("x", "y")),
        ("{x}\n{y\n", ("{x}", "{y")),
        ("😀\nどうも\n", ("😀", "どうも")),
    ],
)
def test_replies(read: Read, hyps: str, expected: tuple[str, ...]) -> None:
    (system,) = read(hyp=hyps, ref_jsonl=JSONL).systems
    assert system.replies == expected
    assert len(system.contexts) == (2 if "hypothesis" in hyps else 0)


@pytest.mark.parametrize(
    "hyps, expected",
    [
        ({"hyp": "x\ny\n"}, [CONTEXTS]),
        ({"hyp": reply("x", context=["so"]) + reply("y", context=["why", "now"])}, [[("so",), ("why", "now")]]),
        ({"hyp0": "x\ny\n", "hyp1": reply("x") * 2}, [CONTEXTS, [("Hi",), ("Hi",)]]),
        ({"hyp": '{"hypothesis": "x"}\n' + reply("y")}, [CONTEXTS]),  # not all are told
    ],
)
def test_contexts_are_the_replies_own_or_the_references(
    read: Read, hyps: dict[str, str], expected: list[list[str]]
) -> None:
    found = read(ref_jsonl=JSONL, **hyps).contexts
    assert found is not None
    assert [list(each) for each in found] == expected
    part = JSONL.replace('"context": ["كيف"], ', "")
    assert (read(ref_jsonl=part, **hyps).contexts is None) == (CONTEXTS in expected)


def test_replies_without_contexts_are_matched_by_id(tmp_path: Path) -> None:
    for name, replies in (("a", {"k1": "x", "k2": "y"}), ("b", {"k2": "v", "k1": "u"})):
        (tmp_path / name).write_text("".join(f'{{"id": "{key}", "hypothesis": "{replies[key]}"}}\n' for key in replies))
    (tmp_path / "c").write_text("p\nq\n")
    hyps = [tmp_path / name for name in "abc"]
    inputs = read_replies(hyps, in_context=False)
    assert [system.replies for system in inputs.systems] == [("x", "y"), ("u", "v"), ("p", "q")]
    assert inputs.contexts is None
    with pytest.raises(DataError, match="no file includes the contexts"):
        read_replies(hyps)


SYSTEMS = "\ufeffSystemID\tInstanceID\tResponse\nА\tk2\ty\nА\tk1\tx\nB\tk1\t\nB\tk2\tz\nB\tk9\tz\n"
BY_ID = "id\tr1\tr2\nk1\ta\tb\nk2\tс\t\nk3\td\nk4\t\n"


def test_a_file_of_several_systems(read: Read) -> None:
    inputs = read(hyp_tsv=SYSTEMS, ref_tsv=BY_ID)
    assert {system.name: system.replies for system in inputs.systems} == {"А": ("x", "y"), "B": ("", "z")}
    assert [segment.id for segment in inputs.segments] == ["k1", "k2"]
    assert inputs.dropped == {
        "segments without a reply of every system, left out": 2,
        "replies to what the references do not name, left out": 1,
        "blank replies of B, which count as empty": 1,
        "blank references, left out": 1,
    }


def test_a_file_of_several_systems_beside_one_of_one(read: Read) -> None:
    four = SYSTEMS + "А\tk4\tno\nB\tk4\tno\n"
    inputs = read(
        hyp0_tsv=four,
        hyp1_txt="p\nq\nr\ns\n",
        hyp2=reply("f", "k2") + "".join(map(reply, "ghi", ("k1", "k3", "k4"))),
        ref_tsv=BY_ID,
    )
    assert [system.replies for system in inputs.systems[2:]] == [("p", "q"), ("g", "f")]
    assert [len(system.contexts) for system in inputs.systems] == [0, 0, 0, 2]
    assert inputs.dropped["segments without a reference, left out"] == 1


def test_systems_are_named_by_their_files(read: Read, tmp_path: Path) -> None:
    names = [system.name for system in read(hyp_0_5_txt="x\n", hyp_best_jsonl="y\n", ref="a\n").systems]
    assert names == ["hyp.0.5", "hyp.best"]
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "hyp.best.txt"
    twin.write_text("z\n")
    both = [tmp_path / "hyp.best.jsonl", twin]
    assert [system.name for system in read_inputs(both, [tmp_path / "ref"]).systems] == [str(path) for path in both]


def test_cleaning_comes_before_blank_references_are_left_out(read: Read) -> None:
    inputs = read(str.strip, hyp="x \n", ref0=" a\n", ref1="\t \n")
    assert (inputs.systems[0].replies, references(inputs)) == (("x",), [["a"]])


BAD: dict[str, tuple[dict[str, str | bytes], type[DialoGPTError], str]] = {
    "fewer replies": ({"hyp": "x\n", "ref": "a\nb\n"}, DataError, r"hyp has 1 replies, the references have 2"),
    "fewer JSON replies": ({"hyp": reply("x"), "ref": "a\nb\n"}, DataError, r"hyp has 1 replies"),
    "fewer references": ({"hyp": "x\n", "ref0": "a\n", "ref1": "a\nb\n"}, DataError, r"ref1 has 2 lines, .*ref0 has 1"),
    "no reference": ({"hyp": "x\ny\n", "ref0": "a\n\n", "ref1": "b\n \n"}, DataError, "references:2: no reference"),
    "no reference in JSON": ({"hyp": "x\n", "ref": '{"references": []}\n'}, DataError, "ref:1: no reference"),
    "no reference in TSV": ({"hyp": "x\ny\n", "ref": "c\ta\nc\t\n"}, DataError, "ref:2: no reference"),
    "no tab": ({"hyp": "x\ny\n", "ref": "c\ta\nc\n"}, DataError, "ref:2: no tab"),
    "no JSON": ({"hyp": "x\ny\n", "ref": JSONL.splitlines()[0] + "\nhello\n"}, DataError, "ref:2: JSON is malformed"),
    "other JSON": ({"hyp": "x\n", "ref": '{"text": "a"}\n'}, DataError, "ref:1: .*required field `references`"),
    "JSON replies, other": ({"hyp": '{"text": "a"}\n', "ref": "a\n"}, DataError, "hyp:1: .*field `hypothesis`"),
    "deep JSON": ({"hyp": '{"a":' + "[" * 9999 + "\n", "ref": "a\n"}, DataError, "hyp:1: "),
    "two forms": ({"hyp": "x\ny\n", "ref0": "a\nb\n", "ref1": JSONL}, DataError, "ref1 is JSONL, but one of several"),
    "other ids": (
        {"hyp": reply("x", "t3/1") + reply("y", "t3/9"), "ref": JSONL}, DataError, "no reply with id 't3/2'.*ref:2",
    ),
    "fewer ids": ({"hyp": reply("x", "t3/1"), "ref": JSONL}, DataError, "no reply with id 't3/2'.*ref:2.*Ids must be"),
    "more ids": (
        {"hyp": "".join(map(reply, "xyz", ("t3/1", "t3/2", "t3/3"))), "ref": JSONL},
        DataError, "3 replies, the references have 2 lines, and none with id 't3/3'.*Ids must be",
    ),
    "one id twice": ({"hyp": reply("x", "t3/1") * 2, "ref": JSONL}, DataError, "id 't3/1' occurs twice"),
    "cp1251": ({"hyp": "да\n".encode("cp1251"), "ref": "a\n"}, DataError, "hyp:1: not UTF-8"),
    "UTF-16": ({"hyp": "x\n".encode("utf-16-le"), "ref": "a\n"}, DataError, "hyp:1: a zero byte"),
    "nothing": ({"hyp": "", "ref": "a\n"}, DataError, "hyp is empty"),
    "no references": ({"hyp": "x\n", "ref": ""}, DataError, "ref is empty"),
    "systems, short line": ({"hyp": SYSTEMS + "B\tk3\n", "ref": BY_ID}, DataError, "hyp:7: not 3 cells"),
    "systems, one reply twice": ({"hyp": SYSTEMS + "B\tk1\tz\n", "ref": BY_ID}, DataError, "hyp:7: a second reply"),
    "systems, no reply": ({"hyp": SYSTEMS.split("\n")[0], "ref": BY_ID}, DataError, "hyp has no reply"),
    "systems, no ids": ({"hyp": SYSTEMS, "ref": "a\nb\n"}, DataError, "by ids, but the references do not"),
    "systems, other ids": ({"hyp": SYSTEMS.replace("k", "x"), "ref": BY_ID}, DataError, "no id, such as 'x2', has"),
    "systems of one name": ({"hyp_B.tsv": SYSTEMS, "hyp1": SYSTEMS, "ref": BY_ID}, DataError, "two systems are called"),
    "blank replies": ({"hyp": " \n\n", "ref": "a\nb\n"}, DataError, "hyp: no reply has a word"),
    "damaged archive": ({"hyp": gzip.compress(b"x\n" * 99)[:-9], "ref": "a\n"}, DataError, "gzip archive ends early"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_one_clear_error(read: Read, kind: str) -> None:
    files, error, message = BAD[kind]
    with pytest.raises(error, match=message) as raised:
        read(**files)
    assert raised.value.hint


def test_missing_files_and_the_same_file_twice(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("x\n")
    with pytest.raises(DataError, match=r"no\.txt does not exist"):
        read_inputs([tmp_path / "no.txt"], [file])
    with pytest.raises(DataError, match="is a folder"):
        read_inputs([file], [tmp_path])
    with pytest.raises(UsageError, match="given twice"):
        read_inputs([file, file], [file])
