// Which table of kernels this processor runs.
#include <cstring>
#include <string>

#include "kernels.h"

#ifdef DIALOGPT_X86
#include <cpuid.h>
#endif

namespace dialogpt {
namespace {

#ifdef DIALOGPT_X86
// AVX-VNNI is asked of the processor itself: compilers know its name from some version on only.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

struct Choice {
  const Kernels* kernels;
  bool (*runs)();
};

const Choice kChoices[] = {  // the best first
#ifdef DIALOGPT_X86
    {&kAvx512, has_avx512},
    {&kAvxVnni, [] { return has_avx2() && has_avx_vnni(); }},
    {&kAvx2, has_avx2},
#endif
    {&kPortable, [] { return true; }},
};

}  // namespace

const Kernels* choose(const char* name) {
  for (const Choice& choice : kChoices)
    if (choice.runs() && (!*name || !std::strcmp(name, choice.kernels->name))) return choice.kernels;
  return nullptr;
}

const char* choices() {
  static const std::string names = [] {
    std::string found;
    for (const Choice& choice : kChoices)
      if (choice.runs()) found += (found.empty() ? "" : " ") + std::string(choice.kernels->name);
    return found;
  }();
  return names.c_str();
}

}  // namespace dialogpt
