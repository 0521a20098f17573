// What Rust's bindings of libtorch do not offer: the storage behind a tensor, and who else holds it.

#include <ATen/core/TensorBase.h>
#include <c10/core/Allocator.h>

extern "C" {

// A new reference to the storage of `tensor`, an at::Tensor.
void* evopress_storage(const void* tensor) noexcept {
    return new c10::Storage(static_cast<const at::TensorBase*>(tensor)->storage());
}

// Gives the reference up. If the storage is still in use, its borrowed memory is replaced by a copy, under all tensors
// that alias it. Returns whether that was so. Out of memory ends the process: the alternative is a dangling pointer.
int evopress_settle_storage(void* reference) noexcept {
    auto* storage = static_cast<c10::Storage*>(reference);
    const bool is_aliased = storage->use_count() > 1;
    if (is_aliased) {
        c10::Allocator* allocator = c10::GetAllocator(storage->device_type());
        storage->set_data_ptr_noswap(allocator->clone(storage->data(), storage->nbytes()));
    }
    delete storage;
    return is_aliased;
}

// Whether `tensor`, an at::Tensor, is the only way to its elements: no other handle of it, no other tensor over its storage.
int evopress_is_sole(const void* tensor) noexcept {
    const auto* base = static_cast<const at::TensorBase*>(tensor);
    return base->has_storage() && base->use_count() == 1 && base->storage().use_count() == 1;
}

}
