// Which table of kernels this processor runs.
#include <cstring>
#include <string>

#include "kernels.h"

#ifdef DIALOGPT_X86
#include <cpuid.h>
#endif
#if defined(DIALOGPT_ARM) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(DIALOGPT_ARM)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace dialogpt {
namespace {

const char* unless(bool has, const char* refusal) { return has ? "" : refusal; }

#ifdef DIALOGPT_X86
// Two are asked of the processor itself: AVX-VNNI's name is known to compilers from some version on only, F16C's to
// GCC alone.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}

bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 29));
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
#endif

#ifdef DIALOGPT_ARM
bool has_dot_products() {
#ifdef __APPLE__
  int found = 0;
  size_t size = sizeof found;
  return ::sysctlbyname("hw.optional.arm.FEAT_DotProd", &found, &size, nullptr, 0) == 0 && found;
#else
  return ::getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#endif
}
#endif

#ifdef DIALOGPT_AMX
const char* amx_refusal() {
  static const std::string found = [] {
    if (!has_avx512()) return std::string("this processor has no AVX-512 VNNI");
    std::string why = tiles_refusal();
    if (why.empty() && !same_products(kAmx, kAvx512)) why = "a product by AMX was not that of avx512";
    return why;
  }();
  return found.c_str();
}
#endif

struct Choice {
  const Kernels* kernels;
  const char* (*refusal)();
};

const Choice kChoices[] = {  // the best first
#ifdef DIALOGPT_AMX
    {&kAmx, amx_refusal},
#endif
#ifdef DIALOGPT_X86
    {&kAvx512, [] { return unless(has_avx512(), "this processor has no AVX-512 VNNI"); }},
    {&kAvxVnni, [] { return unless(has_avx2() && has_avx_vnni(), "this processor has no AVX-VNNI"); }},
    {&kAvx2, [] { return unless(has_avx2(), "this processor has no AVX2"); }},
    {&kSse4, [] { return unless(__builtin_cpu_supports("sse4.1"), "this processor has no SSE4.1"); }},
#endif
#ifdef DIALOGPT_ARM
    {&kNeon, [] { return unless(has_dot_products(), "this processor has no dot products"); }},
    {&kArmv8, [] { return ""; }},
#endif
    {&kPortable, [] { return ""; }},
};

}  // namespace

const Kernels* choose(const char* name) {
  for (const Choice& choice : kChoices)
    if ((!*name || !std::strcmp(name, choice.kernels->name)) && !*choice.refusal()) return choice.kernels;
  return nullptr;
}

const char* refusal(const char* name) {
  for (const Choice& choice : kChoices)
    if (!std::strcmp(name, choice.kernels->name)) return choice.refusal();
  return "it was not built";
}

const char* choices() {
  static const std::string names = [] {
    std::string found;
    for (const Choice& choice : kChoices)
      if (!*choice.refusal()) found += (found.empty() ? "" : " ") + std::string(choice.kernels->name);
    return found;
  }();
  return names.c_str();
}

}  // namespace dialogpt
