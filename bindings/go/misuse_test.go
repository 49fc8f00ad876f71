package kvcache

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"libkvcache/kvcache/internal/probe"
)

// After Close every call answers ErrHandle, also from views and the like that came from the engine.
func TestUseAfterClose(t *testing.T) {
	config := smallConfig()
	config.ImportanceCount = 4
	engine := open(t, config)
	put(t, engine, 1)
	view, err := engine.Acquire(testKey(1), 0)
	no(t, err)
	room, err := engine.Reserve(testKey(2), 10, nil)
	no(t, err)
	views, err := engine.AcquireMany(testKeys(1, 1))
	no(t, err)
	reader, events := engine.Reader(), engine.Events()
	l, err := engine.OpenLane()
	no(t, err)
	for _, err := range []error{engine.Close(), engine.Close()} {
		is(t, err, ErrBusy)
	}
	no(t, view.Release())
	no(t, room.Abort())
	no(t, views.Release())
	no(t, l.Close())
	no(t, engine.Close())

	key, keys, target, results := testKey(1), testKeys(1, 1), make([]byte, testBlockBytes), make([]Result, 1)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	for name, err := range map[string]error{
		"Close":               engine.Close(),
		"Shutdown":            engine.Shutdown(),
		"Tick":                second(engine.Tick(0)),
		"TickEvery":           engine.TickEvery(ctx, time.Microsecond),
		"Flush":               second(engine.Flush(context.Background())),
		"Flush, context":      second(engine.Flush(ctx)),
		"Prefetch":            second(engine.Prefetch(keys)),
		"PrefetchCancel":      engine.PrefetchCancel(1),
		"Tier":                second(engine.Tier(TierNVMe)),
		"Stats":               second(engine.Stats()),
		"Capacity":            second(engine.Capacity()),
		"Histogram":           second(engine.Histogram(OperationGet, TierCPU)),
		"Metrics":             second(engine.Metrics()),
		"Match":               second(engine.Match(keys, 0)),
		"MatchEach":           second(engine.MatchEach(keys, 0, make([]uint8, 1))),
		"Get":                 second(engine.Get(key, target, 0)),
		"GetMany":             second(engine.GetMany(keys, target, testBlockBytes, 0, results)),
		"Acquire":             second(engine.Acquire(key, 0)),
		"AcquireContext":      second(engine.AcquireContext(ctx, key)),
		"AcquireMany":         second(engine.AcquireMany(keys)),
		"Put":                 engine.Put(key, target, nil),
		"Put, info":           engine.Put(key, target, &PutInfo{}),
		"PutMany":             second(engine.PutMany(keys, target, testBlockBytes, nil, results)),
		"Reserve":             second(engine.Reserve(key, 10, nil)),
		"Remove":              second(engine.Remove(keys)),
		"Touch":               second(engine.Touch(keys)),
		"Retain":              second(engine.Retain(keys, 1, 0, 0)),
		"NamespaceClear":      second(engine.NamespaceClear(1)),
		"NamespaceQualitySet": engine.NamespaceQualitySet(1, 1),
		"ImportanceBegin":     engine.ImportanceBegin(),
		"ImportanceSet":       engine.ImportanceSet(keys, []uint32{1}),
		"ImportanceSwap":      engine.ImportanceSwap(),
		"OpenLane":            second(engine.OpenLane()),
		"View.Release":        view.Release(),
		"View.Ready":          second(view.Ready()),
		"Views.Release":       views.Release(),
		"Reservation.Commit":  room.Commit(0),
		"Reservation.Abort":   room.Abort(),
		"Reader.Read":         second(reader.Read(key)),
	} {
		if !errors.Is(err, ErrHandle) {
			t.Errorf("%s: %v instead of %v", name, err, ErrHandle)
		}
	}
	if _, _, err := engine.Pins(4); !errors.Is(err, ErrHandle) {
		t.Error(err)
	}
	if _, _, err := events.Read(make([]Event, 4)); !errors.Is(err, ErrHandle) {
		t.Error(err)
	}
	is(t, second(l.Reap(make([]Done, 1))), ErrStale)
	is(t, second(l.Submit(Op{Opcode: OpFlush})), ErrStale)
	is(t, second(l.EventFD()), ErrHandle)
}

// A closed engine stays closed when the library gives its handle to another one.
func TestClosedEngineIsNoOther(t *testing.T) {
	tiny := Config{BlockBytes: 64, CPUBytes: 64, PinsCount: 1, StripesCount: 1, LanesCount: None, EventsCount: None}
	closed := open(t, tiny)
	handle := closed.Handle()
	no(t, closed.Close())
	again := false
	for i := 0; i < 3000 && !again; i++ {
		engine, err := Open(&tiny)
		no(t, err)
		no(t, engine.Put(testKey(1), []byte("x"), nil))
		_, err = closed.Acquire(testKey(1), 0)
		is(t, err, ErrHandle)
		is(t, second(closed.Stats()), ErrHandle)
		is(t, closed.Close(), ErrHandle)
		again = engine.Handle() == handle
		no(t, engine.Close())
	}
	if !again {
		t.Error("the handle was not used again: this tests nothing")
	}
}

func TestDoubleRelease(t *testing.T) {
	engine := open(t, smallConfig())
	put(t, engine, 1)
	view, err := engine.Acquire(testKey(1), 0)
	no(t, err)
	same := view
	no(t, view.Release())
	is(t, view.Release(), ErrStale)
	is(t, same.Release(), ErrStale)
	// The pin's place is used again; the old view is still not the new one.
	again, err := engine.Acquire(testKey(1), 0)
	no(t, err)
	is(t, view.Release(), ErrStale)
	is(t, second(view.Ready()), ErrStale)
	no(t, again.Release())
	is(t, View{}.Release(), ErrStale)
	is(t, second(View{}.Ready()), ErrStale)
	is(t, Reservation{}.Commit(0), ErrStale)
	is(t, Reservation{}.Abort(), ErrStale)
	equal(t, len(View{}.Bytes()), 0)
	equal(t, len(Reservation{}.Bytes()), 0)
}

func TestStaleTicket(t *testing.T) {
	engine := open(t, smallConfig())
	l, other := lane(t, engine), lane(t, engine)
	is(t, second(l.Wait(context.Background(), Ticket{})), ErrStale)
	is(t, l.Cancel(Ticket{Index: 7, Generation: 7}), ErrStale)
	tickets, err := l.Submit(Op{Opcode: OpMatch, Keys: testKeys(0, 1)})
	no(t, err)
	is(t, second(other.Wait(context.Background(), tickets[0])), ErrStale)
	_, err = l.Wait(context.Background(), tickets[0])
	no(t, err)
	is(t, second(l.Wait(context.Background(), tickets[0])), ErrStale)
	is(t, second(engine.OpenLane()), ErrAgain)
}

func TestWrongSizesOnALane(t *testing.T) {
	engine := open(t, smallConfig())
	l, b := lane(t, engine), buffer(t, 100)
	keys := testKeys(0, 4)
	for _, op := range []Op{
		{Opcode: OpGet, Keys: keys, Data: b.Memory(), Bytes: 26},
		{Opcode: OpPut, Keys: keys, Data: b.Memory(), Bytes: 1 << 63},
		{Opcode: OpPut, Keys: keys, Bytes: 1},
	} {
		tickets, err := l.Submit(op)
		is(t, err, ErrTooSmall)
		equal(t, len(tickets), 0)
	}
	memory := b.Memory()
	no(t, b.Free())
	is(t, second(l.Submit(Op{Opcode: OpGet, Keys: keys, Data: memory})), ErrStale)
	// Blocks of no bytes: the operation says so.
	tickets, err := l.Submit(Op{Opcode: OpPut, Keys: keys})
	no(t, err)
	done, err := l.Wait(context.Background(), tickets[0])
	no(t, err)
	is(t, done.Err(), ErrArgument)
	count, err := l.Reap(make([]Done, 4))
	no(t, err)
	equal(t, count, 0)
}

// Memory of Go is refused where the library would keep it.
func TestGoMemoryIsRefused(t *testing.T) {
	data := make([]byte, 100)
	if _, err := MemoryAt(unsafe.Pointer(&data[0]), len(data)); !errors.Is(err, ErrGoMemory) {
		t.Fatalf("%v", err)
	}
	runtime.KeepAlive(data)
	is(t, second(MemoryAt(nil, 1)), ErrNull)
	is(t, second(MemoryAt(nil, -1)), ErrArgument)
	no(t, second(MemoryAt(nil, 0)))
}

func TestForkedChild(t *testing.T) {
	engine := open(t, smallConfig())
	equal(t, Status(probe.Fork(engine.Handle())), ErrForked)
	put(t, engine, 1)
}

// An engine that nobody has any more is closed by the collector, unless something of it is held.
func TestFinalizerIsASafetyNet(t *testing.T) {
	config := tiersConfig(t)
	func() {
		engine, err := Open(&config)
		no(t, err)
		no(t, engine.Put(testKey(1), []byte("x"), nil))
	}()
	var err error
	for try := 0; try < 200; try++ {
		runtime.GC()
		var engine *Engine
		if engine, err = Open(&config); err == nil {
			no(t, engine.Close())
			return
		}
		is(t, err, ErrFileBusy)
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal(err)
}
