/// @file
/// libkvcache for C++17 and later: kvcache.h behind move-only handles, spans and results. Header only.
///
/// The manual is kvcache.h: what each function does, which statuses it answers, who may call it when, and who owns
/// which memory. This header adds who gives things back, and says at each function which one of the C functions it
/// calls. Constants (KVC_POLICY_LRU, KVC_TIER_NVME, KVC_COPY_HOT) are those of kvcache.h.
///
///     kvcache::config config;
///     config.block_bytes = 64 << 10;
///     config.cpu_bytes = 64 << 20;
///     auto engine = kvcache::engine::open(config);
///     if (!engine)
///         return std::fprintf(stderr, "%s\n", engine.error().message), 1;
///
///     auto key = kvcache::key::derive(0, {}, std::string_view("greeting")).value();
///     kvcache::ensure(engine->put(key, std::string_view("hello")));
///     if (auto view = engine->acquire(key))
///         std::fwrite(view->data(), 1, view->size(), stdout);
///
/// - Errors: nothing throws but what says so: expected::value and ensure. Everything else answers a `status`, or an
///   `expected` that holds either a value or the status. Without exceptions (-fno-exceptions) the two end the program.
/// - Ownership: engine, view, views, reservation, lane, codec and codec_tables own what they stand for and give it
///   back in their destructors. They are moved, never copied. One that was moved from, closed or made by default is
///   empty: engines and codecs answer status::e_handle then, the others status::e_stale.
/// - Order: an engine is the last to go. While there are views, reservations or lanes of it, close answers
///   status::e_busy; a destructor that meets this leaves the engine open, so that nothing that is lent becomes invalid.
/// - Threads: as kvcache.h says of the C function. A const member of engine or codec may be called by any number of
///   threads at once; a member that is not const, by one thread with no other in a call. Each other object belongs to
///   one thread at a time.
/// - Allocation: nothing here allocates but what says so.
///
/// Spans are std::span where the standard library has it, else a small type of this header. Define KVCACHE_OWN_SPAN
/// to have the latter everywhere: where one program is compiled partly as C++17 and partly as C++20 and hands types of
/// this header across.
#ifndef KVCACHE_HPP
#define KVCACHE_HPP

#include <time.h>

#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#if defined(__has_include) && !defined(KVCACHE_OWN_SPAN)
#if __has_include(<version>)
#include <version>
#endif
#endif

#if defined(__cpp_lib_span) && !defined(KVCACHE_OWN_SPAN)
/// 1 where spans are std::span, 0 where they are this header's own.
#define KVCACHE_STD_SPAN 1
#include <span>
#else
#define KVCACHE_STD_SPAN 0
#endif

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
/// 1 where expected::value and ensure throw, 0 where they end the program.
#define KVCACHE_EXCEPTIONS 1
#include <stdexcept>
#else
#define KVCACHE_EXCEPTIONS 0
#endif

#include "kvcache.h"

/// Everything of this header.
namespace kvcache {

// Units with other spans are other types to the linker, rather than one type with two definitions.
#if KVCACHE_STD_SPAN
inline namespace std_span {
#else
inline namespace own_span {
#endif

// ---------------------------------------------------------------------------------------------------------------------
// Statuses
// ---------------------------------------------------------------------------------------------------------------------

/// What a call answers: the numbers of kvc_status_t. Zero is done, positive expected in normal use, negative an error.
enum class [[nodiscard]] status : std::int32_t{
    /// Done.
    ok = KVC_OK,
    /// The block is not resident.
    miss = KVC_MISS,
    /// Another producer is filling this block, it is still arriving, or the operation is under way.
    pending = KVC_PENDING,
    /// No room at present; the same call may succeed later.
    again = KVC_AGAIN,
    /// The block is resident already; nothing was stored.
    exists = KVC_EXISTS,
    /// The operation was cancelled.
    cancelled = KVC_CANCELLED,
    /// The time given ran out; the operation goes on.
    timeout = KVC_TIMEOUT,
    /// An argument is outside its documented range.
    e_argument = KVC_E_ARGUMENT,
    /// A pointer that must not be NULL is NULL.
    e_null = KVC_E_NULL,
    /// The engine or codec is not open: closed, moved from, or never opened.
    e_handle = KVC_E_HANDLE,
    /// The view, reservation, lane or ticket was given back already, or never existed.
    e_stale = KVC_E_STALE,
    /// Something that this version of the library does not know.
    e_unsupported = KVC_E_UNSUPPORTED,
    /// More bytes than a block may have.
    e_too_large = KVC_E_TOO_LARGE,
    /// The buffer is smaller than what has to go into it.
    e_too_small = KVC_E_TOO_SMALL,
    /// The bytes are not what the library made.
    e_damaged = KVC_E_DAMAGED,
    /// A field of the configuration is outside its range.
    e_config = KVC_E_CONFIG,
    /// Two fields of the configuration contradict each other.
    e_conflict = KVC_E_CONFLICT,
    /// The system did not give the memory.
    e_no_memory = KVC_E_NO_MEMORY,
    /// Huge pages are required and not to be had.
    e_huge_pages = KVC_E_HUGE_PAGES,
    /// The memory could not be locked.
    e_lock = KVC_E_LOCK,
    /// A worker thread could not be started.
    e_thread = KVC_E_THREAD,
    /// The device is not there.
    e_no_device = KVC_E_NO_DEVICE,
    /// An event file descriptor could not be made.
    e_event_fd = KVC_E_EVENT_FD,
    /// The file could not be opened, made or locked.
    e_file = KVC_E_FILE,
    /// The file system has no room.
    e_no_space = KVC_E_NO_SPACE,
    /// Another process, or another engine, has the file open.
    e_file_busy = KVC_E_FILE_BUSY,
    /// The file holds a tier of another geometry, layout or version.
    e_file_mismatch = KVC_E_FILE_MISMATCH,
    /// The file holds something, and it is no tier.
    e_file_foreign = KVC_E_FILE_FOREIGN,
    /// The file is damaged, and the configuration asks for a refusal then.
    e_file_damaged = KVC_E_FILE_DAMAGED,
    /// io_uring is required and not permitted here.
    e_no_uring = KVC_E_NO_URING,
    /// The tier is offline.
    e_offline = KVC_E_OFFLINE,
    /// The tier's endurance budget is used up for now.
    e_endurance = KVC_E_ENDURANCE,
    /// Something is still held or under way, or a lane is used by two threads at once.
    e_busy = KVC_E_BUSY,
    /// The engine was shut down.
    e_shutdown = KVC_E_SHUTDOWN,
    /// The engine had an internal failure and can only be closed.
    e_poisoned = KVC_E_POISONED,
    /// The engine was opened by a parent process.
    e_forked = KVC_E_FORKED,
    /// An internal failure was caught.
    e_internal = KVC_E_INTERNAL,
};

/// The name of a status, "KVC_MISS" for one (kvc_status_name). Never NULL, lent for ever.
[[nodiscard]] inline const char *name(status code) noexcept { return kvc_status_name(static_cast<kvc_status_t>(code)); }

/// Whether a status is an error: the program, the configuration or the machine is at fault.
[[nodiscard]] constexpr bool is_error(status code) noexcept { return static_cast<std::int32_t>(code) < 0; }

/// The library's version as text, "0.1.0" for one (kvc_version). Never NULL, lent for ever.
[[nodiscard]] inline const char *version() noexcept { return kvc_version(); }

/// Whether the library that is loaded has the binary interface that this header was made for (kvc_abi_version).
[[nodiscard]] inline bool abi_matches() noexcept { return kvc_abi_version() == KVC_ABI_VERSION; }

#if KVCACHE_EXCEPTIONS
/// What expected::value and ensure throw. Allocates, as std::runtime_error does.
class exception : public std::runtime_error {
public:
    /// Made of a status and a sentence about it.
    exception(status code, const char *message) : std::runtime_error(message), code_(code) {}
    /// The status.
    status code() const noexcept { return code_; }

private:
    status code_;
};
#endif

/// What the rest of this header is made of; not for programs.
namespace detail {

[[noreturn]] inline void raise(status code, const char *message) {
#if KVCACHE_EXCEPTIONS
    throw exception(code, message);
#else
    std::fprintf(stderr, "kvcache: %s (%s)\n", message, kvcache::name(code));
    std::abort();
#endif
}

constexpr status status_of(kvc_status_t code) noexcept { return static_cast<status>(code); }

/// An address that no engine and no codec ever has: the library answers KVC_E_HANDLE for it.
alignas(64) inline char nothing[64] = {};

inline std::uint64_t nanoseconds(std::chrono::nanoseconds time) noexcept {
    if (time == std::chrono::nanoseconds::max())
        return UINT64_MAX;
    return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

/// Opens the doors between the types of this header.
struct access;

constexpr status code_of(status error) noexcept { return error; }
inline const char *text_of(status error) noexcept { return kvcache::name(error); }

} // namespace detail

/// The throwing layer for calls that answer a status: throws kvcache::exception unless it is status::ok. Without
/// exceptions it prints the status and ends the program.
inline void ensure(status code) {
    if (code != status::ok)
        detail::raise(code, name(code));
}

// ---------------------------------------------------------------------------------------------------------------------
// Results
// ---------------------------------------------------------------------------------------------------------------------

/// A struct of kvcache.h that grows: all defaults, with its struct_size set. Otherwise it is that struct.
template <class T> struct sized : T {
    /// Everything zero but struct_size.
    sized() noexcept : T() { this->struct_size = sizeof(T); }
};

/// Why a configuration was refused, or what the system did not give: the fields of kvc_error_t, and the status.
struct refusal : sized<kvc_error_t> {
    /// The status that the call answered.
    kvcache::status code() const noexcept { return static_cast<kvcache::status>(this->kvc_error_t::status); }
};

namespace detail {

inline status code_of(const refusal &error) noexcept { return error.code(); }
inline const char *text_of(const refusal &error) noexcept { return error.message; }

} // namespace detail

/// A value, or why there is none. Like std::expected of C++23, but the error is there also beside a value (status::ok).
///
/// Made by the functions of this header. Costs what its members cost; never allocates.
template <class T, class E = status> class [[nodiscard]] expected {
public:
    /// The type of the value.
    using value_type = T;
    /// The type of the error: `status`, or `refusal` for what takes a configuration.
    using error_type = E;

    /// A value. The error is status::ok.
    expected(T value) noexcept(std::is_nothrow_move_constructible_v<T>) : value_(std::move(value)), error_() {}

    /// An error, which is not status::ok. The value is an empty one.
    [[nodiscard]] static expected failed(E error) noexcept {
        expected made;
        made.error_ = std::move(error);
        return made;
    }

    /// Whether there is a value.
    [[nodiscard]] bool has_value() const noexcept { return detail::code_of(error_) == status::ok; }
    /// Whether there is a value.
    explicit operator bool() const noexcept { return has_value(); }

    /// The status: status::ok where there is a value.
    status code() const noexcept { return detail::code_of(error_); }
    /// The error; says status::ok where there is a value.
    [[nodiscard]] const E &error() const noexcept { return error_; }

    /// The value. There must be one: not checked unless NDEBUG is missing.
    [[nodiscard]] T &operator*() &noexcept { return assert(has_value()), value_; }
    /// The value. There must be one.
    [[nodiscard]] const T &operator*() const &noexcept { return assert(has_value()), value_; }
    /// The value, to move from. There must be one.
    [[nodiscard]] T &&operator*() &&noexcept { return assert(has_value()), std::move(value_); }
    /// The value's members. There must be a value.
    [[nodiscard]] T *operator->() noexcept { return assert(has_value()), &value_; }
    /// The value's members. There must be a value.
    [[nodiscard]] const T *operator->() const noexcept { return assert(has_value()), &value_; }

    /// The throwing layer: the value, or throws kvcache::exception. Without exceptions it prints the error and ends
    /// the program.
    [[nodiscard]] T &value() & { return checked(), value_; }
    /// As above.
    [[nodiscard]] const T &value() const & { return checked(), value_; }
    /// As above, moved out.
    [[nodiscard]] T value() && { return checked(), std::move(value_); }
    /// The value, or another one where there is none.
    template <class U> [[nodiscard]] T value_or(U &&other) && {
        return has_value() ? std::move(value_) : static_cast<T>(std::forward<U>(other));
    }

private:
    friend detail::access;
    expected() = default;
    void checked() const {
        if (!has_value())
            detail::raise(code(), detail::text_of(error_));
    }

    T value_{};
    E error_{};
};

namespace detail {

/// What the library left of a refusal: the status at least, and its name as the message where there was none.
inline void complete(refusal &error, status code) noexcept {
    error.kvc_error_t::status = static_cast<std::int64_t>(code);
    if (code != status::ok && error.message[0] == '\0')
        std::snprintf(error.message, sizeof error.message, "%s", name(code));
}

struct access {
    template <class T, class E> static expected<T, E> empty() noexcept { return expected<T, E>(); }
    template <class T, class E> static T &value(expected<T, E> &made) noexcept { return made.value_; }
    template <class T, class E> static E &error(expected<T, E> &made) noexcept { return made.error_; }
};

/// The value that the call writes, or the status that it answers. The value is filled in where it will stay.
template <class T, class Call> inline expected<T> filled(Call call) noexcept {
    auto made = access::empty<T, status>();
    access::error(made) = status_of(call(access::value(made)));
    return made;
}

/// The same where the call explains itself.
template <class T, class Call> inline expected<T, refusal> explained(Call call) noexcept {
    auto made = access::empty<T, refusal>();
    refusal &error = access::error(made);
    complete(error, status_of(call(access::value(made), &error)));
    return made;
}

} // namespace detail

// ---------------------------------------------------------------------------------------------------------------------
// Spans
// ---------------------------------------------------------------------------------------------------------------------

#if KVCACHE_STD_SPAN
/// So many elements in a row, borrowed: std::span.
template <class T> using span = std::span<T>;
#else
/// So many elements in a row, borrowed: what std::span is in C++20. Made from arrays and from everything that has
/// data() and size(), std::vector and std::array for two.
template <class T> class span {
public:
    /// The type of the elements.
    using element_type = T;
    /// The type of the elements without const.
    using value_type = std::remove_cv_t<T>;

    /// No elements.
    constexpr span() noexcept = default;
    /// count elements from data on.
    constexpr span(T *data, std::size_t count) noexcept : data_(data), size_(count) {}
    /// An array.
    template <std::size_t N> constexpr span(T (&array)[N]) noexcept : data_(array), size_(N) {}
    /// A container with data() and size(), or another span.
    template <class C, class P = std::remove_pointer_t<decltype(std::declval<C &>().data())>,
              class = decltype(std::declval<C &>().size()),
              class = std::enable_if_t<std::is_convertible_v<P (*)[], T (*)[]>>,
              class = std::enable_if_t<std::is_lvalue_reference_v<C> || std::is_const_v<T>>>
    constexpr span(C &&container) noexcept : data_(container.data()), size_(container.size()) {}

    /// The first element.
    [[nodiscard]] constexpr T *data() const noexcept { return data_; }
    /// How many there are.
    [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
    /// How many bytes they have.
    [[nodiscard]] constexpr std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
    /// Whether there are none.
    [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
    /// Where they begin.
    [[nodiscard]] constexpr T *begin() const noexcept { return data_; }
    /// Where they end.
    [[nodiscard]] constexpr T *end() const noexcept { return data_ + size_; }
    /// The element at this place, which must be there.
    [[nodiscard]] constexpr T &operator[](std::size_t place) const noexcept { return data_[place]; }
    /// The first count of them, which must be there.
    [[nodiscard]] constexpr span first(std::size_t count) const noexcept { return {data_, count}; }
    /// Those from a place on, which must be there.
    [[nodiscard]] constexpr span subspan(std::size_t place) const noexcept { return {data_ + place, size_ - place}; }
    /// count of them from a place on, which must be there.
    [[nodiscard]] constexpr span subspan(std::size_t place, std::size_t count) const noexcept {
        return {data_ + place, count};
    }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

/// Bytes to read, borrowed: made from a pointer and a count, from everything with data() and size() whose elements are
/// plain values (std::string_view, std::vector<float>, a view), and from arrays of anything but characters. A string
/// literal would bring its closing zero; write std::string_view("text").
class bytes_in {
public:
    /// No bytes.
    constexpr bytes_in() noexcept = default;
    /// count bytes from data on.
    constexpr bytes_in(const void *data, std::size_t count) noexcept : data_(data), size_(count) {}
    /// The bytes of a container's elements.
    template <class C, class P = std::remove_pointer_t<decltype(std::declval<const C &>().data())>,
              class = decltype(std::declval<const C &>().size()),
              class = std::enable_if_t<std::is_trivially_copyable_v<P>>>
    constexpr bytes_in(const C &container) noexcept : data_(container.data()), size_(container.size() * sizeof(P)) {}
    /// The bytes of an array's elements.
    template <class T, std::size_t N,
              class = std::enable_if_t<std::is_trivially_copyable_v<T> && !std::is_same_v<std::remove_cv_t<T>, char>>>
    constexpr bytes_in(const T (&array)[N]) noexcept : data_(array), size_(sizeof array) {}

    /// The first byte.
    [[nodiscard]] constexpr const void *data() const noexcept { return data_; }
    /// How many there are.
    [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }

private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

/// Bytes to write, borrowed: made from a pointer and a count, from containers of plain values with data() and size()
/// that can be written to, and from arrays.
class bytes_out {
public:
    /// No bytes.
    constexpr bytes_out() noexcept = default;
    /// count bytes from data on.
    constexpr bytes_out(void *data, std::size_t count) noexcept : data_(data), size_(count) {}
    /// The bytes of a container's elements.
    template <class C, class P = std::remove_pointer_t<decltype(std::declval<C &>().data())>,
              class = decltype(std::declval<C &>().size()),
              class = std::enable_if_t<std::is_trivially_copyable_v<P> && !std::is_const_v<P>>>
    constexpr bytes_out(C &&container) noexcept : data_(container.data()), size_(container.size() * sizeof(P)) {}
    /// The bytes of an array's elements.
    template <class T, std::size_t N, class = std::enable_if_t<std::is_trivially_copyable_v<T> && !std::is_const_v<T>>>
    constexpr bytes_out(T (&array)[N]) noexcept : data_(array), size_(sizeof array) {}

    /// The first byte.
    [[nodiscard]] constexpr void *data() const noexcept { return data_; }
    /// How many there are.
    [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }

private:
    void *data_ = nullptr;
    std::size_t size_ = 0;
};

/// Wait as long as it takes, where a time is asked for.
inline constexpr std::chrono::nanoseconds forever = std::chrono::nanoseconds::max();

// ---------------------------------------------------------------------------------------------------------------------
// Values
// ---------------------------------------------------------------------------------------------------------------------

/// The configuration of an engine, with all defaults; block_bytes and cpu_bytes are to be set. Borrows what its
/// pointers point to, until engine::open returns.
using config = sized<kvc_config_t>;
/// The exact bytes of everything an engine will ever hold.
using plan = sized<kvc_plan_t>;
/// What a put says about its block.
using put_info = sized<kvc_put_info_t>;
/// What happened since the engine was opened, and what is the case now.
using stats = sized<kvc_stats_t>;
/// What fits into an engine.
using capacity = sized<kvc_capacity_t>;
/// How long the timed operations of one kind took in one tier.
using histogram = sized<kvc_histogram_t>;
/// A view that somebody holds.
using pin_info = sized<kvc_pin_info_t>;
/// A file tier at present.
using tier_info = sized<kvc_tier_t>;
/// The pages of an inference engine.
using paged = sized<kvc_paged_t>;
/// How blocks are encoded. Borrows its geometry until the call returns; tables until the codec is closed.
using codec_config = sized<kvc_codec_config_t>;
/// What a codec makes of a block.
using codec_description = sized<kvc_codec_description_t>;
/// What the code of a block says about itself.
using codec_info = sized<kvc_codec_info_t>;
/// Keys and values of a model to train tables on.
using codec_samples = sized<kvc_codec_samples_t>;
/// What tables say about themselves.
using codec_tables_info = sized<kvc_codec_tables_info_t>;
/// One thing that happened to a block.
using event = kvc_event_t;

/// The dimensions of a key/value block.
struct geometry : sized<kvc_geometry_t> {
    /// The bytes of a block of this geometry (kvc_geometry_block_bytes).
    [[nodiscard]] expected<std::uint64_t> block_bytes() const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &bytes) { return kvc_geometry_block_bytes(this, &bytes); });
    }
};

/// A configuration with every default written out, to look at and change one by one (kvc_config_init).
[[nodiscard]] inline config config_defaults() noexcept {
    config made;
    (void)kvc_config_init(&made);
    return made;
}

/// The exact bytes of everything that an engine of this configuration would hold (kvc_plan_compute). Obtains nothing.
[[nodiscard]] inline expected<plan, refusal> compute_plan(const kvc_config_t &from) noexcept {
    return detail::explained<plan>(
        [&](plan &made, kvc_error_t *error) { return kvc_plan_compute(&from, &made, error); });
}

/// The name of a block: 32 opaque bytes, compared whole. All zero when made by default.
struct key : kvc_key_t {
    /// All zero.
    constexpr key() noexcept : kvc_key_t{} {}
    /// A key of C.
    constexpr key(const kvc_key_t &other) noexcept : kvc_key_t(other) {}

    /// The key of any string of bytes within a namespace and under a salt (kvc_key_derive).
    [[nodiscard]] static expected<key> derive(std::uint64_t namespace_id, bytes_in salt, bytes_in data) noexcept {
        return detail::filled<key>([&](key &made) {
            return kvc_key_derive(namespace_id, salt.data(), salt.size(), data.data(), data.size(), &made);
        });
    }
    /// The parent of the first block of every chain in this namespace and under this salt (kvc_key_chain_root).
    [[nodiscard]] static expected<key> chain_root(std::uint64_t namespace_id, bytes_in salt) noexcept {
        return detail::filled<key>(
            [&](key &made) { return kvc_key_chain_root(namespace_id, salt.data(), salt.size(), &made); });
    }
    /// The key of the block that holds these tokens and follows this one (kvc_key_chain).
    [[nodiscard]] expected<key> chain(span<const std::uint32_t> tokens) const noexcept {
        return detail::filled<key>([&](key &made) { return kvc_key_chain(this, tokens.data(), tokens.size(), &made); });
    }
    /// The keys of all full blocks of a prompt, the first one chained to this key (kvc_key_chain_many). Says how many
    /// were written to keys_out; status::e_too_small when there are more.
    [[nodiscard]] expected<std::uint64_t> chain_many(span<const std::uint32_t> tokens, std::uint64_t tokens_per_block,
                                                     span<key> keys_out) const noexcept {
        return detail::filled<std::uint64_t>([&](std::uint64_t &count) {
            return kvc_key_chain_many(this, tokens.data(), tokens.size(), tokens_per_block, keys_out.data(),
                                      keys_out.size(), &count);
        });
    }

    /// Whether all bytes are equal.
    [[nodiscard]] friend bool operator==(const key &a, const key &b) noexcept {
        return std::memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
    }
    /// Whether a byte differs.
    [[nodiscard]] friend bool operator!=(const key &a, const key &b) noexcept { return !(a == b); }
    /// In the order of the bytes.
    [[nodiscard]] friend bool operator<(const key &a, const key &b) noexcept {
        return std::memcmp(a.bytes, b.bytes, sizeof a.bytes) < 0;
    }
};
static_assert(sizeof(key) == sizeof(kvc_key_t) && std::is_trivially_copyable_v<key>, "arrays of keys are arrays of C");

/// One item of a batch of gets or puts: a key, where its bytes are or go, and what became of it.
struct item : kvc_item_t {
    /// Nothing.
    item() noexcept : kvc_item_t{} {}
    /// A get of this key into this memory.
    [[nodiscard]] static item get(const kvcache::key &key, kvcache::bytes_out target) noexcept {
        item made;
        made.key = key;
        made.data = target.data(), made.bytes = target.size();
        return made;
    }
    /// A put of these bytes under this key. They are read only.
    [[nodiscard]] static item put(const kvcache::key &key, bytes_in source) noexcept {
        item made;
        made.key = key;
        made.data = const_cast<void *>(source.data()), made.bytes = source.size();
        return made;
    }
    /// What became of it.
    kvcache::status code() const noexcept { return detail::status_of(this->kvc_item_t::status); }
};
static_assert(sizeof(item) == sizeof(kvc_item_t), "arrays of items are arrays of C");

/// A submitted operation of a lane: a value that names it and holds nothing. Once its completion was fetched it is
/// status::e_stale.
struct ticket : kvc_ticket_t {
    /// Names nothing.
    constexpr ticket() noexcept : kvc_ticket_t{} {}
    /// A ticket of C.
    constexpr ticket(const kvc_ticket_t &other) noexcept : kvc_ticket_t(other) {}
    /// Whether both name the same operation.
    [[nodiscard]] friend constexpr bool operator==(const ticket &a, const ticket &b) noexcept {
        return a.index == b.index && a.generation == b.generation;
    }
    /// Whether they name different operations.
    [[nodiscard]] friend constexpr bool operator!=(const ticket &a, const ticket &b) noexcept { return !(a == b); }
};
static_assert(sizeof(ticket) == sizeof(kvc_ticket_t), "arrays of tickets are arrays of C");

/// What became of an operation of a lane.
struct completion : kvc_done_t {
    /// Nothing.
    completion() noexcept : kvc_done_t{} {}
    /// What the blocking function would have answered.
    kvcache::status code() const noexcept { return detail::status_of(this->kvc_done_t::status); }
};
static_assert(sizeof(completion) == sizeof(kvc_done_t), "arrays of completions are arrays of C");

/// An operation to submit on a lane. Keys and memory that it names are kept until its completion; info is copied when
/// it is submitted.
struct operation : kvc_op_t {
    /// Nothing.
    operation() noexcept : kvc_op_t{} {}

    /// engine::match. The result is the count.
    [[nodiscard]] static operation match(span<const key> keys, std::uint32_t flags = 0) noexcept {
        return of(KVC_OP_MATCH, keys, flags);
    }
    /// engine::get of each key: block i goes to target + i * bytes_each. The result is, for one key, the bytes of the
    /// block; for more, how many were copied.
    [[nodiscard]] static operation get(span<const key> keys, void *target, std::uint64_t bytes_each,
                                       std::uint32_t flags = 0) noexcept {
        operation made = of(KVC_OP_GET, keys, flags);
        made.data = target, made.bytes = bytes_each;
        return made;
    }
    /// engine::put of each key, as a chain: block i has bytes_each bytes at source + i * bytes_each, which are only
    /// read. The result is how many were stored.
    [[nodiscard]] static operation put(span<const key> keys, const void *source, std::uint64_t bytes_each,
                                       const kvc_put_info_t *info = nullptr) noexcept {
        operation made = of(KVC_OP_PUT, keys, 0);
        made.data = const_cast<void *>(source), made.bytes = bytes_each, made.info = info;
        return made;
    }
    /// engine::remove. The result is the count.
    [[nodiscard]] static operation remove(span<const key> keys) noexcept { return of(KVC_OP_REMOVE, keys, 0); }
    /// engine::touch. The result is the count.
    [[nodiscard]] static operation touch(span<const key> keys) noexcept { return of(KVC_OP_TOUCH, keys, 0); }
    /// engine::acquire_many: as many views as there are keys have room in storage. The result is how many were lent;
    /// views::adopt takes them over once the operation is complete.
    [[nodiscard]] static operation acquire(span<const key> keys, span<kvc_view_t> storage) noexcept {
        operation made = of(KVC_OP_ACQUIRE, keys, 0);
        made.data = storage.data(), made.bytes = storage.size_bytes();
        return made;
    }
    /// engine::prefetch. The result is how many are on their way because of it.
    [[nodiscard]] static operation prefetch(span<const key> keys) noexcept { return of(KVC_OP_PREFETCH, keys, 0); }
    /// engine::flush. The result is how many blocks had to be written.
    [[nodiscard]] static operation flush() noexcept { return of(KVC_OP_FLUSH, {}, 0); }

    /// The same with a number of your own, which comes back as user_data of the completion.
    [[nodiscard]] operation tagged(std::uint64_t number) const noexcept {
        operation made = *this;
        made.user_data = number;
        return made;
    }

private:
    static operation of(std::uint32_t code, span<const key> keys, std::uint32_t flags) noexcept {
        operation made;
        made.opcode = code, made.flags = flags, made.keys = keys.data(), made.keys_count = keys.size();
        return made;
    }
};
static_assert(sizeof(operation) == sizeof(kvc_op_t), "arrays of operations are arrays of C");

// ---------------------------------------------------------------------------------------------------------------------
// What engines lend
// ---------------------------------------------------------------------------------------------------------------------

/// How much of a view is there.
struct progress {
    /// status::ok when all is, status::pending while it arrives, anything else when it will not.
    kvcache::status code = kvcache::status::e_stale;
    /// Bytes that are there and verified, from the first on; 0 unless the status is one of those two.
    std::uint64_t bytes = 0;
};

/// A block that the engine lends, readable and unchanged until it is released: a pin. Made by engine::acquire.
class view {
public:
    /// An empty one.
    view() noexcept = default;
    /// Takes over a view of C, which must not be released by anybody else.
    [[nodiscard]] static view adopt(const kvc_engine_t *engine, const kvc_view_t &raw) noexcept {
        view made;
        made.engine_ = engine, made.raw_ = raw;
        return made;
    }
    /// Leaves the other one empty.
    view(view &&other) noexcept : engine_(std::exchange(other.engine_, nullptr)), raw_(other.raw_) {}
    /// Releases what this one holds first.
    view &operator=(view &&other) noexcept {
        if (this != &other) {
            (void)release();
            engine_ = std::exchange(other.engine_, nullptr), raw_ = other.raw_;
        }
        return *this;
    }
    /// Releases the block.
    ~view() { (void)release(); }

    /// Whether it holds a block.
    explicit operator bool() const noexcept { return engine_ != nullptr; }
    /// The block's first byte, aligned to 64 at least; NULL when empty.
    [[nodiscard]] const std::byte *data() const noexcept {
        return engine_ != nullptr ? static_cast<const std::byte *>(raw_.data) : nullptr;
    }
    /// Bytes of the block; 0 when empty.
    [[nodiscard]] std::size_t size() const noexcept { return engine_ != nullptr ? raw_.bytes : 0; }
    /// The block's bytes.
    [[nodiscard]] span<const std::byte> bytes() const noexcept { return {data(), size()}; }
    /// The block as elements of a plain type; bytes after the last whole one are left out.
    template <class T> [[nodiscard]] span<const T> as() const noexcept {
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64, "a plain type, aligned to 64 at most");
        return {static_cast<const T *>(static_cast<const void *>(data())), size() / sizeof(T)};
    }
    /// How much of a view that was acquired with KVC_ACQUIRE_PARTIAL is there (kvc_view_ready).
    [[nodiscard]] progress ready() const noexcept {
        progress made;
        if (engine_ != nullptr)
            made.code = detail::status_of(kvc_view_ready(engine_, &raw_, &made.bytes));
        return made;
    }
    /// Gives the block back (kvc_release) and empties the view, whatever the answer. status::e_stale when it was empty
    /// already, or has expired.
    status release() noexcept {
        const kvc_engine_t *engine = std::exchange(engine_, nullptr);
        return engine != nullptr ? detail::status_of(kvc_release(engine, &raw_)) : status::e_stale;
    }
    /// The view of C. Still this object's to release.
    [[nodiscard]] const kvc_view_t &raw() const noexcept { return raw_; }
    /// Hands the view of C over to the caller, who must release it, and empties this one.
    [[nodiscard]] kvc_view_t disown() noexcept {
        engine_ = nullptr;
        return raw_;
    }

private:
    friend class engine;
    const kvc_engine_t *engine_ = nullptr;
    kvc_view_t raw_{};
};

/// Blocks that the engine lends together, in storage of the caller, which must outlive it. Made by
/// engine::acquire_many.
class views {
public:
    /// An empty one.
    views() noexcept = default;
    /// Takes over views of C, the result of operation::acquire for one. Nobody else must release them.
    [[nodiscard]] static views adopt(const kvc_engine_t *engine, span<kvc_view_t> storage) noexcept {
        views made;
        made.engine_ = engine, made.storage_ = storage;
        return made;
    }
    /// Leaves the other one empty.
    views(views &&other) noexcept
        : engine_(std::exchange(other.engine_, nullptr)), storage_(std::exchange(other.storage_, {})) {}
    /// Releases what this one holds first.
    views &operator=(views &&other) noexcept {
        if (this != &other) {
            (void)release();
            engine_ = std::exchange(other.engine_, nullptr), storage_ = std::exchange(other.storage_, {});
        }
        return *this;
    }
    /// Releases the blocks.
    ~views() { (void)release(); }

    /// How many blocks it holds.
    [[nodiscard]] std::size_t size() const noexcept { return storage_.size(); }
    /// Whether it holds none.
    [[nodiscard]] bool empty() const noexcept { return storage_.empty(); }
    /// The bytes of the block at this place, which must be there.
    [[nodiscard]] span<const std::byte> operator[](std::size_t place) const noexcept {
        return {static_cast<const std::byte *>(storage_[place].data), storage_[place].bytes};
    }
    /// The views of C. Still this object's to release.
    [[nodiscard]] span<const kvc_view_t> raw() const noexcept { return {storage_.data(), storage_.size()}; }
    /// Gives all blocks back (kvc_release_many) and empties it; says how many were not stale.
    expected<std::uint64_t> release() noexcept {
        const kvc_engine_t *engine = std::exchange(engine_, nullptr);
        const span<kvc_view_t> storage = std::exchange(storage_, {});
        if (engine == nullptr || storage.empty())
            return std::uint64_t{0};
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &count) { return kvc_release_many(engine, storage.data(), storage.size(), &count); });
    }

private:
    friend class engine;
    const kvc_engine_t *engine_ = nullptr;
    span<kvc_view_t> storage_{};
};

/// Room for a block that the engine lends to its producer: fill it in, then commit. Made by engine::reserve.
class reservation {
public:
    /// An empty one.
    reservation() noexcept = default;
    /// Leaves the other one empty.
    reservation(reservation &&other) noexcept : engine_(std::exchange(other.engine_, nullptr)), raw_(other.raw_) {}
    /// Gives up what this one holds first.
    reservation &operator=(reservation &&other) noexcept {
        if (this != &other) {
            (void)abort();
            engine_ = std::exchange(other.engine_, nullptr), raw_ = other.raw_;
        }
        return *this;
    }
    /// Gives the room up, unless it was committed.
    ~reservation() { (void)abort(); }

    /// Whether it holds room.
    explicit operator bool() const noexcept { return engine_ != nullptr; }
    /// Where the block's bytes go, aligned to 64 at least; NULL when empty. Undefined before they are written.
    [[nodiscard]] std::byte *data() const noexcept {
        return engine_ != nullptr ? static_cast<std::byte *>(raw_.data) : nullptr;
    }
    /// Room in bytes; 0 when empty.
    [[nodiscard]] std::size_t size() const noexcept { return engine_ != nullptr ? raw_.bytes : 0; }
    /// The room.
    [[nodiscard]] span<std::byte> bytes() const noexcept { return {data(), size()}; }
    /// The room as elements of a plain type; bytes after the last whole one are left out.
    template <class T> [[nodiscard]] span<T> as() const noexcept {
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64, "a plain type, aligned to 64 at most");
        return {static_cast<T *>(static_cast<void *>(data())), size() / sizeof(T)};
    }
    /// Makes the block readable (kvc_commit): the first so many bytes, 0 for all. Empties the reservation unless the
    /// answer is status::e_too_large. status::e_stale when it was empty already, or has expired.
    status commit(std::uint64_t bytes = 0) noexcept {
        if (engine_ == nullptr)
            return status::e_stale;
        const status code = detail::status_of(kvc_commit(engine_, &raw_, bytes));
        if (code != status::e_too_large)
            engine_ = nullptr;
        return code;
    }
    /// Gives the room up (kvc_abort) and empties the reservation. status::e_stale when it was empty already.
    status abort() noexcept {
        const kvc_engine_t *engine = std::exchange(engine_, nullptr);
        return engine != nullptr ? detail::status_of(kvc_abort(engine, &raw_)) : status::e_stale;
    }
    /// The reservation of C. Still this object's to commit or abort.
    [[nodiscard]] const kvc_reservation_t &raw() const noexcept { return raw_; }

private:
    friend class engine;
    const kvc_engine_t *engine_ = nullptr;
    kvc_reservation_t raw_{};
};

/// One producer's private queues of operations and completions. Made by engine::open_lane. Belongs to one thread at a
/// time; a second one that uses it meanwhile gets status::e_busy.
class lane {
public:
    /// An empty one.
    lane() noexcept = default;
    /// Leaves the other one empty.
    lane(lane &&other) noexcept : engine_(std::exchange(other.engine_, nullptr)), raw_(other.raw_) {}
    /// Closes the lane that this one holds first, as the destructor does.
    lane &operator=(lane &&other) noexcept {
        if (this != &other) {
            drain();
            engine_ = std::exchange(other.engine_, nullptr), raw_ = other.raw_;
        }
        return *this;
    }
    /// Closes the lane. Waits for operations under way, since their memory may go with the caller's next line, and
    /// drops completions that were not fetched: views that an operation::acquire was lent stay lent.
    ~lane() { drain(); }

    /// Whether it holds a lane.
    explicit operator bool() const noexcept { return engine_ != nullptr; }

    /// Submits operations, in order, as many as there is room for, and says how many were taken (kvc_submit). tickets
    /// is empty, or has room for all.
    expected<std::uint64_t> submit(span<const operation> operations, span<ticket> tickets = {}) const noexcept {
        if (!tickets.empty() && tickets.size() < operations.size())
            return expected<std::uint64_t>::failed(status::e_too_small);
        return told<std::uint64_t>([&](std::uint64_t &taken) {
            return kvc_submit(engine_, raw_, operations.data(), operations.size(), tickets.data(), &taken);
        });
    }
    /// Submits one operation and gives its ticket (kvc_submit).
    [[nodiscard]] expected<ticket> submit(const operation &operation) const noexcept {
        return told<ticket>([&](ticket &made) {
            std::uint64_t taken = 0;
            return kvc_submit(engine_, raw_, &operation, 1, &made, &taken);
        });
    }
    /// Fetches completions, the oldest first, as many as there are and room is for, and says how many (kvc_reap).
    [[nodiscard]] expected<std::uint64_t> reap(span<completion> done) const noexcept {
        return told<std::uint64_t>(
            [&](std::uint64_t &count) { return kvc_reap(engine_, raw_, done.data(), done.size(), &count); });
    }
    /// Waits for one operation and fetches its completion (kvc_wait); status::timeout when the time ran out.
    [[nodiscard]] expected<completion> wait(ticket ticket, std::chrono::nanoseconds timeout = forever) const noexcept {
        return told<completion>(
            [&](completion &made) { return kvc_wait(engine_, raw_, ticket, detail::nanoseconds(timeout), &made); });
    }
    /// Cancels an operation that has not begun (kvc_cancel); status::pending when it is too late.
    status cancel(ticket ticket) const noexcept {
        return engine_ != nullptr ? detail::status_of(kvc_cancel(engine_, raw_, ticket)) : status::e_stale;
    }
    /// The file descriptor that is readable when there is something to reap (kvc_lane_event_fd). The library's: do not
    /// close it; read its 8 bytes before reaping.
    [[nodiscard]] expected<int> event_fd() const noexcept {
        return told<int>([&](int &fd) { return kvc_lane_event_fd(engine_, raw_, &fd); });
    }
    /// Closes the lane (kvc_lane_close) and empties this object. status::e_busy, and it stays open, while operations
    /// are under way or not fetched; status::e_stale when it was closed already.
    status close() noexcept {
        if (engine_ == nullptr)
            return status::e_stale;
        const status code = detail::status_of(kvc_lane_close(engine_, raw_));
        if (code == status::ok)
            engine_ = nullptr;
        return code;
    }
    /// The lane of C. Still this object's to close.
    [[nodiscard]] kvc_lane_t raw() const noexcept { return raw_; }

private:
    friend class engine;

    template <class T, class Call> expected<T> told(Call call) const noexcept {
        if (engine_ == nullptr)
            return expected<T>::failed(status::e_stale);
        return detail::filled<T>(call);
    }

    void drain() noexcept {
        while (engine_ != nullptr && close() == status::e_busy) {
            kvc_done_t done[16];
            std::uint64_t count = 0;
            (void)kvc_reap(engine_, raw_, done, 16, &count);
            if (count == 0) {
                (void)kvc_tick(engine_, 0, nullptr);
                const timespec pause = {0, 50000};
                (void)nanosleep(&pause, nullptr);
            }
        }
        engine_ = nullptr;
    }

    const kvc_engine_t *engine_ = nullptr;
    kvc_lane_t raw_{};
};

// ---------------------------------------------------------------------------------------------------------------------
// Engine
// ---------------------------------------------------------------------------------------------------------------------

/// How many events were read, and how many were overwritten before they could be.
struct events_count {
    /// Events written.
    std::uint64_t read = 0;
    /// Events that this reader came too late for.
    std::uint64_t lost = 0;
};

/// An open engine. The functions without a word on what they take and answer are as the C function that they name.
class engine {
public:
    /// An empty one: every call answers status::e_handle.
    engine() noexcept = default;
    /// Opens an engine (kvc_engine_open). The library allocates here and nowhere else.
    [[nodiscard]] static expected<engine, refusal> open(const kvc_config_t &from) noexcept {
        return detail::explained<engine>(
            [&](engine &made, kvc_error_t *error) { return kvc_engine_open(&from, &made.handle_, error); });
    }
    /// Takes over an engine of C, which this object closes.
    [[nodiscard]] static engine adopt(kvc_engine_t *handle) noexcept {
        engine made;
        made.handle_ = handle;
        return made;
    }
    /// Leaves the other one empty.
    engine(engine &&other) noexcept : handle_(std::exchange(other.handle_, closed())) {}
    /// Closes what this one holds first, as the destructor does.
    engine &operator=(engine &&other) noexcept {
        if (this != &other) {
            (void)close();
            handle_ = std::exchange(other.handle_, closed());
        }
        return *this;
    }
    /// Closes the engine. Leaves it open where views, reservations, lanes or operations are left: they stay valid.
    ~engine() { (void)close(); }

    /// Whether it was opened and not closed.
    explicit operator bool() const noexcept { return handle_ != closed(); }
    /// The engine of C, for functions of kvcache.h. Still this object's to close.
    [[nodiscard]] kvc_engine_t *handle() const noexcept { return handle_; }
    /// Hands the engine of C over to the caller, who must close it, and empties this one.
    [[nodiscard]] kvc_engine_t *disown() noexcept { return std::exchange(handle_, closed()); }

    /// Refuses new work, completes what lanes have queued, makes durable what can be (kvc_shutdown). No other thread
    /// may be in a call.
    status shutdown() noexcept { return detail::status_of(kvc_shutdown(handle_)); }
    /// Closes the engine (kvc_close) and empties this object; status::e_busy, and it stays open, while something is
    /// held. No other thread may be in a call, then or later. What no file holds is not written down: see flush.
    status close() noexcept {
        if (handle_ == closed())
            return status::e_handle;
        const status code = detail::status_of(kvc_close(handle_));
        if (code == status::ok)
            handle_ = closed();
        return code;
    }

    /// The length of the longest resident prefix of the list (kvc_match). Flags: KVC_MATCH_TOUCH.
    [[nodiscard]] expected<std::uint64_t> match(span<const key> keys, std::uint32_t flags = 0) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &made) { return kvc_match(handle_, keys.data(), keys.size(), flags, &made); });
    }
    /// In which tiers each block is resident, a sum of 1 << KVC_TIER_... each, and how many are in any
    /// (kvc_match_each). tiers has room for as many as there are keys, else status::e_too_small.
    [[nodiscard]] expected<std::uint64_t> match_each(span<const key> keys, span<std::uint8_t> tiers,
                                                     std::uint32_t flags = 0) const noexcept {
        if (tiers.size() < keys.size())
            return expected<std::uint64_t>::failed(status::e_too_small);
        return detail::filled<std::uint64_t>([&](std::uint64_t &made) {
            return kvc_match_each(handle_, keys.data(), keys.size(), flags, tiers.data(), &made);
        });
    }
    /// Whether a block is resident, in whichever tier (kvc_match). False also for an engine that cannot say.
    [[nodiscard]] bool contains(const key &key) const noexcept {
        std::uint64_t made = 0;
        return kvc_match(handle_, &key, 1, 0, &made) == KVC_OK && made == 1;
    }

    /// Copies a block out and says how many bytes it has (kvc_get). Flags: KVC_COPY_HOT or KVC_COPY_COLD.
    [[nodiscard]] expected<std::uint64_t> get(const key &key, bytes_out target,
                                              std::uint32_t flags = 0) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &bytes) { return kvc_get(handle_, &key, target.data(), target.size(), flags, &bytes); });
    }
    /// Copies many blocks out; each item says what became of it (kvc_get_many). Answers how many were hits.
    [[nodiscard]] expected<std::uint64_t> get_many(span<item> items, std::uint32_t flags = 0) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &hits) { return kvc_get_many(handle_, items.data(), items.size(), flags, &hits); });
    }
    /// Lends a block, without copying it (kvc_acquire). Flags: KVC_ACQUIRE_PARTIAL.
    [[nodiscard]] expected<view> acquire(const key &key, std::uint32_t flags = 0) const noexcept {
        auto made = detail::access::empty<view, status>();
        view &lent = detail::access::value(made);
        const status code = detail::status_of(kvc_acquire(handle_, &key, flags, &lent.raw_));
        if (code == status::ok)
            lent.engine_ = handle_;
        detail::access::error(made) = code;
        return made;
    }
    /// Lends the blocks of the longest resident prefix of the list (kvc_acquire_many). storage has room for as many
    /// views as there are keys, else status::e_too_small, and outlives what is answered.
    [[nodiscard]] expected<views> acquire_many(span<const key> keys, span<kvc_view_t> storage,
                                               std::uint32_t flags = 0) const noexcept {
        if (storage.size() < keys.size())
            return expected<views>::failed(status::e_too_small);
        return detail::filled<views>([&](views &made) {
            std::uint64_t lent = 0;
            const kvc_status_t code = kvc_acquire_many(handle_, keys.data(), keys.size(), flags, storage.data(), &lent);
            if (code == KVC_OK)
                made.engine_ = handle_, made.storage_ = storage.first(lent);
            return code;
        });
    }

    /// Lends room for a block of so many bytes to its producer (kvc_reserve). info may be NULL.
    [[nodiscard]] expected<reservation> reserve(const key &key, std::uint64_t bytes,
                                                const kvc_put_info_t *info = nullptr) const noexcept {
        return detail::filled<reservation>([&](reservation &made) {
            const kvc_status_t code = kvc_reserve(handle_, &key, bytes, info, &made.raw_);
            if (code == KVC_OK)
                made.engine_ = handle_;
            return code;
        });
    }
    /// Copies a block in (kvc_put). info may be NULL.
    status put(const key &key, bytes_in source, const kvc_put_info_t *info = nullptr) const noexcept {
        return detail::status_of(kvc_put(handle_, &key, source.data(), source.size(), info));
    }
    /// Copies a chain of blocks in; each item says what became of it (kvc_put_many). Answers how many were stored.
    expected<std::uint64_t> put_many(span<item> items, const kvc_put_info_t *info = nullptr) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &stored) { return kvc_put_many(handle_, items.data(), items.size(), info, &stored); });
    }

    /// Removes blocks from all tiers and says how many were resident (kvc_remove).
    expected<std::uint64_t> remove(span<const key> keys) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &made) { return kvc_remove(handle_, keys.data(), keys.size(), &made); });
    }
    /// Removes one block from all tiers and says whether it was resident: 1 or 0 (kvc_remove).
    expected<std::uint64_t> remove(const key &key) const noexcept {
        return detail::filled<std::uint64_t>([&](std::uint64_t &made) { return kvc_remove(handle_, &key, 1, &made); });
    }
    /// Counts blocks as used now and says how many were resident (kvc_touch).
    expected<std::uint64_t> touch(span<const key> keys) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &made) { return kvc_touch(handle_, keys.data(), keys.size(), &made); });
    }
    /// Changes how long blocks are kept and says how many were resident (kvc_retain): priority 0 to 100, and the time
    /// after which it lapses, 0 for never, in whole milliseconds. Flags: KVC_RETAIN_PROTECTED.
    expected<std::uint64_t> retain(span<const key> keys, std::uint32_t priority, std::chrono::milliseconds expiry = {},
                                   std::uint32_t flags = 0) const noexcept {
        if (expiry.count() < 0)
            return expected<std::uint64_t>::failed(status::e_argument);
        return detail::filled<std::uint64_t>([&](std::uint64_t &made) {
            return kvc_retain(handle_, keys.data(), keys.size(), priority, static_cast<std::uint64_t>(expiry.count()),
                              flags, &made);
        });
    }
    /// Removes every block that was put with this namespace and says how many (kvc_namespace_clear).
    expected<std::uint64_t> clear_namespace(std::uint64_t namespace_id) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &made) { return kvc_namespace_clear(handle_, namespace_id, &made); });
    }
    /// Bounds how much the blocks of a namespace may lose in the file tiers (kvc_namespace_quality_set).
    status set_namespace_quality(std::uint64_t namespace_id, std::uint64_t error_max_permille) const noexcept {
        return detail::status_of(kvc_namespace_quality_set(handle_, namespace_id, error_max_permille));
    }

    /// Begins a new importance table beside the one in use (kvc_importance_begin).
    status begin_importance() const noexcept { return detail::status_of(kvc_importance_begin(handle_)); }
    /// Sets the importance of keys in the table that was begun (kvc_importance_set). Both spans are of one length, else
    /// status::e_argument.
    status set_importance(span<const key> keys, span<const std::uint32_t> importances) const noexcept {
        if (keys.size() != importances.size())
            return status::e_argument;
        return detail::status_of(kvc_importance_set(handle_, keys.data(), importances.data(), keys.size()));
    }
    /// Puts the table that was begun in the place of the one in use (kvc_importance_swap).
    status swap_importance() const noexcept { return detail::status_of(kvc_importance_swap(handle_)); }

    /// What a file tier is and does at present (kvc_tier_get): KVC_TIER_NVME or KVC_TIER_DISK.
    [[nodiscard]] expected<tier_info> tier(std::uint32_t tier) const noexcept {
        return detail::filled<tier_info>([&](tier_info &made) { return kvc_tier_get(handle_, tier, &made); });
    }
    /// Begins copying blocks up into memory, and says how many are on their way because of it (kvc_prefetch).
    expected<std::uint64_t> prefetch(span<const key> keys, std::uint32_t flags = 0) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &begun) { return kvc_prefetch(handle_, keys.data(), keys.size(), flags, &begun); });
    }
    /// Says that a conversation is over, or paused (kvc_prefetch_cancel).
    status cancel_prefetch(std::uint64_t conversation_id) const noexcept {
        return detail::status_of(kvc_prefetch_cancel(handle_, conversation_id));
    }
    /// Makes durable what was committed or removed before, and says how many blocks had to be written (kvc_flush).
    expected<std::uint64_t> flush(std::chrono::nanoseconds timeout = forever) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &written) { return kvc_flush(handle_, detail::nanoseconds(timeout), &written); });
    }

    /// Opens a lane (kvc_lane_open).
    [[nodiscard]] expected<lane> open_lane() const noexcept {
        return detail::filled<lane>([&](lane &made) {
            const kvc_status_t code = kvc_lane_open(handle_, &made.raw_);
            if (code == KVC_OK)
                made.engine_ = handle_;
            return code;
        });
    }
    /// Does the engine's work in tick mode and says how many things were done (kvc_tick). now_ns is looked at with
    /// KVC_CLOCK_TICKS only.
    expected<std::uint64_t> tick(std::uint64_t now_ns = 0) const noexcept {
        return detail::filled<std::uint64_t>([&](std::uint64_t &made) { return kvc_tick(handle_, now_ns, &made); });
    }

    /// All counters and gauges (kvc_stats_get).
    [[nodiscard]] expected<kvcache::stats> stats() const noexcept {
        return detail::filled<kvcache::stats>([&](kvcache::stats &made) { return kvc_stats_get(handle_, &made); });
    }
    /// What fits (kvc_capacity_get).
    [[nodiscard]] expected<kvcache::capacity> capacity() const noexcept {
        return detail::filled<kvcache::capacity>(
            [&](kvcache::capacity &made) { return kvc_capacity_get(handle_, &made); });
    }
    /// How long operations of one kind (KVC_OPERATION_...) took in one tier (KVC_TIER_...) (kvc_histogram_get).
    [[nodiscard]] expected<kvcache::histogram> histogram(std::uint32_t operation, std::uint32_t tier) const noexcept {
        return detail::filled<kvcache::histogram>(
            [&](kvcache::histogram &made) { return kvc_histogram_get(handle_, operation, tier, &made); });
    }
    /// All metrics as the text that a Prometheus scraper reads, written to buffer, which the answer points into
    /// (kvc_metrics_write). 64 KiB are always enough.
    [[nodiscard]] expected<std::string_view> metrics(span<char> buffer) const noexcept {
        return detail::filled<std::string_view>([&](std::string_view &made) {
            std::uint64_t bytes = 0;
            const kvc_status_t code = kvc_metrics_write(handle_, buffer.data(), buffer.size(), &bytes);
            if (code == KVC_OK)
                made = {buffer.data(), bytes};
            return code;
        });
    }
    /// All metrics as a string (kvc_metrics_write). Allocates, and throws std::bad_alloc where that fails.
    [[nodiscard]] expected<std::string> metrics() const {
        std::string text(std::size_t{64} << 10, '\0');
        const auto made = metrics(span<char>(text.data(), text.size()));
        if (!made)
            return expected<std::string>::failed(made.error());
        text.resize(made->size());
        return text;
    }
    /// Reads events, oldest first (kvc_events_read). sequence is the reader's own place: begin with 0, pass it again.
    [[nodiscard]] expected<events_count> events(std::uint64_t &sequence, span<event> events) const noexcept {
        return detail::filled<events_count>([&](events_count &made) {
            return kvc_events_read(handle_, &sequence, events.data(), events.size(), &made.read, &made.lost);
        });
    }
    /// Lists the views that are held, as many as there is room for, and says how many there are (kvc_pins_get).
    [[nodiscard]] expected<std::uint64_t> pins(span<pin_info> pins) const noexcept {
        return detail::filled<std::uint64_t>(
            [&](std::uint64_t &made) { return kvc_pins_get(handle_, pins.data(), pins.size(), &made); });
    }

private:
    static kvc_engine_t *closed() noexcept { return static_cast<kvc_engine_t *>(static_cast<void *>(detail::nothing)); }

    kvc_engine_t *handle_ = closed();
};
static_assert(sizeof(pin_info) == sizeof(kvc_pin_info_t), "arrays of pins are arrays of C");

// ---------------------------------------------------------------------------------------------------------------------
// Layout
// ---------------------------------------------------------------------------------------------------------------------

/// Copies the pages of one block into its contiguous form (kvc_layout_gather). Flags: KVC_COPY_HOT or KVC_COPY_COLD.
inline status gather(const kvc_geometry_t &geometry, const kvc_paged_t &layout, span<const std::uint32_t> pages,
                     std::uint64_t token_first, bytes_out block, std::uint32_t flags = 0) noexcept {
    return detail::status_of(kvc_layout_gather(&geometry, &layout, pages.data(), pages.size(), token_first, flags,
                                               block.data(), block.size()));
}

/// Copies one layer of the pages of one block (kvc_layout_gather_layer): target begins with this layer.
inline status gather_layer(const kvc_geometry_t &geometry, const kvc_paged_t &layout, span<const std::uint32_t> pages,
                           std::uint64_t token_first, std::uint64_t layer, bytes_out target,
                           std::uint32_t flags = 0) noexcept {
    return detail::status_of(kvc_layout_gather_layer(&geometry, &layout, pages.data(), pages.size(), token_first, layer,
                                                     flags, target.data(), target.size()));
}

/// Copies a block into the pages of an inference engine (kvc_layout_scatter).
inline status scatter(const kvc_geometry_t &geometry, const kvc_paged_t &layout, span<const std::uint32_t> pages,
                      std::uint64_t token_first, bytes_in block, std::uint32_t flags = 0) noexcept {
    return detail::status_of(kvc_layout_scatter(&geometry, &layout, pages.data(), pages.size(), token_first, flags,
                                                block.data(), block.size()));
}

/// Copies one layer of a block into pages (kvc_layout_scatter_layer): source begins with this layer.
inline status scatter_layer(const kvc_geometry_t &geometry, const kvc_paged_t &layout, span<const std::uint32_t> pages,
                            std::uint64_t token_first, std::uint64_t layer, bytes_in source,
                            std::uint32_t flags = 0) noexcept {
    return detail::status_of(kvc_layout_scatter_layer(&geometry, &layout, pages.data(), pages.size(), token_first,
                                                      layer, flags, source.data(), source.size()));
}

// ---------------------------------------------------------------------------------------------------------------------
// Codecs
// ---------------------------------------------------------------------------------------------------------------------

/// The name of a codec, "t3" for one (kvc_codec_name). Never NULL, lent for ever.
[[nodiscard]] inline const char *codec_name(std::uint64_t codec) noexcept { return kvc_codec_name(codec); }

/// A codec for blocks of one geometry. Needs no engine. Its const members may be called by any number of threads, each
/// with its own scratch. Tables of its configuration are lent to it until it is closed.
class codec {
public:
    /// An empty one: every call answers status::e_handle.
    codec() noexcept = default;
    /// What a codec of this configuration needs and makes of a block (kvc_codec_describe). Obtains nothing.
    [[nodiscard]] static expected<codec_description, refusal> describe(const kvc_codec_config_t &from) noexcept {
        return detail::explained<codec_description>(
            [&](codec_description &made, kvc_error_t *error) { return kvc_codec_describe(&from, &made, error); });
    }
    /// Opens a codec (kvc_codec_open). The library allocates less than 4 KiB.
    [[nodiscard]] static expected<codec, refusal> open(const kvc_codec_config_t &from) noexcept {
        return detail::explained<codec>(
            [&](codec &made, kvc_error_t *error) { return kvc_codec_open(&from, &made.handle_, error); });
    }
    /// Leaves the other one empty.
    codec(codec &&other) noexcept : handle_(std::exchange(other.handle_, closed())) {}
    /// Closes what this one holds first.
    codec &operator=(codec &&other) noexcept {
        if (this != &other) {
            (void)close();
            handle_ = std::exchange(other.handle_, closed());
        }
        return *this;
    }
    /// Closes the codec.
    ~codec() { (void)close(); }

    /// Whether it was opened and not closed.
    explicit operator bool() const noexcept { return handle_ != closed(); }
    /// The codec of C. Still this object's to close.
    [[nodiscard]] kvc_codec_t *handle() const noexcept { return handle_; }
    /// Closes the codec (kvc_codec_close) and empties this object. No other thread may be in a call, then or later.
    status close() noexcept {
        if (handle_ == closed())
            return status::e_handle;
        return detail::status_of(kvc_codec_close(std::exchange(handle_, closed())));
    }

    /// Encodes a block and says how long its code is (kvc_codec_encode). position is the place of its first token in
    /// its sequence; codec_before the coarsest codec that it went through before.
    [[nodiscard]] expected<std::uint64_t> encode(bytes_in block, std::uint64_t position, bytes_out code,
                                                 bytes_out scratch,
                                                 std::uint64_t codec_before = KVC_CODEC_RAW) const noexcept {
        return detail::filled<std::uint64_t>([&](std::uint64_t &bytes) {
            return kvc_codec_encode(handle_, block.data(), block.size(), position, codec_before, code.data(),
                                    code.size(), scratch.data(), scratch.size(), &bytes);
        });
    }
    /// Decodes a block (kvc_codec_decode). block has the bytes of the geometry's block.
    status decode(bytes_in code, bytes_out block, bytes_out scratch) const noexcept {
        return detail::status_of(kvc_codec_decode(handle_, code.data(), code.size(), block.data(), block.size(),
                                                  scratch.data(), scratch.size()));
    }
    /// Decodes one layer alone (kvc_codec_decode_layer). code is the whole code.
    status decode_layer(bytes_in code, std::uint64_t layer, bytes_out target, bytes_out scratch) const noexcept {
        return detail::status_of(kvc_codec_decode_layer(handle_, code.data(), code.size(), layer, target.data(),
                                                        target.size(), scratch.data(), scratch.size()));
    }
    /// What a code is, without decoding it (kvc_codec_inspect).
    [[nodiscard]] expected<codec_info> inspect(bytes_in code) const noexcept {
        return detail::filled<codec_info>(
            [&](codec_info &made) { return kvc_codec_inspect(handle_, code.data(), code.size(), &made); });
    }

private:
    static kvc_codec_t *closed() noexcept { return static_cast<kvc_codec_t *>(static_cast<void *>(detail::nothing)); }

    kvc_codec_t *handle_ = closed();
};

/// Tables for the codecs vq and xc, in memory of their own that begins at a multiple of 64 bytes. Move-only; load and
/// train allocate. Must outlive codecs that were opened with them.
class codec_tables {
public:
    /// Empty ones.
    codec_tables() noexcept = default;
    /// Leaves the other ones empty.
    codec_tables(codec_tables &&other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    /// Frees what these hold first.
    codec_tables &operator=(codec_tables &&other) noexcept {
        if (this != &other) {
            std::free(data_);
            data_ = std::exchange(other.data_, nullptr), size_ = std::exchange(other.size_, 0);
        }
        return *this;
    }
    /// Frees the memory.
    ~codec_tables() { std::free(data_); }

    /// Reads tables from a file and checks them (kvc_codec_tables_file_bytes, kvc_codec_tables_load).
    [[nodiscard]] static expected<codec_tables, refusal> load(const char *path) noexcept {
        return detail::explained<codec_tables>([&](codec_tables &made, kvc_error_t *error) {
            std::uint64_t room = 0;
            const kvc_status_t code = kvc_codec_tables_file_bytes(path, &room, error);
            if (code != KVC_OK)
                return code;
            if (!made.obtain(room))
                return kvc_status_t{KVC_E_NO_MEMORY};
            return kvc_codec_tables_load(path, made.data_, room, &made.size_, error);
        });
    }
    /// Trains tables (kvc_codec_train_bytes_max, kvc_codec_train). Takes seconds to many minutes.
    [[nodiscard]] static expected<codec_tables, refusal> train(const kvc_codec_samples_t &samples) noexcept {
        return detail::explained<codec_tables>([&](codec_tables &made, kvc_error_t *error) {
            std::uint64_t room = 0;
            kvc_status_t code = kvc_codec_train_bytes_max(&samples, &room, error);
            if (code != KVC_OK)
                return code;
            codec_tables largest;
            if (!largest.obtain(room))
                return kvc_status_t{KVC_E_NO_MEMORY};
            code = kvc_codec_train(&samples, largest.data_, room, &largest.size_, error);
            if (code != KVC_OK)
                return code;
            if (!made.obtain(largest.size_))
                return kvc_status_t{KVC_E_NO_MEMORY};
            std::memcpy(made.data_, largest.data_, largest.size_);
            made.size_ = largest.size_;
            return kvc_status_t{KVC_OK};
        });
    }
    /// Most bytes that tables trained on such samples have (kvc_codec_train_bytes_max).
    [[nodiscard]] static expected<std::uint64_t, refusal> train_bytes_max(const kvc_codec_samples_t &samples) noexcept {
        return detail::explained<std::uint64_t>([&](std::uint64_t &bytes, kvc_error_t *error) {
            return kvc_codec_train_bytes_max(&samples, &bytes, error);
        });
    }
    /// Bytes of the tables in a file (kvc_codec_tables_file_bytes).
    [[nodiscard]] static expected<std::uint64_t, refusal> file_bytes(const char *path) noexcept {
        return detail::explained<std::uint64_t>(
            [&](std::uint64_t &bytes, kvc_error_t *error) { return kvc_codec_tables_file_bytes(path, &bytes, error); });
    }
    /// Checks tables in memory that begins at a multiple of 64 bytes, and says what they are
    /// (kvc_codec_tables_check). Reads all of them.
    [[nodiscard]] static expected<codec_tables_info> check(bytes_in tables) noexcept {
        return detail::filled<codec_tables_info>(
            [&](codec_tables_info &made) { return kvc_codec_tables_check(tables.data(), tables.size(), &made); });
    }

    /// What these tables are (kvc_codec_tables_check).
    [[nodiscard]] expected<codec_tables_info> info() const noexcept { return check(*this); }
    /// Writes the tables to a file, durably, and says how many bytes (kvc_codec_tables_save).
    expected<std::uint64_t, refusal> save(const char *path) const noexcept {
        return detail::explained<std::uint64_t>([&](std::uint64_t &bytes, kvc_error_t *error) {
            bytes = size_;
            return kvc_codec_tables_save(path, data_, size_, error);
        });
    }
    /// Has a configuration use these tables; they are lent to what is opened with it.
    void lend(kvc_codec_config_t &target) const noexcept {
        target.codec_tables = data_, target.codec_tables_bytes = size_;
    }
    /// Their first byte; NULL when empty.
    [[nodiscard]] const std::byte *data() const noexcept { return static_cast<const std::byte *>(data_); }
    /// Their bytes; 0 when empty.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    bool obtain(std::uint64_t bytes) noexcept {
        if (bytes > SIZE_MAX - 63)
            return false;
        data_ = std::aligned_alloc(64, (static_cast<std::size_t>(bytes) + 63) / 64 * 64);
        return data_ != nullptr;
    }

    void *data_ = nullptr;
    std::uint64_t size_ = 0;
};

} // inline namespace
} // namespace kvcache

/// Hashes a key, for std::unordered_map. Keys that were derived are random in every byte.
template <> struct std::hash<kvcache::key> {
    /// Eight bytes of each quarter, mixed.
    std::size_t operator()(const kvcache::key &key) const noexcept {
        std::uint64_t words[4];
        std::memcpy(words, key.bytes, sizeof words);
        std::uint64_t mixed = words[0];
        for (int i = 1; i < 4; i++)
            mixed = (mixed ^ words[i]) * 0x9e3779b97f4a7c15u;
        return static_cast<std::size_t>(mixed ^ mixed >> 32);
    }
};

#endif // KVCACHE_HPP
