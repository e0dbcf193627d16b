//! The allocator of the binary. glibc's keeps what was freed once anything lies above it: after a load of wildcards
//! 264 MiB of free memory stayed, where this one keeps 50 and gives the rest back within ten seconds, on a thread of its
//! own.

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
