"""A pickle of tensors -> plain values, by an interpreter of our own for the few opcodes that `torch.save` writes.

Nothing is called: of the names in a pickle only those that make an OrderedDict, a tensor or a parameter are known, and
they are made here. `pickle.Unpickler` with a `find_class` of ours would still let a pickle change what it may name, ask
for gigabytes in nine bytes (a memo's number) and hash nested tuples forever. Here keys are strings and numbers, the
number of opcodes is limited, and none of them takes more memory than its bytes in the file.
"""

import pickletools
from typing import IO, Any, NamedTuple

MOST = 1_000_000  # opcodes; a file of 1,000 tensors has 40,000
LARGEST = 1 << 62  # limit of sizes and offsets
MOST_DIMENSIONS = 64  # as torch has it

VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
ARGUMENTS = (
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING",
)  # fmt: skip
MARK = object()


class NotKnown(Exception):
    """A file that only torch may be able to read."""


class Storage(NamedTuple):
    kind: str
    key: str
    size: int  # in numbers


class Tensor(NamedTuple):
    """A part of a storage; offset and strides are in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Unpickled(NamedTuple):
    value: Any
    storages: dict[str, Storage]  # that it names, by key


class _Name(NamedTuple):
    """What a pickle would import."""

    module: str
    name: str


def unpickle(file: IO[bytes]) -> Unpickled:
    """Read one pickle; the file is left behind its end. Raises NotKnown, or nearly anything when it is damaged."""
    machine = _Machine()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if number == MOST:
            raise NotKnown("its pickle is too long")
        machine.step(opcode.name, argument)
    return Unpickled(machine.stack.pop(), machine.storages)


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in ARGUMENTS:
            stack.append(argument)
        elif opcode in VALUES:
            stack.append(VALUES[opcode])
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif opcode in TUPLES:
            stack[-TUPLES[opcode] :] = [tuple(stack[-TUPLES[opcode] :])]
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            self._make(opcode, argument)

    def _make(self, opcode: str, argument: Any) -> None:
        """Make containers and named objects."""
        stack = self.stack
        match opcode:
            case "MARK":
                stack.append(MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if opcode == "APPEND" else self._since_mark()
                _of_type(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if opcode == "SETITEM" else self._since_mark()
                _set(stack[-1], zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                stack.append(_Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_Name(_of_type(stack.pop(-2), str), _of_type(stack.pop(), str)))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_call(stack.pop(), arguments))
            case "BUILD":  # an OrderedDict's attributes, as `_metadata`
                stack.pop()
                if not isinstance(stack[-1], dict):
                    raise NotKnown("it has objects")
            case "BINPERSID":
                stack.append(self._storage(*stack.pop()))
            case _:
                raise NotKnown(f"its pickle has {opcode}")

    def _since_mark(self) -> list[Any]:
        found = []
        while (item := self.stack.pop()) is not MARK:
            found.append(item)
        return found[::-1]

    def _storage(self, what: Any, kind: Any, key: Any, _: Any, size: Any, *view: Any) -> Storage:
        if (
            what != "storage"
            or not isinstance(kind, _Name)
            or kind.module != "torch"
            or any(part is not None for part in view)
        ):
            raise NotKnown("it holds things other than storages")
        return self.storages.setdefault(_of_type(key, str), Storage(kind.name, key, _size(size)))


def _call(name: Any, arguments: Any) -> Any:
    """What the pickle would call, made here."""
    match name, arguments:
        case _Name("collections", "OrderedDict"), ():
            return {}
        case _Name("collections", "OrderedDict"), ([*pairs],):  # as in Python 2
            return _set({}, pairs)
        case _Name("torch._utils", "_rebuild_tensor_v2"), (Storage() as storage, offset, shape, strides, _, _, *more):
            if any(more):
                raise NotKnown("it has tensors that are conjugates or negatives")
            if len(_of_type(shape, tuple)) != len(_of_type(strides, tuple)) or len(shape) > MOST_DIMENSIONS:
                raise ValueError("a tensor's shape and strides do not match")
            return Tensor(storage, _size(offset), tuple(map(_size, shape)), tuple(map(_size, strides)))
        case _Name("torch._utils", "_rebuild_parameter"), (Tensor() as tensor, *_):
            return tensor
    raise NotKnown(f"it calls {'.'.join(name) if isinstance(name, _Name) else 'something that is not a name'}")


def _set(target: Any, pairs: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = _of_type(target, dict)
    for key, value in pairs:
        if type(key) not in (str, int):
            raise NotKnown("its keys are not names")
        found[key] = value
    return found


def _of_type(value: Any, wanted: type) -> Any:
    if type(value) is not wanted:
        raise ValueError(f"it has a {type(value).__name__} where a {wanted.__name__} is expected")
    return value


def _size(value: Any) -> int:
    if not 0 <= _of_type(value, int) <= LARGEST:
        raise ValueError("a tensor has impossible sizes")
    return int(value)
