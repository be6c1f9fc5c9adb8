"""The engines that `bench/decode.py` measures `dialogpt` against, as `Decoder`s of `bench/decode_tasks.py`.

    transformers  `generate` in fp32 or bf16; the cache is kept between turns and shared by hypotheses, bulk is sorted
    ctranslate2   its converter's int8 model; it keeps no cache from turn to turn
    llama.cpp     a q8_0 or q4_1 GGUF, by `llama_decode`: a sequence per row, logits only where needed; no beams

Each reads a checkpoint's folder, into which `convert` first puts its own files.
"""

import ctypes
import json
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from decode_tasks import CONVERT, HYPOTHESES, TOP_K, Decoder, Measured, Told, Work, answer, measure

NEEDS = {
    "transformers": ["torch", "transformers"],
    "ctranslate2": ["torch", "transformers", "ctranslate2"],
    "llama.cpp": ["llama_cpp", "gguf", "safetensors"],
}
GGUF_NAMES = {  # of a block's weights; those of two dimensions are turned, from (in, out) to (out, in)
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip


class Transformers:
    """`AutoModelForCausalLM` and `generate`."""

    def __init__(self, work: Work, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        torch.set_num_threads(work.threads)
        self.torch, self.device, self.end_id = torch, work.device, work.end_id
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[work.precision]
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(work.device).eval()
        self.model.generation_config = GenerationConfig(eos_token_id=work.end_id, pad_token_id=work.end_id)

    def _generate(self, rows: list[list[int]], new: int, **options: Any) -> list[list[int]]:
        """Rows are padded on the left."""
        longest = max(map(len, rows))
        padded = [[self.end_id] * (longest - len(row)) + row for row in rows]
        seen = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        ids, mask = (self.torch.tensor(x, device=self.device) for x in (padded, seen))
        options = {"do_sample": False, "min_new_tokens": new, "max_new_tokens": new, **options}
        with self.torch.inference_mode():
            found: list[list[int]] = self.model.generate(ids, attention_mask=mask, **options)[:, longest:].tolist()
        return found

    def reply(self, context: list[int], new: int, told: Told) -> list[int]:
        class Streamer:
            prompt = True

            def put(self, tokens: Any) -> None:
                if not self.prompt:
                    told()
                self.prompt = False

            def end(self) -> None:
                pass

        return self._generate([context], new, streamer=Streamer())[0]

    def converse(self, turns: list[list[int]], new: int) -> list[list[int]]:
        from transformers import DynamicCache

        cache, context, replies = DynamicCache(), list[int](), list[list[int]]()
        for turn in turns:
            context += turn
            replies += self._generate([context], new, past_key_values=cache)
            context += replies[-1]
        return replies

    def hypotheses(self, context: list[int], number: int, new: int, seed: int) -> list[list[int]]:
        from transformers import DynamicCache

        self.torch.manual_seed(seed)
        cache = DynamicCache()
        with self.torch.inference_mode():  # the context is read once, not once a hypothesis
            self.model(self.torch.tensor([context[:-1]], device=self.device), past_key_values=cache, logits_to_keep=1)
        cache.batch_repeat_interleave(number)
        return self._generate([context] * number, new, do_sample=True, top_k=TOP_K, past_key_values=cache)

    def nats(self, hypotheses: list[list[int]], source: list[int]) -> list[float]:
        ids = self.torch.tensor([hypothesis + source for hypothesis in hypotheses], device=self.device)
        with self.torch.inference_mode():
            logits = self.model(ids[:, :-1], use_cache=False, logits_to_keep=len(source)).logits.float()
            logprobs = logits.log_softmax(-1).gather(-1, ids[:, -len(source) :, None])
        return [-float(total) for total in logprobs.sum((1, 2)).tolist()]

    def beam(self, context: list[int], beams: int, new: int) -> list[int]:
        return self._generate([context], new, num_beams=beams)[0]

    def bulk(self, contexts: list[list[int]], new: int, batch: int) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for places in batches(contexts, batch):
            found |= zip(places, self._generate([contexts[i] for i in places], new), strict=True)
        return [found[i] for i in range(len(contexts))]


def batches(contexts: list[list[int]], batch: int) -> Iterable[list[int]]:
    """The places of contexts of like lengths."""
    order = sorted(range(len(contexts)), key=lambda i: len(contexts[i]))
    return [order[start : start + batch] for start in range(0, len(order), batch)]


class CTranslate2:
    """`ctranslate2.Generator`."""

    def __init__(self, work: Work, folder: str) -> None:
        import ctranslate2

        own = Path(folder) / "ctranslate2"
        self.generator: Any = ctranslate2.Generator(
            str(own), work.device, compute_type=work.precision, inter_threads=work.workers, intra_threads=work.threads
        )
        self.vocabulary: list[str] = json.loads((own / "vocabulary.json").read_text(encoding="utf-8"))
        self.work = work

    def _generate(self, contexts: list[list[int]], new: int, **options: Any) -> list[list[int]]:
        found = self.generator.generate_batch(
            [self._words(context) for context in contexts], max_length=new, min_length=new,
            include_prompt_in_result=False, **options,
        )  # fmt: skip
        return [tokens for result in found for tokens in result.sequences_ids]

    def _words(self, tokens: list[int]) -> list[str]:
        return [self.vocabulary[token] for token in tokens]

    def reply(self, context: list[int], new: int, told: Told) -> list[int]:
        return self._generate([context], new, callback=lambda _: told())[0]

    def converse(self, turns: list[list[int]], new: int) -> list[list[int]]:
        context, replies = list[int](), list[list[int]]()
        for turn in turns:
            context += turn
            replies += self._generate([context], new)
            context += replies[-1]
        return replies

    def hypotheses(self, context: list[int], number: int, new: int, seed: int) -> list[list[int]]:
        import ctranslate2

        ctranslate2.set_random_seed(seed)
        return self._generate([context], new, num_hypotheses=number, sampling_topk=TOP_K)

    def nats(self, hypotheses: list[list[int]], source: list[int]) -> list[float]:
        scored = self.generator.score_batch([self._words(hypothesis + source) for hypothesis in hypotheses])
        return [-sum(result.log_probs[-len(source) :]) for result in scored]

    def beam(self, context: list[int], beams: int, new: int) -> list[int]:
        return self._generate([context], new, beam_size=beams)[0]

    def bulk(self, contexts: list[list[int]], new: int, batch: int) -> list[list[int]]:
        return self._generate(contexts, new, max_batch_size=batch)  # sorted by length, and shared by the workers


class LlamaCpp:
    """llama.cpp by the calls of its C library."""

    def __init__(self, work: Work, folder: str) -> None:
        import llama_cpp

        self.lib: Any = llama_cpp
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        rows, tokens = {"mmi": (HYPOTHESES, 1024), "bulk": (work.batch, work.batch * 128)}.get(work.task, (1, 1024))
        model = llama_cpp.llama_model_load_from_file(
            str(Path(folder) / f"{work.precision}.gguf").encode(), llama_cpp.llama_model_default_params()
        )
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_seq_max = tokens, tokens, rows
        options.n_threads = options.n_threads_batch = work.threads
        options.kv_unified = work.task != "bulk"  # rows with one context share its cells
        self.context: Any = llama_cpp.llama_init_from_model(model, options)
        self.memory: Any = llama_cpp.llama_get_memory(self.context)
        self.batch: Any = llama_cpp.llama_batch_init(tokens, 0, 1)
        self.vocab_size, self.end_id = work.vocab_size, work.end_id

    def _read(self, tokens: list[tuple[int, int, int, bool]]) -> np.ndarray:
        """Read (token, position, sequence, whether its logits are wanted); the logits, the end token's -inf."""
        self.batch.n_tokens = len(tokens)
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            self.batch.token[i], self.batch.pos[i] = token, position
            self.batch.n_seq_id[i], self.batch.seq_id[i][0], self.batch.logits[i] = 1, sequence, wanted
        if code := self.lib.llama_decode(self.context, self.batch):
            raise RuntimeError(f"llama_decode returned {code}")
        rows = sum(wanted for *_, wanted in tokens)
        return np.ctypeslib.as_array(self.lib.llama_get_logits(self.context), (rows, self.vocab_size))

    def _clear(self) -> None:
        self.lib.llama_memory_clear(self.memory, False)

    def _greedy(self, logits: np.ndarray) -> list[int]:
        logits[:, self.end_id] = -np.inf
        return [int(token) for token in logits.argmax(-1)]

    def _continue(self, starts: list[int], logits: np.ndarray, new: int, told: Told = lambda: None) -> list[list[int]]:
        """Greedy replies of sequences that have read `starts` tokens each."""
        made: list[list[int]] = [[] for _ in starts]
        for step in range(new):
            for tokens, token in zip(made, self._greedy(logits), strict=True):
                tokens.append(token)
            told()
            if step < new - 1:
                logits = self._read([(made[i][-1], start + step, i, True) for i, start in enumerate(starts)])
        return made

    def reply(self, context: list[int], new: int, told: Told) -> list[int]:
        self._clear()
        return self._continue([len(context)], self._read(_only_last(context, 0, 0)), new, told)[0]

    def converse(self, turns: list[list[int]], new: int) -> list[list[int]]:
        self._clear()
        read, left, replies = 0, list[int](), list[list[int]]()
        for turn in turns:
            logits = self._read(_only_last(left + turn, read, 0))
            read += len(left + turn)
            replies += self._continue([read], logits, new)
            read, left = read + new - 1, replies[-1][-1:]
        return replies

    def hypotheses(self, context: list[int], number: int, new: int, seed: int) -> list[list[int]]:
        self._clear()
        chain = self.lib.llama_sampler_chain_init(self.lib.llama_sampler_chain_default_params())
        self.lib.llama_sampler_chain_add(chain, self.lib.llama_sampler_init_top_k(TOP_K))
        self.lib.llama_sampler_chain_add(chain, self.lib.llama_sampler_init_dist(seed))
        logits = self._read(_only_last(context, 0, 0))
        for row in range(1, number):
            self.lib.llama_memory_seq_cp(self.memory, 0, row, -1, -1)
        made: list[list[int]] = [[] for _ in range(number)]
        for step in range(new):
            logits[:, self.end_id] = -np.inf  # in place: it is where the sampler reads
            for row, tokens in enumerate(made):
                tokens.append(self.lib.llama_sampler_sample(chain, self.context, row if step else -1))
            if step < new - 1:
                logits = self._read([(made[i][-1], len(context) + step, i, True) for i in range(number)])
        self.lib.llama_sampler_free(chain)
        return made

    def nats(self, hypotheses: list[list[int]], source: list[int]) -> list[float]:
        self._clear()
        tokens = [
            (token, place, row, place >= len(hypothesis) - 1)
            for row, hypothesis in enumerate(hypotheses)
            for place, token in enumerate((hypothesis + source)[:-1])
        ]
        logits = self._read(tokens).reshape(len(hypotheses), len(source), -1)
        highest = logits.max(-1)
        totals = np.log(np.exp(logits - highest[..., None]).sum(-1)) + highest
        found: list[float] = (totals - logits[:, np.arange(len(source)), source]).sum(-1).tolist()
        return found

    def beam(self, context: list[int], beams: int, new: int) -> list[int]:
        raise NotImplementedError("llama.cpp has no beam search")

    def bulk(self, contexts: list[list[int]], new: int, batch: int) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for places in batches(contexts, batch):
            self._clear()
            tokens = [token for row, i in enumerate(places) for token in _only_last(contexts[i], 0, row)]
            made = self._continue([len(contexts[i]) for i in places], self._read(tokens), new)
            found |= zip(places, made, strict=True)
        return [found[i] for i in range(len(contexts))]


def _only_last(tokens: list[int], start: int, sequence: int) -> list[tuple[int, int, int, bool]]:
    last = len(tokens) - 1
    return [(token, start + i, sequence, i == last) for i, token in enumerate(tokens)]


def convert(work: Work) -> Measured:
    """Put the files of an engine into both models' folders."""
    for folder in map(Path, (work.model, work.backward)):
        if work.engine == "ctranslate2":
            from ctranslate2.converters import TransformersConverter

            TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"), quantization="int8")
        elif work.engine == "llama.cpp":
            write_gguf(folder, work.precision)
    return Measured()


def write_gguf(folder: Path, precision: str) -> None:
    """A GGUF of architecture gpt2 without a vocabulary: layers as named, the embedding q8_0, all else fp32."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(folder / f"{precision}.gguf", "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{precision.upper()}"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    of_layers, of_embedding = gguf.GGMLQuantizationType[precision.upper()], gguf.GGMLQuantizationType.Q8_0
    for name, weight in load_file(folder / "model.safetensors").items():
        target = gguf_name(name)
        if weight.ndim == 2 and target != "position_embd.weight":
            turned, kind = (weight.T, of_layers) if target.startswith("blk.") else (weight, of_embedding)
            writer.add_tensor(target, gguf.quants.quantize(np.ascontiguousarray(turned), kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    """`transformer.h.3.mlp.c_fc.bias` is `blk.3.ffn_up.bias`."""
    part, _, kind = name.removeprefix("transformer.").rpartition(".")
    if part.startswith("h."):
        _, layer, of_block = part.split(".", 2)
        return f"blk.{layer}.{GGUF_NAMES[of_block]}.{kind}"
    return f"{ {'wte': 'token_embd', 'wpe': 'position_embd', 'ln_f': 'output_norm'}[part] }.{kind}"


DECODERS: dict[str, Callable[[Work, str], Decoder]] = {
    "transformers": Transformers,
    "ctranslate2": CTranslate2,
    "llama.cpp": LlamaCpp,
}


def peer(work: Work) -> Measured:
    return convert(work) if work.task == CONVERT else measure(work, DECODERS[work.engine])


if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        print(json.dumps({name: [n for n in needs if find_spec(n) is None] for name, needs in NEEDS.items()}))
    else:
        answer(peer)
