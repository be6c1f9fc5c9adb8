"""OpenVINO as a `Decoder` of `bench/decode_tasks.py`: the stateful int8 model that optimum-intel makes of a checkpoint.

It is called through its runtime, whose state is the cache: kept from turn to turn, and repeated for the rows of
hypotheses. What Python would be slow at is part of the graph: the output layer computes only the places that are
needed, drawing gets the likeliest tokens, scoring the targets. Beams and bulk are OpenVINO GenAI's continuous batching.
Optimum needs other versions of transformers than the other peers, so all this has an environment of its own.

`int8` leaves the precision of all that is not in 8 bits to OpenVINO (bf16 where the processor has it); `int8 f32` asks
for fp32.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from decode_steps import Steps, missing
from decode_tasks import CONVERT, SOURCE, TOP_K, Measured, Work, answer, measure

NEEDS = {"openvino": ["torch", "transformers", "optimum.intel", "nncf", "openvino", "openvino_genai"]}
OWN = "openvino"  # its files' folder, in a checkpoint's
TOKENS_TOGETHER = 1024  # of a step of continuous batching: fewer are slower, more are not faster
LAST = 2**63 - 1


class OpenVino(Steps):
    """A model, compiled when the first task asks for it."""

    def __init__(self, work: Work, folder: str) -> None:
        self.work, self.end_id, self.folder = work, work.end_id, Path(folder) / folder_of(work.precision)
        self.options: dict[str, Any] = {"INFERENCE_NUM_THREADS": work.threads}
        if work.precision.endswith("f32"):
            self.options["INFERENCE_PRECISION_HINT"] = "f32"
        self.request: Any = None
        self.spreading: dict[str, Any] = {}
        self.genai: Any = None
        if work.task in ("beam", "bulk"):
            self.genai = self._pipeline()
        else:
            self.request = self._compiled(scores=folder == work.backward)

    def _compiled(self, scores: bool) -> Any:
        """A request whose output 0 is the last place's logits; with `scores` the last one is log p of targets."""
        import openvino
        from openvino import opset15 as ops

        core = openvino.Core()
        model = core.read_model(self.folder / "openvino_model.xml")
        product = model.output("logits").get_node().input_value(0).get_node()  # of hidden states and the embedding
        first = np.array([-SOURCE if scores else -1])
        last_places = ops.slice(product.input_value(0), first, np.array([LAST]), np.array([1]), np.array([1]))
        product.input(0).replace_source_output(last_places.output(0))
        model.validate_nodes_and_infer_types()
        logits = model.output("logits").get_node().input_value(0)
        if scores:
            targets = ops.parameter([-1, -1, 1], np.int64)
            targets.output(0).get_tensor().set_names({"targets"})
            model.add_parameters([targets])
            model.add_results([ops.result(ops.gather_elements(ops.log_softmax(logits, -1), targets, 2))])
        elif self.work.task == "mmi":  # one more, since the end token may be among them
            likeliest = ops.topk(logits, np.array(TOP_K + 1), -1, "max", "value")
            model.add_results([ops.result(likeliest.output(i)) for i in range(2)])
        model.validate_nodes_and_infer_types()
        options = {"PERFORMANCE_HINT": "LATENCY", **self.options}
        return core.compile_model(model, "CPU", options).create_infer_request()

    def _pipeline(self) -> Any:
        import openvino_genai

        settings = openvino_genai.SchedulerConfig()
        settings.cache_size, settings.max_num_seqs = 1, self.work.batch
        settings.max_num_batched_tokens = TOKENS_TOGETHER
        return openvino_genai.ContinuousBatchingPipeline(self.folder, settings, "CPU", self.options)

    def _read(self, rows: list[list[int]], past: int, **more: Any) -> list[np.ndarray]:
        """Read as many tokens of each row after `past` of each; all outputs."""
        number, new = len(rows), len(rows[0])
        given = {
            "input_ids": np.array(rows), "attention_mask": np.ones((number, past + new), np.int64),
            "position_ids": np.tile(np.arange(past, past + new), (number, 1)),
            "beam_idx": np.arange(number, dtype=np.int32), **more,
        }  # fmt: skip
        self.request.infer(given, share_inputs=True)
        return [self.request.get_output_tensor(i).data for i in range(len(self.request.model_outputs))]

    def reset(self, length: int) -> None:
        self.request.reset_state()
        self.spreading = {}

    def best(self, tokens: list[int], past: int) -> int:
        logits = self._read([tokens], past)[0][0, -1]
        logits[self.end_id] = -np.inf
        return int(logits.argmax())

    def likeliest(self, rows: list[list[int]], past: int) -> tuple[np.ndarray, np.ndarray]:
        outputs = self._read(rows, past, **self.spreading)
        self.spreading = {}
        return outputs[1][:, -1], outputs[2][:, -1]

    def spread(self, number: int) -> None:
        self.spreading = {"beam_idx": np.zeros(number, np.int32)}

    def nats(self, hypotheses: list[list[int]], source: list[int]) -> list[float]:
        """Of sources of SOURCE tokens, and hypotheses of one length."""
        self.reset(len(hypotheses[0]) + len(source))
        targets = np.tile(np.array(source)[:, None], (len(hypotheses), 1, 1))
        outputs = self._read([(hypothesis + source)[:-1] for hypothesis in hypotheses], 0, targets=targets)
        found: list[float] = (-outputs[-1].sum((1, 2), dtype=np.float64)).tolist()
        return found

    def beam(self, context: list[int], beams: int, new: int) -> list[int]:
        return self._generate([context], new, num_beams=beams)[0]

    def bulk(self, contexts: list[list[int]], new: int, batch: int) -> list[list[int]]:
        return self._generate(contexts, new)

    def _generate(self, contexts: list[list[int]], new: int, **options: Any) -> list[list[int]]:
        import openvino
        from openvino_genai import GenerationConfig

        config = GenerationConfig(max_new_tokens=new, min_new_tokens=new, eos_token_id=self.work.end_id, **options)
        given = [openvino.Tensor(np.array([context])) for context in contexts]
        return [list(found.m_generation_ids[0]) for found in self.genai.generate(given, [config] * len(given))]


def folder_of(precision: str) -> str:
    return f"{OWN}-int4" if precision.startswith("int4") else OWN


def convert(work: Work) -> Measured:
    """Put the model, in 8 bits or in 4 by groups of 32 inputs, into both models' folders."""
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

    four = {"bits": 4, "sym": False, "group_size": 32, "ratio": 1.0}
    bits = OVWeightQuantizationConfig(**(four if work.precision == "int4" else {"bits": 8, "sym": True}))
    for folder in map(Path, (work.model, work.backward)):
        model = OVModelForCausalLM.from_pretrained(
            folder, export=True, compile=False, stateful=True, quantization_config=bits
        )
        model.save_pretrained(folder / folder_of(work.precision))
    return Measured()


def openvino_peer(work: Work) -> Measured:
    return convert(work) if work.task == CONVERT else measure(work, OpenVino)


if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        print(json.dumps(missing(NEEDS)))
    else:
        answer(openvino_peer)
