"""A GPT-2 checkpoint -> a graph of ONNX Runtime's own operators, weights in 8 or 4 bits, for `bench/decode_onnx.py`.

Two files of one set of weights: `likeliest.onnx` gives the `number` likeliest tokens of each place, `scores.onnx` log p
of a target for each. Inputs: ids and positions (rows, new); ends (rows), each row's last position; total, the longest
row with what is in the cache; places, of the flat tokens; past.LAYER.key and .value (rows, heads, room, size).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LIKELIEST, SCORES = "likeliest", "scores"
LOGITS = "lm_head.out"
OPSET, IR_VERSION = 18, 10
OWN = "com.microsoft"  # the domain of ONNX Runtime's operators
WEIGHTS = "weights.bin"
GROUP = 32  # inputs with one scale, of weights of 4 bits


@dataclass(slots=True)
class Graph:
    """What is written of a graph; values go by their names."""

    bits: int = 8  # of the layers' weights
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def weight(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], domain: str = OWN, **options: Any) -> str:
        """The first output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **options))
        return outputs[0]

    def layer(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """A product of the graph's bits; of 4, each 32 inputs of an output have a scale."""
        if self.bits == 8:
            return self.product(x, name, weight, bias)
        inputs, outputs = weight.shape
        groups = weight.T.reshape(outputs, inputs // GROUP, GROUP)
        ends = np.take_along_axis(groups, np.abs(groups).argmax(2, keepdims=True), 2)  # of which -8 is the farthest
        scales = np.where(ends == 0, 1, ends / -8).astype(np.float32)
        places = np.clip(np.rint(groups / scales) + 8, 0, 15).astype(np.uint8)
        stored = self.weight(f"{name}.int4", places[..., ::2] | places[..., 1::2] << 4)
        given = [
            x,
            stored,
            self.weight(f"{name}.scales", scales.reshape(-1)),
            "",
            "",
            self.weight(f"{name}.bias", bias),
        ]
        options = {"K": inputs, "N": outputs, "bits": 4, "block_size": GROUP, "accuracy_level": 4}  # 4: `x` in 8 bits
        return self.node("MatMulNBits", given, [f"{name}.out"], **options)

    def product(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray | None) -> str:
        """Of (in, out) weights in 8 bits, a scale for each output; `x` is put into 8 bits as it comes."""
        scales = np.maximum(np.abs(weight).max(0), 1e-9) / 127
        whole = np.rint(weight / scales).astype(np.int8)
        inputs = [x, self.weight(f"{name}.int8", whole), self.weight(f"{name}.scales", scales.astype(np.float32))]
        inputs.append(self.weight(f"{name}.zeros", np.zeros(len(scales), np.int8)))
        if bias is not None:
            inputs.append(self.weight(f"{name}.bias", bias))
        return self.node("DynamicQuantizeMatMul", inputs, [f"{name}.out"])


def write(folder: Path, target: Path, bits: int) -> None:
    """Both graphs of the checkpoint in `folder`; the output layer's weights are in 8 bits."""
    import onnx
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "model.safetensors")
    graph = Graph(bits)
    _body(graph, config, {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()})
    target.mkdir(exist_ok=True)
    (target / WEIGHTS).unlink(missing_ok=True)  # else it grows
    body = _model(graph, config)
    onnx.save(body, target / "body.onnx", save_as_external_data=True, location=WEIGHTS)  # and they leave `body`
    for kind in (LIKELIEST, SCORES):
        model = onnx.ModelProto()
        model.CopyFrom(body)
        _end(model.graph, kind)
        onnx.save(model, target / f"{kind}.onnx")
    (target / "body.onnx").unlink()


def _body(graph: Graph, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """From tokens to the logits of the places, which are LOGITS."""
    heads, layers = config["n_head"], config["n_layer"]
    epsilon = {"epsilon": config["layer_norm_epsilon"]}

    def norm(name: str) -> list[str]:
        return [graph.weight(f"{name}.{kind}", tensors[f"{name}.{kind}"]) for kind in ("weight", "bias")]

    def product(x: str, name: str) -> str:
        return graph.layer(x, name, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def added(of: str, x: str, name: str) -> tuple[str, str]:
        """The norm of the sum, and the sum."""
        outputs = [f"{name}.out", "", "", f"{name}.sum"]
        graph.node("SkipLayerNormalization", [of, x, *norm(name)], outputs, **epsilon)
        return outputs[0], outputs[3]

    for name, which in (("wte", "ids"), ("wpe", "positions")):
        graph.node("Gather", [graph.weight(name, tensors[f"{name}.weight"]), which], [f"{name}.out"], "")
    x = graph.node("Add", ["wte.out", "wpe.out"], ["embedded"], "")
    normed = graph.node("LayerNormalization", [x, *norm("h.0.ln_1")], ["h.0.ln_1.out"], "", **epsilon)
    for layer in range(layers):
        block, after = f"h.{layer}", f"h.{layer + 1}.ln_1" if layer + 1 < layers else "ln_f"
        past, present = ([f"{time}.{layer}.{kind}" for kind in ("key", "value")] for time in ("past", "present"))
        inputs = [product(normed, f"{block}.attn.c_attn"), "", "", *past, "ends", "total"]
        options = {"num_heads": heads, "kv_num_heads": heads}
        attended = graph.node("GroupQueryAttention", inputs, [f"{block}.attended", *present], **options)
        normed, x = added(product(attended, f"{block}.attn.c_proj"), x, f"{block}.ln_2")
        widened = graph.node("FastGelu", [product(normed, f"{block}.mlp.c_fc")], [f"{block}.gelu"])
        normed, x = added(product(widened, f"{block}.mlp.c_proj"), x, after)
    flat = graph.node("Reshape", [normed, graph.weight("flat", np.array([-1, config["n_embd"]]))], ["flat.out"], "")
    at_places = graph.node("Gather", [flat, "places"], ["at_places"], "")
    graph.product(at_places, "lm_head", tensors["wte.weight"].T, None)


def _model(graph: Graph, config: dict[str, Any]) -> Any:
    """A model whose outputs are what the cache has after a step."""
    from onnx import TensorProto, helper

    heads, size = config["n_head"], config["n_embd"] // config["n_head"]
    whole, small = TensorProto.INT64, TensorProto.INT32
    inputs = [("ids", whole, ["rows", "new"]), ("positions", whole, ["rows", "new"]), ("ends", small, ["rows"])]
    inputs += [("total", small, [1]), ("places", whole, ["places"])]
    cache = [f"{layer}.{kind}" for layer in range(config["n_layer"]) for kind in ("key", "value")]
    shape = ["rows", heads, "room", size]
    given = [helper.make_tensor_value_info(*of) for of in inputs]
    past, present = (
        [helper.make_tensor_value_info(f"{time}.{name}", TensorProto.FLOAT, shape) for name in cache]
        for time in ("past", "present")
    )
    body = helper.make_graph(graph.nodes, "gpt2", [*given, *past], present, graph.weights)
    versions = [helper.make_opsetid("", OPSET), helper.make_opsetid(OWN, 1)]
    return helper.make_model(body, opset_imports=versions, ir_version=IR_VERSION)


def _end(graph: Any, kind: str) -> None:
    """What is done with the logits, in the body's graph."""
    from onnx import TensorProto, helper

    numbers, whole = TensorProto.FLOAT, TensorProto.INT64
    if kind == LIKELIEST:
        nodes = [helper.make_node("TopK", [LOGITS, "number"], ["logits", "tokens"])]
        inputs = [("number", whole, [1])]
        outputs = [("logits", numbers, ["places", "likeliest"]), ("tokens", whole, ["places", "likeliest"])]
    else:
        nodes = [
            helper.make_node("LogSoftmax", [LOGITS], ["all_logprobs"], axis=-1),
            helper.make_node("GatherElements", ["all_logprobs", "targets"], ["logprobs"], axis=1),
        ]
        inputs = [("targets", whole, ["places", 1])]
        outputs = [("logprobs", numbers, ["places", 1])]
    graph.node.extend(nodes)
    graph.input.extend(helper.make_tensor_value_info(*of) for of in inputs)
    graph.output.extend(helper.make_tensor_value_info(*of) for of in outputs)
