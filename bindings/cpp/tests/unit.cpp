// Every wrapper of kvcache.hpp does what its C function does, and owns what it says.
#include <array>
#include <deque>
#include <set>
#include <type_traits>
#include <unordered_set>

#include <poll.h>
#include <unistd.h>

#include "check.hpp"

// In second.cpp: the header may be in many units of one program.
std::uint64_t resident_count(const kvcache::engine &engine);

namespace {

template <class T> constexpr bool moves_only =
    std::is_nothrow_move_constructible_v<T> &&std::is_nothrow_move_assignable_v<T> &&
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> && std::is_nothrow_default_constructible_v<T>;
static_assert(moves_only<kvcache::engine> && moves_only<kvcache::view> && moves_only<kvcache::views>);
static_assert(moves_only<kvcache::reservation> && moves_only<kvcache::lane>);
static_assert(moves_only<kvcache::codec> && moves_only<kvcache::codec_tables>);
static_assert(std::is_trivially_copyable_v<kvcache::ticket> && std::is_trivially_copyable_v<kvcache::key>);
// A string literal would bring its closing zero along, and constant bytes are not to be written to.
static_assert(!std::is_convertible_v<const char (&)[3], kvcache::bytes_in>);
static_assert(!std::is_constructible_v<kvcache::bytes_out, const std::vector<int> &>);
static_assert(!std::is_constructible_v<kvcache::bytes_out, std::string_view>);
static_assert(!std::is_convertible_v<std::vector<std::string> &, kvcache::bytes_in>);
static_assert(!std::is_constructible_v<kvcache::span<int>, const std::vector<int> &>);

void statuses() {
    CHECK(kvcache::abi_matches() && std::string(kvcache::version()) == "0.1.0");
    CHECK(std::string(name(kvcache::status::miss)) == "KVC_MISS");
    CHECK(std::string(name(kvcache::status::e_forked)) == "KVC_E_FORKED");
    CHECK(is_error(kvcache::status::e_null) && !is_error(kvcache::status::miss) && !is_error(kvcache::status::ok));
}

void spans() {
    std::vector<int> numbers = {1, 2, 3};
    const std::array<int, 2> two = {4, 5};
    int row[4] = {6, 7, 8, 9};
    const kvcache::span<int> all = numbers;
    const kvcache::span<const int> constant = all, of_array = two, of_row = row, none;
    CHECK(all.size() == 3 && constant[2] == 3 && of_array.size() == 2 && of_row.size() == 4 && none.empty());
    CHECK(all.first(2).size() == 2 && all.subspan(1)[0] == 2 && all.subspan(1, 1).size_bytes() == sizeof(int));
    int sum = 0;
    for (const int number : of_row)
        sum += number;
    CHECK(sum == 30);

    CHECK(kvcache::bytes_in(numbers).size() == 3 * sizeof(int) && kvcache::bytes_in(numbers).data() == numbers.data());
    CHECK(kvcache::bytes_in(std::string_view("abc")).size() == 3 && kvcache::bytes_in(two).size() == 2 * sizeof(int));
    CHECK(kvcache::bytes_in(row).size() == sizeof row && kvcache::bytes_out(row).data() == row);
    CHECK(kvcache::bytes_out(all).size() == 3 * sizeof(int) && kvcache::bytes_in().data() == nullptr);
}

void configurations() {
    const kvcache::config defaults = kvcache::config_defaults();
    CHECK(defaults.struct_size == sizeof(kvc_config_t) && defaults.policy == KVC_POLICY_HAZARD);
    const auto config = config_of(4096, 8);
    const auto plan = TAKE(kvcache::compute_plan(config));
    CHECK(plan.slots_count == 8 && plan.components_count > 0 && plan.bytes > 8 * 4096);

    // Memory of the caller's, of exactly the bytes of the plan.
    void *memory = std::aligned_alloc(plan.memory_alignment_bytes, plan.bytes);
    auto brought = config;
    brought.memory = memory, brought.memory_bytes = plan.bytes;
    OK(open_of(brought).close());
    std::free(memory);

    auto wrong = config;
    wrong.block_bytes = 0;
    const auto refused = kvcache::engine::open(wrong);
    CHECK(!refused && refused.error().code() == kvcache::status::e_config);
    CHECK(std::string(refused.error().field) == "block_bytes" && refused.error().value_min == 1);
    CHECK(std::string(refused.error().message).find("block_bytes") != std::string::npos);
    EXPECT(e_config, kvcache::compute_plan(wrong).code());
    wrong.struct_size = 3;
    const auto refused_whole = kvcache::engine::open(wrong);
    EXPECT(e_argument, refused_whole.code());
    CHECK(refused_whole.error().message[0] != '\0');

    auto opened = TAKE(kvcache::engine::open(config));
    kvc_engine_t *const handle = opened.disown();
    CHECK(!opened && handle != nullptr);
    auto adopted = kvcache::engine::adopt(handle);
    CHECK(adopted && adopted.handle() == handle);
    EXPECT(miss, adopted.acquire(key_of(0)).code());
    OK(adopted.close());
}

void results() {
    auto engine = open_of(config_of(4096, 8));
    const auto missing = engine.acquire(key_of(1));
    CHECK(!missing && !missing.has_value() && missing.error() == kvcache::status::miss);
    CHECK(engine.match({}).value_or(7u) == 0 && kvcache::engine().match({}).value_or(7u) == 7);
    const kvcache::expected<std::uint64_t> five = std::uint64_t{5};
    CHECK(five && *five == 5 && five.value() == 5 && five.code() == kvcache::status::ok);
#if KVCACHE_EXCEPTIONS
    bool thrown = false;
    try {
        (void)engine.acquire(key_of(1)).value();
    } catch (const kvcache::exception &failure) {
        thrown = failure.code() == kvcache::status::miss && std::string(failure.what()) == "KVC_MISS";
    }
    CHECK(thrown);
    thrown = false;
    try {
        kvcache::ensure(engine.put(key_of(1), kvcache::bytes_in()));
    } catch (const std::exception &failure) {
        thrown = std::string(failure.what()).rfind("KVC_E_", 0) == 0;
    }
    CHECK(thrown);
    thrown = false;
    try {
        (void)kvcache::engine::open(kvcache::config()).value();
    } catch (const kvcache::exception &failure) {
        thrown = std::string(failure.what()).find("block_bytes") != std::string::npos;
    }
    CHECK(thrown);
    kvcache::ensure(kvcache::status::ok);
#endif
    OK(engine.close());
}

void keys() {
    const auto root = TAKE(kvcache::key::chain_root(7, {}));
    const std::vector<std::uint32_t> tokens = {1, 2, 3, 4, 5};
    std::array<kvcache::key, 2> chain;
    CHECK(TAKE(root.chain_many(tokens, 2, chain)) == 2);
    CHECK(TAKE(root.chain(kvcache::span<const std::uint32_t>(tokens.data(), 2))) == chain[0]);
    CHECK(TAKE(chain[0].chain(kvcache::span<const std::uint32_t>(&tokens[2], 2))) == chain[1] && chain[0] != chain[1]);
    EXPECT(e_too_small, root.chain_many(tokens, 2, kvcache::span<kvcache::key>(chain.data(), 1)).code());
    EXPECT(e_argument, root.chain_many(tokens, 0, chain).code());
    const std::unordered_set<kvcache::key> hashed = {chain[0], chain[1], chain[0]};
    const std::set<kvcache::key> ordered = {chain[0], chain[1], chain[1]};
    CHECK(hashed.size() == 2 && ordered.size() == 2 && hashed.count(chain[1]) == 1);
    CHECK(kvcache::key() == kvcache::key(kvc_key_t{}));
}

void blocks() {
    auto engine = open_of(config_of(4096, 16));
    const auto key = key_of(1);
    const auto block = block_of(1, 1000);
    OK(engine.put(key, block));
    EXPECT(exists, engine.put(key, block));
    CHECK(engine.contains(key) && !engine.contains(key_of(2)));

    std::vector<std::uint8_t> copy(4096);
    CHECK(TAKE(engine.get(key, copy, KVC_COPY_HOT)) == 1000 && std::memcmp(copy.data(), block.data(), 1000) == 0);
    EXPECT(e_too_small, engine.get(key, kvcache::bytes_out(copy.data(), 999)).code());
    EXPECT(e_argument, engine.get(key, copy, KVC_COPY_HOT | KVC_COPY_COLD).code());

    auto view = TAKE(engine.acquire(key));
    CHECK(view && view.size() == 1000 && block_is(1, view.bytes()) && view.as<std::uint64_t>().size() == 125);
    CHECK(reinterpret_cast<std::uintptr_t>(view.data()) % 64 == 0);
    CHECK(view.ready().code == kvcache::status::ok && view.ready().bytes == 1000);
    OK(engine.put(key_of(2), view)); // A view is bytes to put.
    std::array<kvcache::pin_info, 4> pins;
    CHECK(TAKE(engine.pins(pins)) == 1 && kvcache::key(pins[0].key) == key);
    auto moved = std::move(view);
    CHECK(!view && view.size() == 0 && view.data() == nullptr && view.bytes().empty()); // NOLINT: that is the test
    view = TAKE(engine.acquire(key_of(2)));
    moved = std::move(view); // Gives the first block back.
    CHECK(TAKE(engine.stats()).pins_in_use == 1);
    OK(moved.release());
    const kvc_view_t raw = TAKE(engine.acquire(key)).disown();
    CHECK(TAKE(engine.stats()).pins_in_use == 1);
    OK(kvcache::view::adopt(engine.handle(), raw).release());

    auto room = TAKE(engine.reserve(key_of(3), 4096));
    CHECK(room && room.size() == 4096 && room.as<std::uint16_t>().size() == 2048);
    EXPECT(pending, engine.reserve(key_of(3), 4096).code());
    std::memcpy(room.data(), block_of(3, 100).data(), 100);
    EXPECT(e_too_large, room.commit(4097));
    CHECK(room && room.raw().bytes == 4096);
    OK(room.commit(100));
    CHECK(!room && TAKE(engine.acquire(key_of(3))).size() == 100);
    {
        const auto given_up = TAKE(engine.reserve(key_of(4), 10));
        CHECK(given_up.bytes().size() == 10);
    }
    CHECK(TAKE(engine.stats()).aborts == 1 && !engine.contains(key_of(4)));
    auto first = TAKE(engine.reserve(key_of(5), 10));
    first = TAKE(engine.reserve(key_of(6), 10));
    CHECK(TAKE(engine.stats()).blocks_reserved == 1);
    OK(first.abort());
    EXPECT(e_too_large, engine.reserve(key_of(7), 4097).code());
    CHECK(resident_count(engine) == 3);
    OK(engine.close());
}

void batches() {
    auto engine = open_of(config_of(4096, 64));
    const auto keys = keys_of(100, 8);
    std::deque<std::vector<std::uint8_t>> blocks, copies;
    std::vector<kvcache::item> puts, gets;
    for (std::size_t i = 0; i < 8; i++) {
        puts.push_back(kvcache::item::put(keys[i], blocks.emplace_back(block_of(100 + i, 512))));
        gets.push_back(kvcache::item::get(keys[i], copies.emplace_back(512)));
    }
    kvcache::put_info info;
    info.namespace_id = 9;
    CHECK(TAKE(engine.put_many(kvcache::span<kvcache::item>(puts).first(6), &info)) == 6);
    CHECK(puts[5].code() == kvcache::status::ok && puts[5].bytes_out == 512);
    CHECK(TAKE(engine.get_many(gets)) == 6);
    CHECK(gets[5].code() == kvcache::status::ok && gets[6].code() == kvcache::status::miss && copies[5] == blocks[5]);
    CHECK(TAKE(engine.match(keys, KVC_MATCH_TOUCH)) == 6);
    std::vector<std::uint8_t> tiers(8);
    CHECK(TAKE(engine.match_each(keys, tiers)) == 6 && tiers[5] == 1 << KVC_TIER_CPU && tiers[6] == 0);

    std::vector<kvc_view_t> storage(8);
    auto views = TAKE(engine.acquire_many(keys, storage));
    CHECK(views.size() == 6 && !views.empty() && block_is(105, views[5]) && views.raw()[0].bytes == 512);
    auto moved = std::move(views);
    CHECK(views.empty() && moved.size() == 6); // NOLINT: that is the test
    views = std::move(moved);
    CHECK(TAKE(engine.stats()).pins_in_use == 6 && TAKE(views.release()) == 6 && TAKE(views.release()) == 0);
    CHECK(TAKE(engine.stats()).pins_in_use == 0);

    CHECK(TAKE(engine.touch(keys)) == 6);
    CHECK(TAKE(engine.retain(keys, 50, std::chrono::seconds(5), KVC_RETAIN_PROTECTED)) == 6);
    CHECK(TAKE(engine.remove(keys[0])) == 1 && TAKE(engine.remove(keys[0])) == 0);
    CHECK(TAKE(engine.remove(kvcache::span<const kvcache::key>(&keys[1], 2))) == 2);
    CHECK(TAKE(engine.clear_namespace(9)) == 3 && resident_count(engine) == 0);
    EXPECT(e_unsupported, engine.set_namespace_quality(9, 10));
    EXPECT(miss, engine.cancel_prefetch(3));
    OK(engine.close());
}

void lanes() {
    auto config = config_of(4096, 64);
    config.lanes_count = 1;
    auto engine = open_of(config);
    auto lane = TAKE(engine.open_lane());
    EXPECT(again, engine.open_lane().code());
    CHECK(TAKE(lane.event_fd()) >= 0);
    const auto keys = keys_of(200, 4);
    auto bytes = block_of(200, 4 * 256);
    std::vector<std::uint8_t> back(4 * 256);
    std::vector<kvc_view_t> storage(4);
    const std::array<kvcache::operation, 6> operations = {kvcache::operation::put(keys, bytes.data(), 256).tagged(1),
                                                          kvcache::operation::match(keys).tagged(2),
                                                          kvcache::operation::get(keys, back.data(), 256).tagged(3),
                                                          kvcache::operation::acquire(keys, storage).tagged(4),
                                                          kvcache::operation::touch(keys).tagged(5),
                                                          kvcache::operation::prefetch(keys).tagged(6)};
    std::array<kvcache::ticket, 6> tickets;
    CHECK(TAKE(lane.submit(operations, tickets)) == 6 && tickets[0] != tickets[1]);
    CHECK(TAKE(lane.wait(tickets[5])).user_data == 6);
    std::array<kvcache::completion, 8> done;
    CHECK(TAKE(lane.reap(done)) == 5);
    for (std::size_t i = 0; i < 5; i++)
        CHECK(done[i].user_data == i + 1 && done[i].result == 4 && done[i].code() == kvcache::status::ok &&
              kvcache::ticket(done[i].ticket) == tickets[i]);
    CHECK(back == bytes);
    {
        const auto views = kvcache::views::adopt(engine.handle(), kvcache::span<kvc_view_t>(storage));
        CHECK(std::memcmp(views[1].data(), &bytes[256], 256) == 0 && TAKE(engine.stats()).pins_in_use == 4);
    }
    CHECK(TAKE(engine.stats()).pins_in_use == 0);

    const auto ticket = TAKE(lane.submit(kvcache::operation::remove(keys)));
    OK(lane.cancel(ticket));
    CHECK(TAKE(lane.wait(ticket, std::chrono::milliseconds(1))).code() == kvcache::status::cancelled);
    CHECK(TAKE(engine.match(keys)) == 4);
    const auto flush = TAKE(lane.submit(kvcache::operation::flush()));
    EXPECT(e_unsupported, TAKE(lane.wait(flush)).code());
    CHECK(TAKE(lane.submit(operations)) == 6);
    EXPECT(e_busy, lane.close());
    CHECK(TAKE(engine.tick()) > 0);
    std::vector<kvcache::completion> rest(6);
    CHECK(TAKE(lane.reap(rest)) == 6);
    (void)kvcache::views::adopt(engine.handle(), kvcache::span<kvc_view_t>(storage));
    auto moved = std::move(lane);
    OK(moved.close());
    // What is under way is completed before the lane goes.
    {
        const auto abandoned = TAKE(engine.open_lane());
        CHECK(TAKE(abandoned.submit(kvcache::span<const kvcache::operation>(&operations[2], 1))) == 1);
        back.assign(back.size(), 0);
    }
    CHECK(back == bytes && TAKE(engine.stats()).lanes_open == 0);
    OK(engine.close());

    // With a worker, the event fd tells.
    config.workers_count = 1;
    engine = open_of(config);
    {
        const auto worked = TAKE(engine.open_lane());
        pollfd waiting = {TAKE(worked.event_fd()), POLLIN, 0};
        CHECK(TAKE(worked.submit(kvcache::span<const kvcache::operation>(operations.data(), 1))) == 1);
        CHECK(poll(&waiting, 1, 10000) == 1);
        std::uint64_t signals = 0;
        CHECK(read(waiting.fd, &signals, sizeof signals) == 8);
        CHECK(TAKE(worked.reap(rest)) == 1 && rest[0].result == 4);
    }
    OK(engine.shutdown());
    EXPECT(e_shutdown, engine.put(key_of(1), bytes));
    OK(engine.close());
}

void watching() {
    auto config = config_of(4096, 8);
    config.latency_sample_count = 1;
    auto engine = open_of(config);
    OK(engine.put(key_of(1), block_of(1, 100)));
    CHECK(TAKE(engine.get(key_of(1), block_of(0, 4096))) == 100);
    CHECK(TAKE(engine.capacity()).blocks_count == 8 && TAKE(engine.stats()).get_hits == 1);
    CHECK(TAKE(engine.histogram(KVC_OPERATION_GET, KVC_TIER_CPU)).count == 1);
    EXPECT(e_unsupported, engine.histogram(99, KVC_TIER_CPU).code());
    const std::string text = TAKE(engine.metrics());
    CHECK(text.find("# TYPE ") != std::string::npos && text.back() == '\n');
    std::vector<char> buffer(64 << 10);
    CHECK(TAKE(engine.metrics(buffer)).find("# TYPE ") != std::string_view::npos);
    EXPECT(e_too_small, engine.metrics(kvcache::span<char>(buffer.data(), 10)).code());
    std::uint64_t sequence = 0;
    std::array<kvcache::event, 4> events;
    const auto read = TAKE(engine.events(sequence, events));
    CHECK(read.read == 1 && read.lost == 0 && events[0].kind == KVC_EVENT_STORED && sequence == 1);
    CHECK(kvcache::key(events[0].key) == key_of(1));
    EXPECT(e_no_device, engine.tier(KVC_TIER_NVME).code());
    OK(engine.close());
}

void importance() {
    auto config = config_of(4096, 4);
    config.policy = KVC_POLICY_IMPORTANCE, config.importance_count = 16;
    auto engine = open_of(config);
    const auto keys = keys_of(300, 5);
    for (std::size_t i = 0; i < 4; i++)
        OK(engine.put(keys[i], block_of(i, 4096)));
    const std::vector<std::uint32_t> importances = {4, 1, 3, 2, 5};
    EXPECT(e_stale, engine.set_importance(keys, importances));
    OK(engine.begin_importance());
    OK(engine.set_importance(keys, importances));
    EXPECT(e_argument, engine.set_importance(keys, kvcache::span<const std::uint32_t>(importances).first(2)));
    OK(engine.swap_importance());
    OK(engine.put(keys[4], block_of(4, 4096)));
    CHECK(!engine.contains(keys[1]) && engine.contains(keys[0]) && engine.contains(keys[3]));
    OK(engine.close());
}

void files() {
    folder folder;
    auto config = config_of(64 << 10, 16);
    const std::string nvme = folder.file("nvme"), disk = folder.file("disk");
    config.nvme_path = nvme.c_str(), config.nvme_bytes = 32 << 20;
    config.disk_path = disk.c_str(), config.disk_bytes = 32 << 20;
    const auto keys = keys_of(400, 40);
    auto engine = open_of(config);
    for (std::size_t i = 0; i < keys.size(); i++)
        OK(engine.put(keys[i], block_of(400 + i, 64 << 10)));
    CHECK(TAKE(engine.flush()) <= 40);
    CHECK(TAKE(engine.tier(KVC_TIER_NVME)).blocks_count == 40);
    EXPECT(e_file_busy, kvcache::engine::open(config).code());
    OK(engine.set_namespace_quality(3, 100));
    OK(engine.close());

    engine = open_of(config);
    CHECK(TAKE(engine.match(keys)) == 40 && TAKE(engine.stats()).blocks_recovered >= 40);
    CHECK(TAKE(engine.prefetch(kvcache::span<const kvcache::key>(keys).first(2))) == 2);
    auto arriving = TAKE(engine.acquire(keys[5], KVC_ACQUIRE_PARTIAL));
    kvcache::progress progress = arriving.ready();
    while (progress.code == kvcache::status::pending) {
        CHECK(progress.bytes <= arriving.size());
        CHECK(engine.tick().has_value());
        progress = arriving.ready();
    }
    CHECK(progress.code == kvcache::status::ok && progress.bytes == 64 << 10 && block_is(405, arriving.bytes()));
    OK(arriving.release());
    std::vector<std::uint8_t> back(64 << 10);
    {
        // The lane waits for the file before its memory goes.
        const auto lane = TAKE(engine.open_lane());
        const auto wanted = kvcache::span<const kvcache::key>(keys).subspan(30, 1);
        (void)TAKE(lane.submit(kvcache::operation::get(wanted, back.data(), back.size())));
    }
    CHECK(back == block_of(430, 64 << 10));
    for (std::size_t i = 0; i < keys.size(); i++)
        CHECK(block_is(400 + i, TAKE(engine.acquire(keys[i])).bytes()));
    OK(engine.close());
}

kvcache::geometry geometry_of(std::uint64_t layers_count) {
    kvcache::geometry geometry;
    geometry.layers_count = layers_count, geometry.kv_heads_count = 2, geometry.head_dim = 64;
    geometry.tokens_per_block = 16, geometry.dtype = KVC_DTYPE_BF16;
    return geometry;
}

void layout() {
    const auto geometry = geometry_of(2);
    const std::size_t block_bytes = TAKE(geometry.block_bytes()), layer_bytes = block_bytes / 2;
    EXPECT(e_config, kvcache::geometry().block_bytes().code());
    std::vector<std::uint8_t> first = block_of(1, 4 * layer_bytes), second = block_of(2, 4 * layer_bytes);
    std::array<void *, 2> layers = {first.data(), second.data()};
    kvcache::paged paged;
    paged.pages_count = 4, paged.tokens_per_page = 16, paged.order = KVC_ORDER_NHD, paged.planes = KVC_PLANES_INNER;
    paged.keys = layers.data(), paged.keys_count = 2;
    const std::array<std::uint32_t, 1> page = {2}, other = {1};
    std::vector<std::uint8_t> block(block_bytes), layer(layer_bytes);
    OK(kvcache::gather(geometry, paged, page, 0, block));
    CHECK(std::memcmp(block.data(), &first[2 * layer_bytes], layer_bytes) == 0);
    CHECK(std::memcmp(&block[layer_bytes], &second[2 * layer_bytes], layer_bytes) == 0);
    OK(kvcache::gather_layer(geometry, paged, page, 0, 1, layer, KVC_COPY_COLD));
    CHECK(std::memcmp(layer.data(), &second[2 * layer_bytes], layer_bytes) == 0);
    OK(kvcache::scatter(geometry, paged, other, 0, block));
    CHECK(std::memcmp(&first[layer_bytes], block.data(), layer_bytes) == 0);
    OK(kvcache::scatter_layer(geometry, paged, other, 0, 0, layer));
    CHECK(std::memcmp(&first[layer_bytes], layer.data(), layer_bytes) == 0);
    EXPECT(e_too_small, kvcache::gather(geometry, paged, page, 0, layer));
    EXPECT(e_argument, kvcache::gather(geometry, paged, std::array<std::uint32_t, 1>{4}, 0, block));
}

std::vector<std::uint16_t> plain_of(std::uint64_t number, std::size_t elements) {
    std::vector<std::uint16_t> plain(elements);
    for (std::size_t i = 0; i < elements; i++) // Both signs, 1/4 to 4.
        plain[i] = static_cast<std::uint16_t>((((number + i) * 0x9e3779b97f4a7c15u) >> 48 & 0x81ff) | 0x3e80);
    return plain;
}

void codecs() {
    CHECK(std::string(kvcache::codec_name(KVC_CODEC_T3)) == "t3");
    const auto geometry = geometry_of(2);
    kvcache::codec_config config;
    config.geometry = &geometry, config.codec_key = KVC_CODEC_I8, config.codec_value = KVC_CODEC_RAW;
    const auto sizes = TAKE(kvcache::codec::describe(config));
    auto codec = TAKE(kvcache::codec::open(config));
    const auto block = plain_of(1, sizes.block_bytes / 2);
    std::vector<std::byte> code(sizes.code_bytes_max), scratch(sizes.scratch_bytes);
    const std::size_t bytes = TAKE(codec.encode(block, 0, code, scratch));
    code.resize(bytes);
    CHECK(bytes < sizes.block_bytes);
    std::vector<std::uint16_t> back(block.size()), layer(block.size() / 2);
    OK(codec.decode(code, back, scratch));
    OK(codec.decode_layer(code, 1, layer, scratch));
    // The values of the second layer are as they were, and the layer alone is what it is in the block.
    CHECK(std::memcmp(&back[3 * block.size() / 4], &block[3 * block.size() / 4], sizes.block_bytes / 4) == 0);
    CHECK(std::memcmp(layer.data(), &back[block.size() / 2], sizes.block_bytes / 2) == 0);
    CHECK(TAKE(codec.inspect(code)).codec == KVC_CODEC_I8);
    code[0] ^= std::byte{0xff};
    EXPECT(e_damaged, codec.decode(code, back, scratch));
    EXPECT(e_argument, codec.decode(code, layer, scratch));
    auto moved = std::move(codec);
    EXPECT(e_handle, codec.decode(code, back, scratch)); // NOLINT: that is the test
    EXPECT(e_handle, codec.close());
    OK(moved.close());
    EXPECT(e_handle, moved.inspect(code).code());
    config.codec_key = 77;
    EXPECT(e_config, kvcache::codec::describe(config).code());
    const auto refused = kvcache::codec::open(config);
    CHECK(!refused && std::string(refused.error().field) == "codec_key");
    config.codec_key = KVC_CODEC_VQ;
    CHECK(std::string(kvcache::codec::open(config).error().field) == "codec_tables");
}

void tables() {
    folder folder;
    const std::string path = folder.file("tables");
    constexpr std::size_t tokens_count = 256, head_dim = 32;
    const auto keys = plain_of(1, tokens_count * head_dim), values = plain_of(2, tokens_count * head_dim);
    const std::array<const void *, 1> keys_of_layers = {keys.data()}, values_of_layers = {values.data()};
    kvcache::codec_samples samples;
    samples.dtype = KVC_DTYPE_BF16, samples.layers_count = 1, samples.kv_heads_count = 1, samples.head_dim = head_dim;
    samples.tokens_count = tokens_count, samples.rope = KVC_ROPE_NONE, samples.codecs = 1 << KVC_CODEC_VQ;
    samples.keys = keys_of_layers.data(), samples.values = values_of_layers.data();
    CHECK(TAKE(kvcache::codec_tables::train_bytes_max(samples)) > 0);
    const auto trained = TAKE(kvcache::codec_tables::train(samples));
    CHECK(TAKE(trained.info()).tokens_count == tokens_count);
    CHECK(TAKE(trained.save(path.c_str())) == trained.size());
    CHECK(TAKE(kvcache::codec_tables::file_bytes(path.c_str())) == trained.size());
    auto loaded = TAKE(kvcache::codec_tables::load(path.c_str()));
    CHECK(loaded.size() == trained.size() && std::memcmp(loaded.data(), trained.data(), trained.size()) == 0);
    CHECK(TAKE(kvcache::codec_tables::check(loaded)).digest == TAKE(trained.info()).digest);

    auto geometry = geometry_of(1);
    geometry.kv_heads_count = 1, geometry.head_dim = head_dim;
    kvcache::codec_config config;
    config.geometry = &geometry, config.codec_key = KVC_CODEC_VQ, config.codec_value = KVC_CODEC_VQ;
    loaded.lend(config);
    OK(TAKE(kvcache::codec::open(config)).close());

    const auto missing = kvcache::codec_tables::load((path + "-none").c_str());
    CHECK(missing.code() == kvcache::status::e_file && missing.error().os_error == ENOENT);
    auto moved = std::move(loaded);
    CHECK(loaded.size() == 0 && loaded.data() == nullptr && moved.size() == trained.size()); // NOLINT
    CHECK(is_error(loaded.info().code()));
    moved = TAKE(kvcache::codec_tables::load(path.c_str())); // Frees the ones before.
    CHECK(moved.size() == trained.size());
    samples.tokens_count = 1;
    CHECK(std::string(kvcache::codec_tables::train(samples).error().field) == "tokens_count");
}

// A process can have 1024 engines and 1024 codecs: more than that in turn is possible only if each is closed.
void destructors() {
    auto small = config_of(64, 4);
    small.pins_count = 16, small.stripes_count = 1, small.lanes_count = KVC_NONE, small.events_count = KVC_NONE;
    const auto geometry = geometry_of(1);
    kvcache::codec_config config;
    config.geometry = &geometry;
    auto engine = open_of(small);
    auto codec = TAKE(kvcache::codec::open(config));
    for (int i = 0; i < 1100; i++) {
        const auto opened = kvcache::engine::open(small);
        const auto codec_opened = kvcache::codec::open(config);
        CHECK(opened && codec_opened);
        engine = open_of(small); // Closes the one before.
        codec = TAKE(kvcache::codec::open(config));
    }
    OK(engine.close());
    OK(codec.close());
}

} // namespace

int main() {
    statuses();
    spans();
    configurations();
    results();
    keys();
    blocks();
    batches();
    lanes();
    watching();
    importance();
    files();
    layout();
    codecs();
    tables();
    destructors();
    std::printf("unit: %lu checks\n", checks_count.load());
    return 0;
}
