// Checks that name the place and end the program, and what the tests have in common.
#ifndef KVCACHE_CPP_TESTS_CHECK_HPP
#define KVCACHE_CPP_TESTS_CHECK_HPP

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <kvcache.hpp>

inline std::atomic<unsigned long> checks_count{0};

#define CHECK(...)                                                                                                     \
    do {                                                                                                               \
        ++checks_count;                                                                                                \
        if (!(__VA_ARGS__)) {                                                                                          \
            std::fprintf(stderr, "%s:%d: %s: wrong: %s\n", __FILE__, __LINE__, __func__, #__VA_ARGS__);                \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

// The call answers this status.
#define EXPECT(expected_, ...)                                                                                         \
    do {                                                                                                               \
        const kvcache::status answered_ = (__VA_ARGS__);                                                               \
        ++checks_count;                                                                                                \
        if (answered_ != kvcache::status::expected_) {                                                                 \
            std::fprintf(stderr, "%s:%d: %s: %s answers %s, not %s\n", __FILE__, __LINE__, __func__, #__VA_ARGS__,     \
                         kvcache::name(answered_), #expected_);                                                        \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

#define OK(...) EXPECT(ok, __VA_ARGS__)

// The value that the call answers; the test ends where there is none.
template <class T, class E> T taken(kvcache::expected<T, E> made, const char *file, int line) {
    ++checks_count;
    if (!made) {
        std::fprintf(stderr, "%s:%d: answers %s: %s\n", file, line, kvcache::name(made.code()),
                     kvcache::detail::text_of(made.error()));
        std::exit(1);
    }
    return std::move(*made);
}
#define TAKE(...) taken((__VA_ARGS__), __FILE__, __LINE__)

inline kvcache::key key_of(std::uint64_t number) {
    return TAKE(kvcache::key::derive(1, std::string_view("tests"), kvcache::bytes_in(&number, sizeof number)));
}

inline std::vector<kvcache::key> keys_of(std::uint64_t first, std::uint64_t count) {
    std::vector<kvcache::key> keys;
    for (std::uint64_t i = 0; i < count; i++)
        keys.push_back(key_of(first + i));
    return keys;
}

inline std::vector<std::uint8_t> block_of(std::uint64_t number, std::size_t bytes) {
    std::vector<std::uint8_t> block(bytes);
    for (std::size_t place = 0; place < bytes; place++)
        block[place] =
            static_cast<std::uint8_t>(((number + 1) * 0x9e3779b97f4a7c15u + place * 0xc2b2ae3d27d4eb4fu) >> 56);
    return block;
}

inline bool block_is(std::uint64_t number, kvcache::span<const std::byte> bytes) {
    const auto expected = block_of(number, bytes.size());
    return std::memcmp(expected.data(), bytes.data(), bytes.size()) == 0;
}

inline kvcache::config config_of(std::uint64_t block_bytes, std::uint64_t blocks_count) {
    kvcache::config config;
    config.block_bytes = block_bytes;
    config.cpu_bytes = block_bytes * blocks_count;
    return config;
}

inline kvcache::engine open_of(const kvc_config_t &config) { return TAKE(kvcache::engine::open(config)); }

// A new folder for files, in TMPDIR or where temporary files go; removed with its files at the end.
struct folder {
    std::string path;
    std::vector<std::string> files;
    folder() {
        const char *where = std::getenv("TMPDIR");
        path = std::string(where != nullptr ? where : "/tmp") + "/kvcache-cpp-XXXXXX";
        CHECK(mkdtemp(path.data()) != nullptr);
    }
    ~folder() {
        for (const std::string &file : files)
            std::remove(file.c_str());
        std::remove(path.c_str());
    }
    folder(const folder &) = delete;
    folder &operator=(const folder &) = delete;
    std::string file(const char *name) {
        files.push_back(path + "/" + name);
        return files.back();
    }
};

#endif
