// How kernels reach the emulated driver: every library of kernels has one function that lists them.

#pragma once

#include <tuple>
#include <utility>
#include <vector>

namespace emulated {

struct Launch {
    unsigned columns, rows, threads, shared;  // blocks in x and y, threads of a block, bytes of its memory
};

struct Kernel {
    const char *name;
    void (*run)(const Launch &launch, void **arguments);
};

// What a library of kernels exports under the name `kernels`.
typedef void ListKernels(std::vector<Kernel> &list);

// Calls a function with arguments that lie where the pointers say, by the types that it declares.
template <class... Types, size_t... Places>
void call(void (*function)(Types...), void **arguments, std::index_sequence<Places...>) {
    function(*(std::remove_reference_t<Types> *)arguments[Places]...);
}
template <class... Types>
void call(void (*function)(Types...), void **arguments) {
    call(function, arguments, std::index_sequence_for<Types...>());
}

}  // namespace emulated
