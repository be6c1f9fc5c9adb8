"""The native engine: a GPT-2 on a CPU in 8 bits or 4, in C++ (`csrc`), as the calls of `dialogpt.engine`. No torch.

`library` opens what the package's build compiled and says which kernels this processor runs, `packed` is the file of
8-bit or 4-bit weights beside a checkpoint, `engine` runs it. docs/decoding.md explains how it works.
"""
