// One of our .cu files as a library of the emulated driver. SOURCE names the file; KERNELS lists what it
// has, as `KERNEL(a) KERNEL(b)`.

#include "device.hpp"

#include SOURCE

#include "library.hpp"

template <auto kernel>
static void emulate(const emulated::Launch &launch, void **arguments) {
    Place grid = {launch.columns, launch.rows};
    emulated::launch(grid, launch.threads, [&] { emulated::call(kernel, arguments); }, launch.shared);
}

extern "C" __attribute__((visibility("default"))) void kernels(std::vector<emulated::Kernel> &list) {
#define KERNEL(name) list.push_back({#name, emulate<&name>});
    KERNELS
}
