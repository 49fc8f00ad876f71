package kvcache

// #include "shim.h"
import "C"
import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"
	"unsafe"
)

// Engine is an open cache. Made by Open, ended by Close.
type Engine struct {
	handle *C.kvc_engine_t
	// The same as a number: cgo takes that without checking, and without an allocation.
	address C.uintptr_t
	// The buffer that the engine lies in, if the caller brought one.
	memory Memory
}

// Open opens an engine: obtains what the plan says, reads what the files of its tiers hold, starts the workers if there
// are to be any. It waits for the files' devices.
//
// A *ConfigError says what is wrong with a configuration, or what the system refused; errors.Is tells the cases apart.
func Open(config *Config) (*Engine, error) {
	if abi := ABI(); abi != ABIVersion {
		return nil, fmt.Errorf("the library has the binary interface %d, this program was built for %d: %w",
			abi, ABIVersion, ErrUnsupported)
	}
	var a arena
	defer a.free()
	p, err := config.c(&a)
	if err != nil {
		return nil, err
	}
	engine := &Engine{}
	if config.Memory != nil {
		engine.memory = config.Memory.Memory()
		if err := engine.memory.hold(); err != nil {
			return nil, err
		}
	}
	e := newError()
	if err := refusal(C.kvc_engine_open(p, &engine.handle, e), e); err != nil {
		engine.memory.drop()
		return nil, err
	}
	engine.address = C.uintptr_t(uintptr(unsafe.Pointer(engine.handle)))
	runtime.SetFinalizer(engine, func(e *Engine) { _ = e.Close() })
	return engine, nil
}

// Shutdown winds the engine up: refuses new work, completes what lanes have queued, and makes durable what can be, for
// at most ten minutes. Completions can still be reaped and everything given back. No other call on the engine may be
// under way.
func (e *Engine) Shutdown() error {
	defer runtime.KeepAlive(e)
	return asError(C.kvc_shutdown(e.handle))
}

// Close closes the engine and gives its memory and its files back. It does not write down what no file holds: call
// Flush or Shutdown first. No other call on the engine may be under way.
//
// ErrBusy while there are views, reservations, lanes or operations: the engine stays open and as it was. ErrHandle when
// it was closed already, as from every call after Close.
func (e *Engine) Close() error {
	if status := C.kvc_close(e.handle); status != C.KVC_OK {
		return Status(status)
	}
	e.handle = (*C.kvc_engine_t)(C.kvc_go_closed())
	e.address = C.uintptr_t(uintptr(unsafe.Pointer(e.handle)))
	e.memory.drop()
	e.memory = Memory{}
	runtime.SetFinalizer(e, nil)
	return nil
}

// Handle is the engine's kvc_engine_t pointer, for other C code of the program. It is the engine's.
func (e *Engine) Handle() unsafe.Pointer {
	return unsafe.Pointer(e.handle)
}

// Tick does the engine's work in tick mode: operations of all lanes, the file tiers' reads and writes, expiry, upkeep.
// It returns how many things were done. nowNs is the engine's time with ClockTicks; otherwise pass 0.
func (e *Engine) Tick(nowNs uint64) (int, error) {
	defer runtime.KeepAlive(e)
	var progress C.uint64_t
	status := C.kvc_tick(e.handle, C.uint64_t(nowNs), &progress)
	return int(progress), asError(status)
}

// TickEvery calls Tick at these intervals until the context is done, and returns the context's error, or that of a
// Tick. For an engine without workers, in a goroutine of its own; the context must be done before Close.
func (e *Engine) TickEvery(ctx context.Context, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if _, err := e.Tick(0); err != nil {
				return err
			}
		}
	}
}

// Flush makes everything durable that was committed or removed before the call, and returns how many blocks had to be
// written: with a context that can be done, in the last of the steps that it is made in.
//
// When the context is done, Flush returns the context's error within twice the time that it has taken, and writing
// goes on. ErrEndurance when the endurance budget does not allow all of it; ErrOffline; ErrUnsupported without a file
// tier.
func (e *Engine) Flush(ctx context.Context) (int, error) {
	defer runtime.KeepAlive(e)
	var written C.uint64_t
	if ctx.Done() == nil {
		status := C.kvc_flush(e.handle, math.MaxUint64, &written)
		return int(written), asError(status)
	}
	for step := 20 * time.Millisecond; ; step *= 2 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		timeout := step
		if deadline, ok := ctx.Deadline(); ok {
			if rest := time.Until(deadline); rest < timeout {
				timeout = rest
			}
		}
		if timeout < 0 {
			timeout = 0
		}
		if status := C.kvc_flush(e.handle, C.uint64_t(timeout), &written); status != C.KVC_TIMEOUT {
			return int(written), asError(status)
		}
		if timeout < step {
			<-ctx.Done() // The deadline is here, or within a timer's precision.
		}
	}
}

// Prefetch begins copying blocks up from the file tiers into memory, and does not wait. It returns how many are on
// their way because of this call.
func (e *Engine) Prefetch(keys []Key) (int, error) {
	defer runtime.KeepAlive(e)
	var begun C.uint64_t
	status := C.kvc_prefetch(e.handle, keysAt(keys), C.uint64_t(len(keys)), 0, &begun)
	return int(begun), asError(status)
}

// PrefetchCancel says that a conversation is over, or paused: the wish for its blocks is dropped. ErrMiss if no such
// conversation is remembered; ErrAgain while a tick is learning.
func (e *Engine) PrefetchCancel(conversationID uint64) error {
	defer runtime.KeepAlive(e)
	return asError(C.kvc_prefetch_cancel(e.handle, C.uint64_t(conversationID)))
}

// Tier says what a file tier is and does at present. ErrNoDevice when the engine has no file tier of this kind.
func (e *Engine) Tier(tier TierID) (*Tier, error) {
	defer runtime.KeepAlive(e)
	out := &Tier{structSize: C.sizeof_kvc_tier_t}
	status := C.kvc_tier_get(e.handle, C.uint32_t(tier), (*C.kvc_tier_t)(unsafe.Pointer(out)))
	return out, asError(status)
}

// IOName is how the tier's file is read and written: "io_uring", "pread", "mmap".
func (t *Tier) IOName() string {
	return text(t.ioName[:])
}

// Stats reads all counters and gauges. Takes a few microseconds.
func (e *Engine) Stats() (*Stats, error) {
	defer runtime.KeepAlive(e)
	out := &Stats{structSize: C.sizeof_kvc_stats_t}
	status := C.kvc_stats_get(e.handle, (*C.kvc_stats_t)(unsafe.Pointer(out)))
	return out, asError(status)
}

// Capacity says what fits; it does not change while the engine is open.
func (e *Engine) Capacity() (*Capacity, error) {
	defer runtime.KeepAlive(e)
	out := &Capacity{structSize: C.sizeof_kvc_capacity_t}
	status := C.kvc_capacity_get(e.handle, (*C.kvc_capacity_t)(unsafe.Pointer(out)))
	return out, asError(status)
}

// Histogram says how long the operations of one kind took in one tier. ErrUnsupported for an operation or a tier that
// this version does not know.
func (e *Engine) Histogram(operation Operation, tier TierID) (*Histogram, error) {
	defer runtime.KeepAlive(e)
	out := &Histogram{structSize: C.sizeof_kvc_histogram_t}
	status := C.kvc_histogram_get(e.handle, C.uint32_t(operation), C.uint32_t(tier),
		(*C.kvc_histogram_t)(unsafe.Pointer(out)))
	return out, asError(status)
}

// Metrics are all metrics as the text that a Prometheus scraper reads.
func (e *Engine) Metrics() (string, error) {
	defer runtime.KeepAlive(e)
	for room := 64 << 10; ; room *= 2 {
		buffer := make([]byte, room)
		var bytes C.uint64_t
		status := C.kvc_metrics_write(e.handle, (*C.char)(unsafe.Pointer(&buffer[0])), C.uint64_t(room), &bytes)
		if status == C.KVC_OK {
			return string(buffer[:bytes]), nil
		}
		if status != C.KVC_E_TOO_SMALL || room > 64<<20 {
			return "", Status(status)
		}
	}
}

// Pins lists the views that are held, at most capacity of them: to find callers that forgot to release. The count says
// how many there are, which may be more.
func (e *Engine) Pins(capacity int) ([]PinInfo, int, error) {
	defer runtime.KeepAlive(e)
	if capacity < 0 {
		return nil, 0, ErrArgument
	}
	pins := make([]PinInfo, capacity+1) // The first says how large each is, even where there is room for none.
	pins[0].structSize = C.sizeof_kvc_pin_info_t
	var count C.uint64_t
	status := C.kvc_pins_get(e.handle, (*C.kvc_pin_info_t)(unsafe.Pointer(&pins[0])), C.uint64_t(capacity), &count)
	if status != C.KVC_OK {
		return nil, 0, Status(status)
	}
	filled := int(count)
	if filled > capacity {
		filled = capacity
	}
	return pins[:filled], int(count), nil
}

// EventReader reads an engine's events from a place of its own. For one goroutine at a time.
type EventReader struct {
	engine   *Engine
	sequence C.uint64_t
}

// Events is a reader that begins with the oldest event that is remembered.
func (e *Engine) Events() *EventReader {
	return &EventReader{engine: e}
}

// Read reads events, oldest first, as many as there is room for. lost is how many were overwritten before this reader
// came; then compare what you know with MatchEach.
func (r *EventReader) Read(events []Event) (count, lost int, err error) {
	defer runtime.KeepAlive(r.engine)
	var place *C.kvc_event_t
	if len(events) > 0 {
		place = (*C.kvc_event_t)(unsafe.Pointer(&events[0]))
	}
	var countOut, lostOut C.uint64_t
	status := C.kvc_events_read(r.engine.handle, &r.sequence, place, C.uint64_t(len(events)), &countOut, &lostOut)
	return int(countOut), int(lostOut), asError(status)
}
