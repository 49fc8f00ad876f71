// What a wrong program gets: a status that says what is wrong, and never a crash.
#include <array>
#include <atomic>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include "check.hpp"

namespace {

constexpr std::uint64_t block_bytes = 4096;

// Every call on an engine that is not open.
void refuses_all(kvcache::engine &engine) {
    const auto keys = keys_of(1, 2);
    std::vector<std::uint8_t> bytes(64), tiers(2);
    std::vector<kvc_view_t> storage(2);
    std::vector<kvcache::item> items = {kvcache::item::get(keys[0], bytes)};
    std::array<kvcache::event, 1> events;
    std::array<kvcache::pin_info, 1> pins;
    std::uint64_t sequence = 0;
    const std::vector<std::uint32_t> importances = {1, 2};
    CHECK(!engine && !engine.contains(keys[0]));
    EXPECT(e_handle, engine.match(keys).code());
    EXPECT(e_handle, engine.match_each(keys, tiers).code());
    EXPECT(e_handle, engine.get(keys[0], bytes).code());
    EXPECT(e_handle, engine.get_many(items).code());
    EXPECT(e_handle, engine.acquire(keys[0]).code());
    EXPECT(e_handle, engine.acquire_many(keys, storage).code());
    EXPECT(e_handle, engine.reserve(keys[0], 64).code());
    EXPECT(e_handle, engine.put(keys[0], bytes));
    EXPECT(e_handle, engine.put_many(items).code());
    EXPECT(e_handle, engine.remove(keys).code());
    EXPECT(e_handle, engine.remove(keys[0]).code());
    EXPECT(e_handle, engine.touch(keys).code());
    EXPECT(e_handle, engine.retain(keys, 1).code());
    EXPECT(e_handle, engine.clear_namespace(1).code());
    EXPECT(e_handle, engine.set_namespace_quality(1, 1));
    EXPECT(e_handle, engine.begin_importance());
    EXPECT(e_handle, engine.set_importance(keys, importances));
    EXPECT(e_handle, engine.swap_importance());
    EXPECT(e_handle, engine.tier(KVC_TIER_NVME).code());
    EXPECT(e_handle, engine.prefetch(keys).code());
    EXPECT(e_handle, engine.cancel_prefetch(1));
    EXPECT(e_handle, engine.flush().code());
    EXPECT(e_handle, engine.open_lane().code());
    EXPECT(e_handle, engine.tick().code());
    EXPECT(e_handle, engine.stats().code());
    EXPECT(e_handle, engine.capacity().code());
    EXPECT(e_handle, engine.histogram(KVC_OPERATION_GET, KVC_TIER_CPU).code());
    EXPECT(e_handle, engine.metrics().code());
    EXPECT(e_handle, engine.events(sequence, events).code());
    EXPECT(e_handle, engine.pins(pins).code());
    EXPECT(e_handle, engine.shutdown());
    EXPECT(e_handle, engine.close());
}

void use_after_close() {
    kvcache::engine never;
    refuses_all(never);
    auto engine = open_of(config_of(block_bytes, 8));
    auto moved = std::move(engine);
    refuses_all(engine); // NOLINT: that is the test
    OK(moved.close());
    refuses_all(moved);
    // A handle of C that somebody kept.
    auto adopted = open_of(config_of(block_bytes, 8));
    kvc_engine_t *const kept = adopted.handle();
    OK(adopted.close());
    CHECK(kvcache::engine::adopt(kept).match({}).code() == kvcache::status::e_handle);
}

void close_while_in_use() {
    auto engine = open_of(config_of(block_bytes, 8));
    OK(engine.put(key_of(1), block_of(1, 100)));
    auto view = TAKE(engine.acquire(key_of(1)));
    EXPECT(e_busy, engine.close());
    CHECK(engine && block_is(1, view.bytes()));
    auto room = TAKE(engine.reserve(key_of(2), 100));
    OK(view.release());
    EXPECT(e_busy, engine.close());
    OK(room.abort());
    auto lane = TAKE(engine.open_lane());
    EXPECT(e_busy, engine.close());
    OK(lane.close());
    OK(engine.close());
}

// The engine goes first: it stays open below, and what it lent stays valid.
void wrong_order() {
    kvcache::view view;
    kvc_engine_t *handle = nullptr;
    {
        auto engine = open_of(config_of(block_bytes, 8));
        handle = engine.handle();
        OK(engine.put(key_of(1), block_of(1, 100)));
        view = TAKE(engine.acquire(key_of(1)));
    }
    CHECK(block_is(1, view.bytes()));
    OK(view.release());
    OK(kvcache::engine::adopt(handle).close());
    EXPECT(e_stale, view.release());

    // A reservation and a lane that are closed after the engine is gone for good.
    auto engine = open_of(config_of(block_bytes, 8));
    auto room = TAKE(engine.reserve(key_of(1), 10));
    const kvc_reservation_t raw = room.raw();
    CHECK(kvc_abort(engine.handle(), &raw) == KVC_OK); // Behind the object's back.
    OK(engine.close());
    EXPECT(e_handle, room.commit());
    EXPECT(e_stale, room.commit());
}

void double_release() {
    auto engine = open_of(config_of(block_bytes, 8));
    OK(engine.put(key_of(1), block_of(1, 100)));
    auto view = TAKE(engine.acquire(key_of(1)));
    const kvc_view_t raw = view.raw();
    OK(view.release());
    EXPECT(e_stale, view.release());
    EXPECT(e_stale, view.ready().code);
    CHECK(view.bytes().empty() && kvcache::view().release() == kvcache::status::e_stale);
    EXPECT(e_stale, kvcache::view::adopt(engine.handle(), raw).release());
    CHECK(TAKE(engine.stats()).releases == 1);

    auto room = TAKE(engine.reserve(key_of(2), 100));
    OK(room.commit());
    EXPECT(e_stale, room.commit());
    EXPECT(e_stale, room.abort());
    room = TAKE(engine.reserve(key_of(3), 100));
    OK(room.abort());
    EXPECT(e_stale, room.abort());
    EXPECT(e_stale, room.commit());

    auto lane = TAKE(engine.open_lane());
    OK(lane.close());
    EXPECT(e_stale, lane.close());
    EXPECT(e_stale, lane.submit(kvcache::operation::match({})).code());
    EXPECT(e_stale, lane.event_fd().code());
    EXPECT(e_stale, lane.cancel({}));
    EXPECT(e_stale, lane.wait({}).code());
    OK(engine.close());
}

void stale_ticket() {
    auto engine = open_of(config_of(block_bytes, 8));
    {
        const auto lane = TAKE(engine.open_lane());
        const auto keys = keys_of(1, 1);
        const auto ticket = TAKE(lane.submit(kvcache::operation::match(keys)));
        OK(TAKE(lane.wait(ticket)).code());
        EXPECT(e_stale, lane.wait(ticket).code());
        EXPECT(e_stale, lane.cancel(ticket));
        EXPECT(e_stale, lane.wait(kvcache::ticket()).code());
        kvc_ticket_t made_up = {77, 77};
        EXPECT(e_stale, lane.wait(made_up).code());
    }
    OK(engine.close());
}

void wrong_sizes() {
    auto engine = open_of(config_of(block_bytes, 8));
    const auto keys = keys_of(1, 4);
    std::vector<std::uint8_t> tiers(3), bytes(block_bytes + 1);
    std::vector<kvc_view_t> storage(3);
    EXPECT(e_too_small, engine.match_each(keys, tiers).code());
    EXPECT(e_too_small, engine.acquire_many(keys, storage).code());
    EXPECT(e_too_large, engine.put(keys[0], bytes));
    EXPECT(e_argument, engine.put(keys[0], kvcache::bytes_in(bytes.data(), 0)));
    EXPECT(e_null, engine.put(keys[0], kvcache::bytes_in(nullptr, 5)));
    EXPECT(e_too_large, engine.reserve(keys[0], block_bytes + 1).code());
    EXPECT(e_argument, engine.retain(keys, 101).code());
    EXPECT(e_argument, engine.retain(keys, 1, std::chrono::milliseconds(-1)).code());
    EXPECT(e_unsupported, engine.match(keys, 0x80).code());
    OK(engine.put(keys[0], block_of(1, 100)));
    std::array<char, 99> small;
    EXPECT(e_too_small, engine.get(keys[0], small).code());
    {
        const auto lane = TAKE(engine.open_lane());
        const std::array<kvcache::operation, 2> operations = {kvcache::operation::match(keys),
                                                              kvcache::operation::match(keys)};
        std::array<kvcache::ticket, 1> tickets;
        EXPECT(e_too_small, lane.submit(operations, tickets).code());
        EXPECT(e_unsupported, lane.submit(kvcache::operation()).code());
        EXPECT(e_argument, lane.submit(kvcache::operation::acquire(keys, storage)).code());
    }
    kvcache::put_info info;
    info.priority = 101;
    EXPECT(e_argument, engine.put(keys[1], block_of(1, 100), &info));
    auto config = config_of(block_bytes, 8);
    config.pins_count = UINT64_MAX - 1;
    const auto refused = kvcache::engine::open(config);
    CHECK(std::string(refused.error().field) == "pins_count" && refused.error().value_max == 1 << 20);
    OK(engine.close());
}

void two_threads_on_one_lane() {
    auto config = config_of(block_bytes, 8);
    config.lane_depth = 64;
    auto engine = open_of(config);
    {
        const auto lane = TAKE(engine.open_lane());
        const auto keys = keys_of(1, 64);
        std::atomic<bool> done{false};
        std::atomic<unsigned> refusals{0};
        const auto work = [&] {
            std::array<kvcache::completion, 64> completions;
            while (!done) {
                const auto submitted = lane.submit(kvcache::operation::match(keys));
                const auto reaped = lane.reap(completions);
                for (const auto code : {submitted.code(), reaped.code()}) {
                    CHECK(code == kvcache::status::ok || code == kvcache::status::again ||
                          code == kvcache::status::e_busy);
                    if (code == kvcache::status::e_busy && ++refusals == 10)
                        done = true;
                }
            }
        };
        std::thread other(work);
        work();
        other.join();
        CHECK(refusals >= 10);
    }
    OK(engine.close());
}

void fork_of_the_process() {
    auto engine = open_of(config_of(block_bytes, 8));
    OK(engine.put(key_of(1), block_of(1, 100)));
    {
        auto view = TAKE(engine.acquire(key_of(1)));
        auto room = TAKE(engine.reserve(key_of(2), 100));
        auto lane = TAKE(engine.open_lane());
        (void)TAKE(lane.submit(kvcache::operation::flush()));
        const pid_t child = fork();
        if (child == 0) {
            EXPECT(e_forked, engine.match({}).code());
            EXPECT(e_forked, engine.put(key_of(3), block_of(3, 10)));
            EXPECT(e_forked, lane.submit(kvcache::operation::flush()).code());
            EXPECT(e_forked, view.release());
            EXPECT(e_forked, room.abort());
            lane = {};
            EXPECT(e_forked, engine.close());
            auto own = open_of(config_of(block_bytes, 8));
            OK(own.put(key_of(1), block_of(1, 100)));
            OK(own.close());
            std::_Exit(0);
        }
        int ended = -1;
        CHECK(waitpid(child, &ended, 0) == child && WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
        CHECK(block_is(1, view.bytes()));
    }
    OK(engine.close());
}

void self_moves() {
    auto engine = open_of(config_of(block_bytes, 8));
    OK(engine.put(key_of(1), block_of(1, 100)));
    auto view = TAKE(engine.acquire(key_of(1)));
    auto &same_engine = engine;
    auto &same_view = view;
    engine = std::move(same_engine);
    view = std::move(same_view);
    CHECK(engine && block_is(1, view.bytes()));
    OK(view.release());
    OK(engine.close());
}

} // namespace

int main() {
    use_after_close();
    close_while_in_use();
    wrong_order();
    double_release();
    stale_ticket();
    wrong_sizes();
    two_threads_on_one_lane();
    fork_of_the_process();
    self_moves();
    std::printf("misuse: %lu checks\n", checks_count.load());
    return 0;
}
