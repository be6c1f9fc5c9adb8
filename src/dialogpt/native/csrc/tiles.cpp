// Whether this process may use AMX's tiles: the processor has them, and Linux gives them on demand alone, since a thread
// that uses them has 8 KB more to be saved.
#ifdef DIALOGPT_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels.h"

namespace dialogpt {

std::string tiles_refusal() {
  constexpr unsigned kTiles = 1u << 24, kInt8 = 1u << 25;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kTiles) || !(d & kInt8)) return "this processor has no AMX";
  if (::syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0)
    return std::string("the system does not permit AMX: ") + std::strerror(errno);
  return "";
}

}  // namespace dialogpt
#endif
