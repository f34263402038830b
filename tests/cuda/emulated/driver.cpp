// A CUDA driver for a machine without a GPU, in place of libcuda: it has memory, one order of work and our
// kernels, which it runs on the processor (device.hpp). Built and used by `.ci/cuda emulate`.
//
// What is there is what the program calls. Memory comes poisoned, with guards behind it that are looked at
// when it is freed; a launch that a card would refuse is refused. Settings in the environment:
//   EMULATED_DEVICES  how many GPUs there are, 2 unless set
//   EMULATED_MEMORY   bytes of each, 8 GiB unless set
//   EMULATED_LOG      a file that gets a line for everything that is asked for, and at the end the peak of memory
//   EMULATED_IDLE     our kernels and products do not run, but for so many at the beginning (the trials of
//                     programs): for counting what a large problem asks for
//   EMULATED_FAULT    kernels with this in their names do nothing: what do programs do on a GPU that is broken?

#include <dirent.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "library.hpp"

using emulated::Kernel;
using emulated::Launch;

namespace {

enum Answer { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, NOT_FOUND = 500 };

struct Function {
    std::string name;
    void (*run)(const Launch &, void **);
    int dynamic_shared;  // bytes that a block may ask for
    bool ours;           // not candle's
};

std::recursive_mutex all;
thread_local int device;
std::map<std::string, Function> functions;

uint64_t setting(const char *name, uint64_t otherwise) {
    const char *value = getenv(name);
    return value ? strtoull(value, nullptr, 10) : otherwise;
}
uint64_t devices() { return setting("EMULATED_DEVICES", 2); }

[[noreturn]] void fail(const char *what, const std::string &where) {
    fprintf(stderr, "emulated GPU: %s: %s\n", where.c_str(), what);
    abort();
}

// --------------------------------------------------------------------------------------- the log

FILE *open_log() {
    const char *path = getenv("EMULATED_LOG");
    return path ? fopen(path, "a") : nullptr;
}
FILE *log_file() {
    static FILE *file = open_log();
    return file;
}

}  // namespace

extern "C" void emulated_catch_up();
extern "C" void emulated_log(const char *format, ...) {
    if (!log_file()) return;
    std::lock_guard<std::recursive_mutex> lock(all);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(log_file(), format, arguments);
    va_end(arguments);
    fputc('\n', log_file());
}
namespace {
bool idles() {
    static bool idle = getenv("EMULATED_IDLE");
    return idle;
}
}  // namespace
// Whether a kernel or product that is asked for is left out.
extern "C" bool emulated_idle() {
    static std::atomic<uint64_t> asked = 0;
    return idles() && asked++ >= setting("EMULATED_IDLE", 0);
}
extern "C" std::recursive_mutex &emulated_order() { return all; }

namespace {

// ----------------------------------------------------------------------------------------- memory

constexpr size_t GUARD = 256;

struct Block {
    size_t bytes;
    int device;
};
std::map<uint64_t, Block> blocks;
std::map<int, size_t> used, peak;

struct AtTheEnd {
    ~AtTheEnd() {
        for (auto [number, bytes] : peak) emulated_log("peak %d %zu", number, bytes);
        if (log_file()) fflush(log_file());
    }
} at_the_end;

Answer allocate(uint64_t *address, size_t bytes) {
    std::lock_guard<std::recursive_mutex> lock(all);
    emulated_log("allocate %zu", bytes);
    if (used[device] + bytes > setting("EMULATED_MEMORY", 8ull << 30)) return OUT_OF_MEMORY;
    size_t whole = (bytes + GUARD - 1) / GUARD * GUARD + GUARD;
    void *memory = aligned_alloc(GUARD, whole);
    if (!memory) return OUT_OF_MEMORY;
    memset(memory, 0xff, whole);
    if (idles()) memset(memory, 0, bytes);  // what nobody computes are numbers
    *address = (uint64_t)memory;
    blocks[*address] = {bytes, device};
    used[device] += bytes;
    peak[device] = std::max(peak[device], used[device]);
    return SUCCESS;
}

void check_guard(uint64_t address, const Block &block, const char *when) {
    const uint8_t *memory = (const uint8_t *)address;
    size_t whole = (block.bytes + GUARD - 1) / GUARD * GUARD + GUARD;
    for (size_t i = block.bytes; i < whole; i++)
        if (memory[i] != 0xff) fail("something was written behind the end of a tensor", when);
}

// Copies out of page-locked memory, which are made as late as a device may make them: whoever writes to
// that memory before has waited for too little.
struct Late {
    uint64_t to, from;
    size_t bytes;
};
std::vector<Late> late;
std::map<uint64_t, size_t> page_locked;

bool is_page_locked(uint64_t address, size_t bytes) {
    auto next = page_locked.upper_bound(address);
    if (next == page_locked.begin()) return false;
    auto &[start, length] = *std::prev(next);
    return address + bytes <= start + length;
}

Answer wait() {
    emulated_catch_up();
    emulated_log("wait");
    return SUCCESS;
}

Answer release(uint64_t address) {
    std::lock_guard<std::recursive_mutex> lock(all);
    emulated_catch_up();
    auto found = blocks.find(address);
    if (found == blocks.end()) return INVALID_VALUE;
    check_guard(address, found->second, "a tensor that was freed");
    emulated_log("free %zu", found->second.bytes);
    used[found->second.device] -= found->second.bytes;
    memset((void *)address, 0xff, found->second.bytes);
    free((void *)address);
    blocks.erase(found);
    return SUCCESS;
}

// Whether so many bytes from here on belong to one tensor.
bool inside(uint64_t address, size_t bytes) {
    auto next = blocks.upper_bound(address);
    if (next == blocks.begin()) return false;
    auto &[start, block] = *std::prev(next);
    return address + bytes <= start + block.bytes;
}

Answer copy(const char *way, uint64_t to, uint64_t from, size_t bytes) {
    std::lock_guard<std::recursive_mutex> lock(all);
    emulated_log("copy %s %zu", way, bytes);
    bool reads = strcmp(way, "up") != 0, writes = strcmp(way, "down") != 0;
    if ((reads && !inside(from, bytes)) || (writes && !inside(to, bytes))) return INVALID_VALUE;
    if (!reads && is_page_locked(from, bytes)) return late.push_back({to, from, bytes}), SUCCESS;
    emulated_catch_up();
    memmove((void *)to, (void *)from, bytes);
    return SUCCESS;
}

// ---------------------------------------------------------------------------------------- kernels

// All libraries of kernels beside this one.
void load_kernels() {
    if (!functions.empty()) return;
    Dl_info here;
    dladdr((void *)load_kernels, &here);
    std::string folder = here.dli_fname;
    folder.resize(folder.rfind('/') + 1);
    DIR *entries = opendir(folder.c_str());
    while (dirent *entry = entries ? readdir(entries) : nullptr) {
        if (strncmp(entry->d_name, "kernels_", 8) != 0) continue;
        void *library = dlopen((folder + entry->d_name).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!library) fail(dlerror(), entry->d_name);
        std::vector<Kernel> list;
        ((emulated::ListKernels *)dlsym(library, "kernels"))(list);
        bool ours = strcmp(entry->d_name, "kernels_candle.so") != 0;
        for (const Kernel &kernel : list)
            if (!functions.insert({kernel.name, {kernel.name, kernel.run, 48 << 10, ours}}).second)
                fail("two kernels of this name", kernel.name);
    }
    if (entries) closedir(entries);
}

}  // namespace

extern "C" {

// Does what was put off; before anything that looks at the device's memory.
void emulated_catch_up() {
    std::lock_guard<std::recursive_mutex> lock(all);
    for (const Late &copy : late) memcpy((void *)copy.to, (void *)copy.from, copy.bytes);
    late.clear();
}

// ---------------------------------------------------------------------------- devices and contexts

Answer cuInit(unsigned) { return devices() ? SUCCESS : NO_DEVICE; }
Answer cuDeviceGetCount(int *count) { return *count = (int)devices(), SUCCESS; }
Answer cuDeviceGet(int *out, int number) {
    if (number < 0 || number >= (int)devices()) return INVALID_DEVICE;
    *out = number;
    return SUCCESS;
}
Answer cuDeviceGetName(char *name, int length, int) {
    snprintf(name, (size_t)length, "emulated GPU");
    return SUCCESS;
}
Answer cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = setting("EMULATED_MEMORY", 8ull << 30), SUCCESS; }
Answer cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
        case 16: *value = 3; break;   // multiprocessors
        case 75: *value = 8; break;   // compute capability, before the dot
        case 76: *value = 0; break;   // and behind it
        case 97: *value = 163 << 10; break;  // shared memory of a block
        case 115: *value = 1; break;  // pools of memory
        default: fail("an attribute of the device that it does not have", std::to_string(attribute));
    }
    return SUCCESS;
}
Answer cuDevicePrimaryCtxRetain(void **context, int number) {
    *context = (void *)(intptr_t)(number + 1);
    return SUCCESS;
}
Answer cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
Answer cuCtxSetCurrent(void *context) { return device = (int)(intptr_t)context - 1, SUCCESS; }
Answer cuCtxGetCurrent(void **context) { return *context = (void *)(intptr_t)(device + 1), SUCCESS; }
Answer cuCtxSynchronize() { return wait(); }

// Everything but those copies is done when it is asked for, so streams and events have nothing to do.
Answer cuStreamCreate(void **stream, unsigned) { return *stream = (void *)1, SUCCESS; }
Answer cuStreamDestroy_v2(void *) { return SUCCESS; }
Answer cuStreamSynchronize(void *) { return wait(); }
Answer cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
Answer cuStreamIsCapturing(void *, int *status) { return *status = 0, SUCCESS; }
Answer cuEventCreate(void **event, unsigned) { return *event = (void *)1, SUCCESS; }
Answer cuEventRecord(void *, void *) { return SUCCESS; }
Answer cuEventSynchronize(void *) { return wait(); }
Answer cuEventDestroy_v2(void *) { return SUCCESS; }

// ------------------------------------------------------------------------------------------ memory

Answer cuMemAllocAsync(uint64_t *address, size_t bytes, void *) { return allocate(address, bytes); }
Answer cuMemAlloc_v2(uint64_t *address, size_t bytes) { return allocate(address, bytes); }
Answer cuMemFreeAsync(uint64_t address, void *) { return release(address); }
Answer cuMemFree_v2(uint64_t address) { return release(address); }
Answer cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
    std::lock_guard<std::recursive_mutex> lock(all);
    if (!(*memory = malloc(bytes))) return OUT_OF_MEMORY;
    page_locked[(uint64_t)*memory] = bytes;
    return SUCCESS;
}
Answer cuMemFreeHost(void *memory) {
    std::lock_guard<std::recursive_mutex> lock(all);
    for (const Late &copy : late)
        if (copy.from - (uint64_t)memory < page_locked[(uint64_t)memory])
            fail("page-locked memory was freed under a copy", "cuMemFreeHost");
    page_locked.erase((uint64_t)memory);
    return free(memory), SUCCESS;
}
Answer cuMemGetInfo_v2(size_t *available, size_t *total) {
    std::lock_guard<std::recursive_mutex> lock(all);
    cuDeviceTotalMem_v2(total, device);
    *available = *total - std::min(*total, used[device]);
    return SUCCESS;
}
Answer cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = (void *)1, SUCCESS; }
Answer cuMemPoolSetAttribute(void *, int, void *) { return SUCCESS; }
Answer cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) {
    return copy("up", to, (uint64_t)from, bytes);
}
Answer cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) {
    return copy("down", (uint64_t)to, from, bytes);
}
Answer cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *) { return copy("across", to, from, bytes); }
Answer cuMemcpyPeerAsync(uint64_t to, void *, uint64_t from, void *, size_t bytes, void *) {
    return copy("across", to, from, bytes);
}
Answer cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *) {
    std::lock_guard<std::recursive_mutex> lock(all);
    emulated_log("fill %zu", bytes);
    if (!inside(to, bytes)) return INVALID_VALUE;
    emulated_catch_up();
    memset((void *)to, value, bytes);
    return SUCCESS;
}

// ----------------------------------------------------------------------------------------- kernels

Answer cuModuleLoadData(void **module, const void *) {
    std::lock_guard<std::recursive_mutex> lock(all);
    load_kernels();
    *module = (void *)1;
    return SUCCESS;
}
Answer cuModuleUnload(void *) { return SUCCESS; }
Answer cuModuleGetFunction(void **function, void *, const char *name) {
    std::lock_guard<std::recursive_mutex> lock(all);
    auto found = functions.find(name);
    if (found == functions.end()) {
        fprintf(stderr, "emulated GPU: no kernel %s\n", name);
        return NOT_FOUND;
    }
    *function = &found->second;
    return SUCCESS;
}
Answer cuFuncGetAttribute(int *value, int attribute, void *function) {
    switch (attribute) {
        case 5: *value = 80; break;  // compiled for
        case 8: *value = ((Function *)function)->dynamic_shared; break;
        default: fail("an attribute of a kernel that it does not have", std::to_string(attribute));
    }
    return SUCCESS;
}
Answer cuFuncSetAttribute(void *function, int attribute, int value) {
    if (attribute != 8 || value > 163 << 10) return INVALID_VALUE;  // as much as compute capability 8.0 has
    ((Function *)function)->dynamic_shared = value;
    return SUCCESS;
}
Answer cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, void *, int, size_t, unsigned) {
    return *blocks = 2, SUCCESS;
}
Answer cuLaunchKernel(void *handle, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
    unsigned threads_z, unsigned shared, void *, void **arguments, void **) {
    std::lock_guard<std::recursive_mutex> lock(all);
    Function &function = *(Function *)handle;
    emulated_log("launch %s %u %u %u %u", function.name.c_str(), x, y, threads, shared);
    threads *= threads_y * threads_z;
    bool there = x > 0 && y > 0 && y < 1 << 16 && z == 1 && threads > 0 && threads <= 1024;
    if (!there || shared > (unsigned)function.dynamic_shared) return INVALID_VALUE;
    emulated_catch_up();
    static const char *fault = getenv("EMULATED_FAULT");
    if (fault && function.name.find(fault) != std::string::npos) return SUCCESS;
    if (!function.ours || !emulated_idle()) function.run({x, y, threads, shared}, arguments);
    return SUCCESS;
}

// ------------------------------------------------------------------------------------------ errors

Answer cuGetErrorName(Answer answer, const char **name) {
    switch (answer) {
        case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
        case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; break;
        case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; break;
        default: *name = "CUDA_ERROR_INVALID_VALUE";
    }
    return SUCCESS;
}
Answer cuGetErrorString(Answer answer, const char **text) {
    switch (answer) {
        case OUT_OF_MEMORY: *text = "out of memory"; break;
        case INVALID_DEVICE: *text = "invalid device ordinal"; break;
        case NO_DEVICE: *text = "no CUDA-capable device is detected"; break;
        case NOT_FOUND: *text = "named symbol not found"; break;
        default: *text = "invalid argument";
    }
    return SUCCESS;
}
}
