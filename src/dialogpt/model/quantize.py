"""A model with 8-bit weights, for fast decoding on a CPU with instructions for them.

Weights (N, K) have one scale a row. Activations are divided by the largest of their row before they are made 8-bit, so
a row's result does not depend on the batch it is in; products are summed exactly, in 32 bits. Embeddings and layer
norms stay as they are; the output layer has an 8-bit copy of the token embedding. The kernel is FBGEMM's, in torch.
"""

import warnings

import torch
from torch import Tensor, nn

from dialogpt.errors import UsageError
from dialogpt.model.gpt import GPT

STEPS = 127  # of a weight, on each side of zero
TINY = 1e-30


class Int8Linear(nn.Module):
    """x (..., K) -> (..., N), with weights (N, K) of 8 bits."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        weight = weight.detach().float().contiguous()
        scale = weight.abs().amax(-1).clamp(min=TINY) / STEPS
        zero = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings(action="ignore"):  # the deprecation warning of these types
            quantized = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(quantized, None)
        self.bias = None if bias is None else bias.detach().float()
        # Without VNNI pairs of products are summed in 16 bits, which holds 7-bit activations only.
        self.steps = 127 if torch.cpu._is_vnni_supported() else 63

    def forward(self, x: Tensor) -> Tensor:
        largest = x.abs().amax(-1, keepdim=True).clamp_(min=TINY)  # vector_norm takes ten times as long
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        y: Tensor = product(x / largest, 1 / self.steps, 128, self.packed)
        return y.mul_(largest) if self.bias is None else torch.addcmul(self.bias, y, largest)


def quantize(model: GPT) -> GPT:
    """Replace the model's weights by 8-bit ones; after that it can only be used, not trained or saved.

    Raises UsageError if torch has no kernel for it.
    """
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        raise UsageError("this processor has no kernel for --precision int8", "use --precision auto, bf16 or fp32")
    torch.backends.quantized.engine = "fbgemm"
    for block in model.transformer.h:
        for part, name in ((block.attn, "c_attn"), (block.attn, "c_proj"), (block.mlp, "c_fc"), (block.mlp, "c_proj")):
            linear = getattr(part, name)
            setattr(part, name, Int8Linear(linear.weight, linear.bias))
    model.output_layer = Int8Linear(model.transformer.wte.weight, None)
    return model.eval()
