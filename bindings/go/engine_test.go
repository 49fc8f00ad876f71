package kvcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	testBlockBytes = 256
	testSlots      = 64
)

func smallConfig() Config {
	return Config{BlockBytes: testBlockBytes, CPUBytes: testBlockBytes * testSlots, PinsCount: 32, LanesCount: 2,
		LaneDepth: 16, EventsCount: 64, Policy: PolicyLRU, LatencySampleCount: 1}
}

func open(t testing.TB, config Config) *Engine {
	t.Helper()
	engine, err := Open(&config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil && !errors.Is(err, ErrHandle) {
			t.Errorf("close: %v", err)
		}
	})
	return engine
}

func testKey(number uint64) Key {
	var name [8]byte
	binary.LittleEndian.PutUint64(name[:], number)
	return DeriveKey(1, []byte("suite"), name[:])
}

func testKeys(first, count uint64) []Key {
	keys := make([]Key, count)
	for i := range keys {
		keys[i] = testKey(first + uint64(i))
	}
	return keys
}

func testBlock(number uint64, length int) []byte {
	block := make([]byte, length)
	for place := range block {
		block[place] = byte((number+1)*0x9e3779b97f4a7c15>>56) + byte(place)
	}
	return block
}

func no(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is wants the status.
func is(t testing.TB, err error, want Status) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v instead of %v", err, want)
	}
}

func equal[T comparable](t testing.TB, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%v instead of %v", got, want)
	}
}

func put(t testing.TB, engine *Engine, number uint64) {
	t.Helper()
	no(t, engine.Put(testKey(number), testBlock(number, testBlockBytes), nil))
}

func TestVersions(t *testing.T) {
	equal(t, Version(), fmt.Sprintf("%d.%d.%d", VersionMajor, VersionMinor, VersionPatch))
	equal(t, ABI(), ABIVersion)
	equal(t, ErrMiss.Name(), "KVC_MISS")
	equal(t, ErrMiss.Error(), "kvcache: the block is not resident (KVC_MISS)")
	equal(t, Status(12345).Name(), "KVC_UNKNOWN")
	if !strings.Contains(Status(12345).Error(), "12345") {
		t.Error(Status(12345).Error())
	}
	wrapped := fmt.Errorf("reading: %w", ErrStale)
	is(t, wrapped, ErrStale)
	if errors.Is(wrapped, ErrMiss) {
		t.Error("a status is another one")
	}
}

func TestPlanAndDefaults(t *testing.T) {
	defaults := ConfigDefaults()
	equal(t, defaults.Policy, PolicyHazard)
	equal(t, defaults.PinsCount, 4096)
	defaults.BlockBytes, defaults.CPUBytes = 4096, 1<<20
	written, err := ComputePlan(&defaults)
	no(t, err)
	zeros, err := ComputePlan(&Config{BlockBytes: 4096, CPUBytes: 1 << 20})
	no(t, err)
	equal(t, *written, *zeros)
	equal(t, zeros.SlotsCount, 256)
	var total uint64
	names := map[string]bool{}
	for _, component := range zeros.Each() {
		total += component.Bytes
		names[component.Name()] = true
	}
	equal(t, total, zeros.Bytes)
	if !names["slots"] {
		t.Error(names)
	}
}

func TestConfigIsRefusedWithReason(t *testing.T) {
	_, err := Open(&Config{BlockBytes: 4096, CPUBytes: 1 << 20, PinsCount: 1 << 30})
	var refused *ConfigError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	is(t, err, ErrConfig)
	equal(t, refused.Field, "pins_count")
	equal(t, refused.Value, 1<<30)
	equal(t, refused.ValueMax, 1<<20)
	if !strings.Contains(err.Error(), "pins_count") {
		t.Error(err)
	}
	_, err = Open(&Config{BlockBytes: 4096, CPUBytes: 1 << 20, NVMePath: "a\x00b", NVMeBytes: 1 << 30})
	is(t, err, ErrConfig)
}

func TestPutGetAcquire(t *testing.T) {
	engine := open(t, smallConfig())
	put(t, engine, 1)
	is(t, engine.Put(testKey(1), testBlock(1, 10), nil), ErrExists)
	is(t, engine.Put(testKey(2), nil, nil), ErrArgument)
	is(t, engine.Put(testKey(2), make([]byte, testBlockBytes+1), nil), ErrTooLarge)
	target := make([]byte, testBlockBytes)
	count, err := engine.Get(testKey(1), target, CopyHot)
	no(t, err)
	equal(t, string(target[:count]), string(testBlock(1, testBlockBytes)))
	_, err = engine.Get(testKey(1), target[:10], 0)
	is(t, err, ErrTooSmall)
	_, err = engine.Get(testKey(9), target, 0)
	is(t, err, ErrMiss)
	_, err = engine.Get(testKey(1), target, CopyHot|CopyCold)
	is(t, err, ErrArgument)

	view, err := engine.Acquire(testKey(1), 0)
	no(t, err)
	equal(t, string(view.Bytes()), string(target))
	equal(t, string(view.Memory().Bytes()), string(target))
	ready, err := view.Ready()
	no(t, err)
	equal(t, ready, testBlockBytes)
	pins, count, err := engine.Pins(4)
	no(t, err)
	equal(t, count, 1)
	equal(t, pins[0].Key, testKey(1))
	equal(t, pins[0].Pin, view.Pin())
	equal(t, pins[0].Block, view.Block())
	pins, count, err = engine.Pins(0)
	no(t, err)
	equal(t, len(pins), 0)
	equal(t, count, 1)
	is(t, engine.Close(), ErrBusy)
	no(t, view.Release())
	_, err = engine.Acquire(testKey(9), 0)
	is(t, err, ErrMiss)
	_, err = engine.Acquire(testKey(1), 1<<31)
	is(t, err, ErrUnsupported)
}

func TestReader(t *testing.T) {
	engine := open(t, smallConfig())
	for i := uint64(0); i < 8; i++ {
		put(t, engine, i)
	}
	reader := engine.Reader()
	is(t, reader.Close(), ErrStale)
	for round := 0; round < 3; round++ {
		for i := uint64(0); i < 8; i++ {
			block, err := reader.Read(testKey(i))
			no(t, err)
			equal(t, string(block), string(testBlock(i, testBlockBytes)))
			stats, err := engine.Stats()
			no(t, err)
			equal(t, stats.PinsInUse, 1)
		}
	}
	_, err := reader.Read(testKey(99))
	is(t, err, ErrMiss)
	stats, err := engine.Stats()
	no(t, err)
	equal(t, stats.PinsInUse, 0)
	_, err = reader.Read(testKey(3))
	no(t, err)
	no(t, reader.Close())
	is(t, reader.Close(), ErrStale)
	no(t, engine.Close())
}

func TestReserve(t *testing.T) {
	engine := open(t, smallConfig())
	parent := testKey(0)
	info := &PutInfo{Parent: &parent, ChainIndex: 1, TokensCount: 16, Priority: 5, NamespaceID: 7, Flags: PutProtected}
	room, err := engine.Reserve(testKey(1), 100, info)
	no(t, err)
	equal(t, len(room.Bytes()), 100)
	_, err = engine.Reserve(testKey(1), 100, nil)
	is(t, err, ErrPending)
	copy(room.Bytes(), testBlock(1, 100))
	is(t, room.Commit(101), ErrTooLarge)
	is(t, room.Commit(-1), ErrArgument)
	no(t, room.Commit(60))
	is(t, room.Commit(0), ErrStale)
	is(t, room.Abort(), ErrStale)
	view, err := engine.Acquire(testKey(1), 0)
	no(t, err)
	equal(t, string(view.Bytes()), string(testBlock(1, 60)))
	no(t, view.Release())
	room, err = engine.Reserve(testKey(2), 100, nil)
	no(t, err)
	no(t, room.Abort())
	count, err := engine.Match(testKeys(2, 1), 0)
	no(t, err)
	equal(t, count, 0)
	_, err = engine.Reserve(testKey(3), -1, nil)
	is(t, err, ErrArgument)
	_, err = engine.Reserve(testKey(3), 10, &PutInfo{Priority: 101})
	is(t, err, ErrArgument)
	removed, err := engine.NamespaceClear(7)
	no(t, err)
	equal(t, removed, 1)
}

func TestBatches(t *testing.T) {
	config := smallConfig()
	config.CPUBytes = testBlockBytes * 256
	config.PinsCount = 256
	engine := open(t, config)
	// More than fits on the shim's stack, and a last block that is shorter.
	const count = 100
	keys, source := testKeys(0, count), []byte(nil)
	for i := uint64(0); i < count; i++ {
		source = append(source, testBlock(i, testBlockBytes)...)
	}
	source = source[:len(source)-50]
	results := make([]Result, count)
	is(t, second(engine.PutMany(keys, source, testBlockBytes, nil, results[:99])), ErrTooSmall)
	is(t, second(engine.PutMany(keys, source[:99*testBlockBytes], testBlockBytes, nil, results)), ErrArgument)
	is(t, second(engine.PutMany(keys, source, 0, nil, results)), ErrArgument)
	put(t, engine, 5)
	stored, err := engine.PutMany(keys, source, testBlockBytes, &PutInfo{TokensCount: 16}, results)
	no(t, err)
	equal(t, stored, count-1)
	equal(t, results[5].Status, ErrExists)
	equal(t, results[99], Result{Bytes: testBlockBytes - 50, Status: OK})

	matched, err := engine.Match(append(testKeys(0, 70), testKeys(500, 3)...), MatchTouch)
	no(t, err)
	equal(t, matched, 70)
	tiers := make([]uint8, 3)
	resident, err := engine.MatchEach([]Key{testKey(500), testKey(1), testKey(2)}, 0, tiers)
	no(t, err)
	equal(t, resident, 2)
	equal(t, fmt.Sprint(tiers), fmt.Sprint([]uint8{0, 1 << TierCPU, 1 << TierCPU}))
	is(t, second(engine.MatchEach(keys, 0, tiers)), ErrTooSmall)

	target := make([]byte, count*testBlockBytes)
	_, err = engine.Remove(testKeys(7, 1))
	no(t, err)
	got, err := engine.GetMany(keys, target, testBlockBytes, 0, results)
	no(t, err)
	equal(t, got, count-1)
	equal(t, results[7], Result{Status: ErrMiss})
	for i := uint64(0); i < count; i++ {
		if want := testBlock(i, int(results[i].Bytes)); !bytes.Equal(target[i*testBlockBytes:][:len(want)], want) {
			t.Fatalf("block %d came back wrong", i)
		}
	}
	zero, err := engine.GetMany(nil, nil, 0, 0, nil)
	no(t, err)
	equal(t, zero, 0)

	views, err := engine.AcquireMany(keys)
	no(t, err)
	equal(t, views.Len(), 7)
	for i := 0; i < views.Len(); i++ {
		equal(t, string(views.Bytes(i)), string(testBlock(uint64(i), testBlockBytes)))
	}
	no(t, views.At(2).Release())
	is(t, views.Release(), ErrStale)
	is(t, views.Release(), ErrStale)
	views, err = engine.AcquireMany(nil)
	no(t, err)
	no(t, views.Release())
}

func second[T any](_ T, err error) error { return err }

func TestKeepingAndDropping(t *testing.T) {
	config := smallConfig()
	config.ImportanceCount, config.Policy = 4, PolicyImportance
	engine := open(t, config)
	for i := uint64(0); i < 4; i++ {
		put(t, engine, i)
	}
	for name, call := range map[string]func() (int, error){
		"touch":  func() (int, error) { return engine.Touch(testKeys(2, 4)) },
		"retain": func() (int, error) { return engine.Retain(testKeys(2, 4), 50, 1000, RetainProtected) },
		"remove": func() (int, error) { return engine.Remove(testKeys(2, 4)) },
	} {
		if name != "remove" {
			count, err := call()
			no(t, err)
			equal(t, count, 2)
		}
	}
	is(t, second(engine.Retain(testKeys(0, 1), 101, 0, 0)), ErrArgument)
	removed, err := engine.Remove(testKeys(2, 4))
	no(t, err)
	equal(t, removed, 2)
	is(t, engine.NamespaceQualitySet(1, 10), ErrUnsupported)

	is(t, engine.ImportanceSwap(), ErrStale)
	no(t, engine.ImportanceBegin())
	is(t, engine.ImportanceSet(testKeys(0, 2), []uint32{1}), ErrArgument)
	no(t, engine.ImportanceSet(testKeys(0, 2), []uint32{9, 1}))
	is(t, engine.ImportanceSet(testKeys(10, 4), []uint32{1, 1, 1, 1}), ErrTooLarge)
	no(t, engine.ImportanceSwap())
	is(t, engine.PrefetchCancel(1), ErrMiss)
	begun, err := engine.Prefetch(testKeys(0, 2))
	no(t, err)
	equal(t, begun, 0)
}

func TestWatching(t *testing.T) {
	engine := open(t, smallConfig())
	reader := engine.Events()
	for i := uint64(0); i < 3; i++ {
		put(t, engine, i)
	}
	_, err := engine.Remove(testKeys(1, 1))
	no(t, err)
	events := make([]Event, 16)
	count, lost, err := reader.Read(events)
	no(t, err)
	equal(t, count, 4)
	equal(t, lost, 0)
	equal(t, events[0].Kind, EventStored)
	equal(t, events[0].Key, testKey(0))
	equal(t, events[0].Tier, TierCPU)
	equal(t, events[3].Kind, EventRemoved)
	equal(t, events[3].Key, testKey(1))
	count, _, err = reader.Read(nil)
	no(t, err)
	equal(t, count, 0)
	for i := uint64(10); i < 110; i++ {
		put(t, engine, i)
	}
	_, lost, err = reader.Read(events)
	no(t, err)
	if lost == 0 {
		t.Error("64 events are remembered, and more happened")
	}

	stats, err := engine.Stats()
	no(t, err)
	equal(t, stats.Commits, 103)
	equal(t, stats.SlotsCount, testSlots)
	capacity, err := engine.Capacity()
	no(t, err)
	equal(t, capacity.BlockBytes, testBlockBytes)
	equal(t, capacity.LaneDepth, 16)
	histogram, err := engine.Histogram(OperationPut, TierCPU)
	no(t, err)
	if histogram.Count == 0 || histogram.LatencyNsP50 == 0 || histogram.LatencyNsMax < histogram.LatencyNsP99/2 {
		t.Errorf("%+v", histogram)
	}
	is(t, second(engine.Histogram(99, TierCPU)), ErrUnsupported)
	metrics, err := engine.Metrics()
	no(t, err)
	if !strings.Contains(metrics, "# TYPE ") || strings.Contains(metrics, "\x00") {
		t.Error(metrics)
	}
	is(t, second(engine.Tier(TierNVMe)), ErrNoDevice)
	_, err = engine.Tick(0)
	no(t, err)
}

func TestMemoryOfTheCaller(t *testing.T) {
	config := smallConfig()
	plan, err := ComputePlan(&config)
	no(t, err)
	config.Memory, err = NewBuffer(int(plan.Bytes))
	no(t, err)
	engine := open(t, config)
	put(t, engine, 1)
	is(t, config.Memory.Free(), ErrBusy)
	no(t, engine.Close())
	no(t, config.Memory.Free())
	is(t, second(Open(&config)), ErrStale)
}

func TestShutdown(t *testing.T) {
	engine := open(t, smallConfig())
	put(t, engine, 1)
	no(t, engine.Shutdown())
	no(t, engine.Shutdown())
	is(t, engine.Put(testKey(2), []byte("x"), nil), ErrShutdown)
	view, err := engine.Acquire(testKey(1), 0)
	no(t, err)
	no(t, view.Release())
}

// Many goroutines read, write and watch at once; the race detector looks on.
func TestManyGoroutines(t *testing.T) {
	engine := open(t, smallConfig())
	var all sync.WaitGroup
	var hits int64
	until := time.Now().Add(300 * time.Millisecond)
	for worker := 0; worker < 8; worker++ {
		all.Add(1)
		go func(worker uint64) {
			defer all.Done()
			reader := engine.Reader()
			for round := uint64(0); time.Now().Before(until); round++ {
				number := (worker*7919 + round*31) % (2 * testSlots)
				if err := engine.Put(testKey(number), testBlock(number, testBlockBytes), nil); err != nil &&
					!errors.Is(err, ErrExists) && !errors.Is(err, ErrPending) && !errors.Is(err, ErrAgain) {
					t.Error(err)
				}
				block, err := reader.Read(testKey(number))
				if err == nil && !bytes.Equal(block, testBlock(number, testBlockBytes)) {
					t.Errorf("block %d is wrong", number)
				}
				view, err := engine.Acquire(testKey(number/2), 0)
				if err == nil {
					if !bytes.Equal(view.Bytes(), testBlock(number/2, testBlockBytes)) {
						t.Errorf("block %d is wrong", number/2)
					}
					if err := view.Release(); err != nil {
						t.Error(err)
					}
					atomic.AddInt64(&hits, 1)
				}
				if round%64 == 0 {
					if _, err := engine.Stats(); err != nil {
						t.Error(err)
					}
				}
			}
			if err := reader.Close(); err != nil && !errors.Is(err, ErrStale) {
				t.Error(err)
			}
		}(uint64(worker))
	}
	all.Wait()
	if hits == 0 {
		t.Error("nobody found anything")
	}
}

// A hit allocates nothing.
func TestHitsDoNotAllocate(t *testing.T) {
	engine := open(t, smallConfig())
	put(t, engine, 1)
	key, keys, target := testKey(1), testKeys(1, 2), make([]byte, testBlockBytes)
	reader := engine.Reader()
	for name, call := range map[string]func() error{
		"acquire": func() error {
			view, err := engine.Acquire(key, 0)
			if err == nil {
				err = view.Release()
			}
			return err
		},
		"read":  func() error { _, err := reader.Read(key); return err },
		"get":   func() error { _, err := engine.Get(key, target, 0); return err },
		"match": func() error { _, err := engine.Match(keys, 0); return err },
		"miss": func() error {
			if _, err := engine.Acquire(keys[1], 0); !errors.Is(err, ErrMiss) {
				return err
			}
			return nil
		},
	} {
		var failed error
		count := testing.AllocsPerRun(100, func() {
			if err := call(); err != nil {
				failed = err
			}
		})
		no(t, failed)
		if count != 0 {
			t.Errorf("%s allocates %v times", name, count)
		}
	}
	no(t, reader.Close())
}
