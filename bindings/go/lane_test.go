package kvcache

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func lane(t testing.TB, engine *Engine) *Lane {
	t.Helper()
	l, err := engine.OpenLane()
	no(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, ErrStale) {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

func buffer(t testing.TB, bytes int) *Buffer {
	t.Helper()
	b, err := NewBuffer(bytes)
	no(t, err)
	t.Cleanup(func() {
		if err := b.Free(); err != nil && !errors.Is(err, ErrStale) {
			t.Errorf("free: %v", err)
		}
	})
	return b
}

func TestLane(t *testing.T) {
	engine := open(t, smallConfig())
	l := lane(t, engine)
	source, target := buffer(t, 4*testBlockBytes), buffer(t, 4*testBlockBytes)
	keys := testKeys(0, 4)
	for i := range keys {
		copy(source.Bytes()[i*testBlockBytes:], testBlock(uint64(i), testBlockBytes))
	}
	parent := testKey(77)
	tickets, err := l.Submit(
		Op{Opcode: OpPut, UserData: 1, Keys: keys, Data: source.Memory(), Info: &PutInfo{Parent: &parent, NamespaceID: 3}},
		Op{Opcode: OpMatch, UserData: 2, Keys: keys},
		Op{Opcode: OpGet, UserData: 3, Keys: keys, Data: target.Memory(), Bytes: testBlockBytes},
		Op{Opcode: OpTouch, UserData: 4, Keys: keys},
		Op{Opcode: OpAcquire, UserData: 5, Keys: append(testKeys(0, 3), testKey(99))},
		Op{Opcode: OpPrefetch, UserData: 6, Keys: keys},
		Op{Opcode: OpRemove, UserData: 7, Keys: testKeys(3, 1)},
		Op{Opcode: OpAcquire, UserData: 8, Keys: testKeys(99, 1)},
		Op{Opcode: OpFlush, UserData: 9},
	)
	no(t, err)
	equal(t, len(tickets), 9)
	is(t, source.Free(), ErrBusy)
	is(t, l.Close(), ErrBusy)
	done, err := l.Wait(context.Background(), tickets[1])
	no(t, err)
	equal(t, done.UserData, 2)
	equal(t, done.Ticket, tickets[1])
	equal(t, done.Result, 4)
	is(t, second(l.Wait(context.Background(), tickets[1])), ErrStale)

	all := make([]Done, 16)
	count, err := l.Reap(all)
	no(t, err)
	equal(t, count, 8)
	want := map[uint64]struct {
		status Status
		result uint64
	}{1: {OK, 4}, 3: {OK, 4}, 4: {OK, 4}, 5: {OK, 3}, 6: {OK, 0}, 7: {OK, 1}, 8: {ErrMiss, 0}, 9: {ErrUnsupported, 0}}
	for _, done := range all[:count] {
		expected, known := want[done.UserData]
		if !known || done.Status != expected.status || done.Result != expected.result {
			t.Errorf("%+v instead of %+v", done, expected)
		}
		if (done.Err() == nil) != (done.Status == OK) {
			t.Errorf("%v", done.Err())
		}
		delete(want, done.UserData)
		if done.UserData == 5 {
			equal(t, done.Views.Len(), 3)
			equal(t, string(done.Views.Bytes(1)), string(testBlock(1, testBlockBytes)))
			no(t, done.Views.Release())
		} else if done.Views != nil {
			t.Errorf("%d has views", done.UserData)
		}
	}
	equal(t, string(target.Bytes()), string(source.Bytes()))
	no(t, source.Free())
	is(t, source.Free(), ErrStale)
	if source.Bytes() != nil {
		t.Error("a freed buffer has bytes")
	}
	removed, err := engine.NamespaceClear(3)
	no(t, err)
	equal(t, removed, 3)
}

// A lane takes what there is room for and says why not the rest; nothing is lost over many rounds.
func TestLaneIsFull(t *testing.T) {
	engine := open(t, smallConfig())
	l := lane(t, engine)
	ops := make([]Op, 20)
	for i := range ops {
		ops[i] = Op{Opcode: OpMatch, UserData: uint64(i), Keys: testKeys(0, 2)}
	}
	all := make([]Done, 32)
	for round := 0; round < 100; round++ {
		tickets, err := l.Submit(ops...)
		is(t, err, ErrAgain)
		equal(t, len(tickets), 16)
		is(t, second(l.Submit(ops[0])), ErrAgain)
		count, err := l.Reap(all)
		no(t, err)
		equal(t, count, 16)
		equal(t, all[15].UserData, 15)
	}
	// The reason is that of the operation that was not taken, and what was not taken leaves its room to others.
	for round := 0; round < 100; round++ {
		tickets, err := l.Submit(ops[0], Op{Opcode: 99}, ops[1])
		is(t, err, ErrUnsupported)
		equal(t, len(tickets), 1)
		tickets, err = l.Submit(Op{Opcode: OpMatch, Flags: 1 << 31})
		is(t, err, ErrUnsupported)
		equal(t, len(tickets), 0)
		count, err := l.Reap(all)
		no(t, err)
		equal(t, count, 1)
	}
	tickets, err := l.Submit()
	no(t, err)
	equal(t, len(tickets), 0)
	tickets, err = l.Submit(ops[:16]...)
	no(t, err)
	equal(t, len(tickets), 16)
	count, err := l.Reap(all)
	no(t, err)
	equal(t, count, 16)
}

func TestLaneCancel(t *testing.T) {
	engine := open(t, smallConfig())
	l := lane(t, engine)
	tickets, err := l.Submit(Op{Opcode: OpMatch, UserData: 1, Keys: testKeys(0, 1)},
		Op{Opcode: OpMatch, UserData: 2, Keys: testKeys(0, 1)})
	no(t, err)
	no(t, l.Cancel(tickets[1]))
	done, err := l.Wait(context.Background(), tickets[1])
	no(t, err)
	is(t, done.Err(), ErrCancelled)
	done, err = l.Wait(context.Background(), tickets[0])
	no(t, err)
	no(t, done.Err())
	is(t, l.Cancel(tickets[0]), ErrStale)
}

// With workers, a goroutine is woken by the event fd.
func TestLaneReady(t *testing.T) {
	config := smallConfig()
	config.WorkersCount = 1
	engine := open(t, config)
	l := lane(t, engine)
	put(t, engine, 0)

	soon, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := l.Ready(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := l.Ready(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	for round := uint64(0); round < 100; round++ {
		_, err := l.Submit(Op{Opcode: OpMatch, UserData: round, Keys: testKeys(0, 1)})
		no(t, err)
		done := make([]Done, 4)
		for count := 0; count == 0; {
			if round%2 == 0 {
				no(t, l.Ready(ctx))
			} else {
				no(t, l.Ready(context.Background()))
			}
			count, err = l.Reap(done)
			no(t, err)
		}
		equal(t, done[0].UserData, round)
		equal(t, done[0].Result, 1)
	}
	fd, err := l.EventFD()
	no(t, err)
	if fd < 0 {
		t.Error(fd)
	}
	no(t, l.Close())
	is(t, l.Close(), ErrStale)
	if l.Ready(ctx) == nil {
		t.Error("a closed lane is ready")
	}
	is(t, second(l.EventFD()), ErrStale)
}

// A wait ends with its context, and the operation goes on and can be waited for again.
func TestWaitEndsWithItsContext(t *testing.T) {
	engine := open(t, smallConfig())
	l := lane(t, engine)
	tickets, err := l.Submit(Op{Opcode: OpMatch, Keys: testKeys(0, 1)})
	no(t, err)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Wait(over, tickets[0]); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	later, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	done, err := l.Wait(later, tickets[0])
	no(t, err)
	no(t, done.Err())
}

// Two goroutines on one lane: each call is done, or answers ErrBusy, and nothing is lost.
func TestTwoGoroutinesOnOneLane(t *testing.T) {
	engine := open(t, smallConfig())
	l := lane(t, engine)
	var submitted, reaped, busy int64
	work := func(over chan struct{}) {
		done := make([]Done, 4)
		for round := 0; round < 20000; round++ {
			tickets, err := l.Submit(Op{Opcode: OpMatch, Keys: testKeys(0, 1)})
			if errors.Is(err, ErrBusy) {
				atomic.AddInt64(&busy, 1)
			} else if err != nil && !errors.Is(err, ErrAgain) {
				t.Error(err)
			}
			atomic.AddInt64(&submitted, int64(len(tickets)))
			count, err := l.Reap(done)
			if errors.Is(err, ErrBusy) {
				atomic.AddInt64(&busy, 1)
			} else if err != nil {
				t.Error(err)
			}
			atomic.AddInt64(&reaped, int64(count))
		}
		close(over)
	}
	first, other := make(chan struct{}), make(chan struct{})
	go work(first)
	go work(other)
	<-first
	<-other
	count, err := l.Reap(make([]Done, 16))
	no(t, err)
	equal(t, submitted, reaped+int64(count))
	// One that waits, and another: the second is told so for certain.
	l.busy = 1
	is(t, second(l.Reap(make([]Done, 1))), ErrBusy)
	is(t, second(l.Submit(Op{Opcode: OpFlush})), ErrBusy)
	is(t, second(l.Wait(context.Background(), Ticket{})), ErrBusy)
	is(t, l.Cancel(Ticket{}), ErrBusy)
	is(t, l.Close(), ErrBusy)
	l.busy = 0
	t.Logf("%d operations, %d times busy", submitted, busy)
}
