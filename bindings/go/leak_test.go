package kvcache

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// residentBytes are the process's pages in memory, after the collector has given back what it can.
func residentBytes(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	no(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	no(t, err)
	return pages * os.Getpagesize()
}

// flat runs rounds, the first tenth of them to warm up, and wants no more memory after the others: not more than bound
// bytes. A leak of what one round uses would be seen: rounds times the smallest thing that C allocates (32 bytes) is
// more than that, or the bound says why not.
func flat(t *testing.T, rounds, bound int, round func(int)) {
	t.Helper()
	if raceEnabled {
		rounds /= 10 // Only to see that it works; what the detector itself keeps can't be told apart.
	}
	for i := 0; i < rounds/10; i++ {
		round(i)
	}
	before := residentBytes(t)
	for i := rounds / 10; i < rounds; i++ {
		round(i)
	}
	after := residentBytes(t)
	t.Logf("%d rounds: %d KiB before, %d KiB after", rounds, before>>10, after>>10)
	if after-before > bound && !raceEnabled {
		t.Errorf("%d bytes more after %d rounds", after-before, rounds)
	}
}

// 100,000 rounds. The bound is 2 MiB, since Go's heap goes up and down by one; losing 32 bytes in each of the 90,000
// that are counted would be 2.9 MB.
func TestNoLeakInReading(t *testing.T) {
	engine := open(t, smallConfig())
	for i := uint64(0); i < 8; i++ {
		put(t, engine, i)
	}
	keys, target, reader := testKeys(0, 8), make([]byte, 8*testBlockBytes), engine.Reader()
	// More than the shim has room for on its stack.
	many, results := testKeys(5000, 100), make([]Result, 100)
	l := lane(t, engine)
	b, done := buffer(t, testBlockBytes), make([]Done, 4)
	flat(t, 100000, 2<<20, func(i int) {
		key := keys[i%8]
		no(t, second(engine.Get(key, target, 0)))
		view, err := engine.Acquire(key, 0)
		no(t, err)
		no(t, view.Release())
		no(t, second(reader.Read(key)))
		if i%10 == 0 {
			views, err := engine.AcquireMany(keys)
			no(t, err)
			no(t, views.Release())
			no(t, second(engine.GetMany(keys, target, testBlockBytes, 0, results)))
			no(t, second(engine.GetMany(many, target, 1, 0, results)))
			no(t, second(l.Submit(Op{Opcode: OpGet, Keys: keys[:1], Data: b.Memory()}, Op{Opcode: OpAcquire, Keys: keys})))
			count, err := l.Reap(done)
			no(t, err)
			equal(t, count, 2)
			no(t, done[1].Views.Release())
			room, err := engine.Reserve(testKey(1000+uint64(i)), 10, &PutInfo{Parent: &key})
			no(t, err)
			no(t, room.Abort())
		}
	})
	no(t, reader.Close())
	stats, err := engine.Stats()
	no(t, err)
	equal(t, stats.PinsInUse, 0)
	equal(t, stats.BlocksReserved, 0)
}

// Open, put, get, close: 100,000 times, or as often as it takes 15 seconds. The bound is 2 MiB, since Go's heap and C's
// go up and down by a part of that; losing 64 bytes in each of 40,000 rounds would be 3 MB.
func TestNoLeakInOpening(t *testing.T) {
	rounds := 0
	once := func(int) {
		rounds++
		config := Config{BlockBytes: 64, CPUBytes: 256, PinsCount: 1, StripesCount: 1, LanesCount: 1, LaneDepth: 1,
			EventsCount: None, Geometries: []Geometry{{LayersCount: 1, KVHeadsCount: 1, HeadDim: 1, TokensPerBlock: 1,
				DType: DTypeF32}}}
		engine, err := Open(&config)
		no(t, err)
		no(t, engine.Put(testKey(1), []byte("hello"), nil))
		l, err := engine.OpenLane()
		no(t, err)
		no(t, second(l.Submit(Op{Opcode: OpMatch, Keys: testKeys(1, 1)})))
		no(t, second(l.Reap(make([]Done, 1))))
		no(t, l.Close())
		view, err := engine.Acquire(testKey(1), 0)
		no(t, err)
		no(t, view.Release())
		no(t, engine.Close())
	}
	begin := time.Now()
	for i := 0; i < 1000; i++ {
		once(i)
	}
	each := time.Since(begin) / 1000
	total := int(15 * time.Second / each)
	if total > 100000 {
		total = 100000
	}
	flat(t, total, 2<<20, once)
	t.Logf("%d rounds of %v", rounds, each)
	runtime.GC()
}
