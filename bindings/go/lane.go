package kvcache

// #include "shim.h"
import "C"
import (
	"context"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Op is an operation to submit to a lane. Leave out what the opcode does not use.
type Op struct {
	// Opcode is what to do.
	Opcode Opcode
	// Flags are MatchFlags for OpMatch, CopyFlags for OpGet, else zero.
	Flags uint32
	// UserData is anything; it comes back in Done.
	UserData uint64
	// Keys are copied.
	Keys []Key
	// Data is where OpGet puts blocks and OpPut takes them from: block i at i*Bytes. It must stay valid until the
	// operation is complete; a Buffer is kept from being freed until then. OpAcquire needs none.
	Data Memory
	// Bytes of each block in Data; 0 for the length of Data, shared out among the keys.
	Bytes uint64
	// Info is what OpPut says about the blocks; copied; may be nil.
	Info *PutInfo
}

// Done is what became of an operation.
type Done struct {
	// UserData is the operation's.
	UserData uint64
	// Ticket is the operation's.
	Ticket Ticket
	// Status is what the blocking call would have answered.
	Status Status
	// Opcode is the operation's.
	Opcode Opcode
	// Result is a count or a number of bytes, as the opcode says.
	Result uint64
	// Views are the blocks of OpAcquire, to be released; nil for the others.
	Views *Views
}

// Err is the operation's status as an error, nil for OK.
func (d *Done) Err() error {
	return asError(C.kvc_status_t(d.Status))
}

// slot is what the binding keeps of an operation under way. Its memory is C's and is used again.
type slot struct {
	keys, views                 unsafe.Pointer
	keysCapacity, viewsCapacity uintptr
	userData                    uint64
	data                        Memory
	viewsCount                  int
}

// Lane is one producer's private queues of operations and completions. It belongs to one goroutine at a time; a second
// one that uses it meanwhile gets ErrBusy. Made by OpenLane, ended by Close.
type Lane struct {
	engine *Engine
	lane   C.kvc_lane_t
	busy   uint32
	closed bool
	slots  []slot
	free   []int
	done   []C.kvc_done_t
	ops    []C.kvc_op_t

	fileOnce sync.Once
	file     *os.File
	fileErr  error
}

// OpenLane opens a lane. ErrAgain when LanesCount of the Config are open.
func (e *Engine) OpenLane() (*Lane, error) {
	capacity, err := e.Capacity()
	if err != nil {
		return nil, err
	}
	l := &Lane{engine: e}
	if status := C.kvc_lane_open(e.handle, &l.lane); status != C.KVC_OK {
		return nil, Status(status)
	}
	depth := int(capacity.LaneDepth)
	l.slots = make([]slot, depth)
	l.free = make([]int, depth)
	for i := range l.free {
		l.free[i] = depth - 1 - i
	}
	l.done = make([]C.kvc_done_t, 64)
	return l, nil
}

// enter takes the lane for this goroutine.
func (l *Lane) enter() error {
	if !atomic.CompareAndSwapUint32(&l.busy, 0, 1) {
		return ErrBusy
	}
	if l.closed {
		l.leave()
		return ErrStale
	}
	return nil
}

func (l *Lane) leave() {
	atomic.StoreUint32(&l.busy, 0)
	runtime.KeepAlive(l.engine)
}

// Close closes the lane. ErrBusy while operations are under way or their completions not fetched; ErrStale when it was
// closed already.
func (l *Lane) Close() error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	if status := C.kvc_lane_close(l.engine.handle, l.lane); status != C.KVC_OK {
		return Status(status)
	}
	l.closed = true
	for i := range l.slots {
		C.free(l.slots[i].keys)
		C.free(l.slots[i].views)
	}
	l.slots, l.free = nil, nil
	l.fileOnce.Do(func() { l.fileErr = ErrStale })
	if l.file != nil {
		_ = l.file.Close()
	}
	return nil
}

// grow makes room for count elements in C memory whose content does not matter.
func grow(place *unsafe.Pointer, capacity *uintptr, count, bytes uintptr) error {
	if count <= *capacity {
		return nil
	}
	C.free(*place)
	*place, *capacity = C.calloc(C.size_t(count), C.size_t(bytes)), count
	if *place == nil {
		*capacity = 0
		return ErrNoMemory
	}
	return nil
}

// prepare writes an operation out in C memory of the slot.
func (s *slot) prepare(op *Op, index int, a *arena) (C.kvc_op_t, error) {
	c := C.kvc_op_t{
		opcode: C.uint32_t(op.Opcode), flags: C.uint32_t(op.Flags), user_data: C.uint64_t(index),
		data: op.Data.data, bytes: C.uint64_t(op.Bytes),
	}
	count := uintptr(len(op.Keys))
	if count > 0 {
		if err := grow(&s.keys, &s.keysCapacity, count, unsafe.Sizeof(Key{})); err != nil {
			return c, err
		}
		copy(unsafe.Slice((*Key)(s.keys), len(op.Keys)), op.Keys)
		c.keys, c.keys_count = (*C.kvc_key_t)(s.keys), C.uint64_t(count)
	}
	s.viewsCount = 0
	switch op.Opcode {
	case OpGet, OpPut:
		if count > 0 && op.Bytes == 0 {
			c.bytes = C.uint64_t(op.Data.bytes / uint64(count))
		}
		if count > 0 && uint64(c.bytes) > op.Data.bytes/uint64(count) {
			return c, ErrTooSmall
		}
	case OpAcquire:
		if count > 0 {
			if err := grow(&s.views, &s.viewsCapacity, count, C.sizeof_kvc_view_t); err != nil {
				return c, err
			}
			c.data, c.bytes = s.views, C.uint64_t(count*C.sizeof_kvc_view_t)
			s.viewsCount = len(op.Keys)
		}
	}
	if op.Info != nil {
		info := (*C.kvc_put_info_t)(a.room(1, C.sizeof_kvc_put_info_t))
		*info = op.Info.c().info
		if op.Info.Parent != nil {
			info.parent = (*C.kvc_key_t)(a.copied(op.Info.Parent[:]))
		}
		c.info = info
	}
	if err := op.Data.hold(); err != nil {
		return c, err
	}
	s.userData, s.data = op.UserData, op.Data
	return c, nil
}

// Submit submits operations, in order, as many as there is room for, and returns the tickets of those that were
// taken. The first that is not taken ends the batch: submit from there on again.
//
// The error says why not all were taken: ErrAgain when the lane is full; ErrUnsupported for an opcode or flags;
// ErrTooSmall for Data that is too short; ErrStale for a Buffer that was freed, or when the lane is closed; ErrBusy
// when another goroutine is on the lane.
func (l *Lane) Submit(ops ...Op) ([]Ticket, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	if len(ops) == 0 {
		return nil, nil
	}
	var a arena
	defer a.free()
	var failed error
	l.ops = l.ops[:0]
	for i := range ops {
		if len(l.free) == 0 {
			failed = ErrAgain
			break
		}
		index := l.free[len(l.free)-1]
		op, err := l.slots[index].prepare(&ops[i], index, &a)
		if err != nil {
			failed = err
			break
		}
		l.free = l.free[:len(l.free)-1]
		l.ops = append(l.ops, op)
	}
	if len(l.ops) == 0 {
		return nil, failed
	}
	tickets := make([]Ticket, len(l.ops))
	submitted := 0
	for submitted < len(l.ops) {
		var taken C.uint64_t
		status := C.kvc_submit(l.engine.handle, l.lane, &l.ops[submitted], C.uint64_t(len(l.ops)-submitted),
			(*C.kvc_ticket_t)(unsafe.Pointer(&tickets[submitted])), &taken)
		if status != C.KVC_OK {
			failed = Status(status)
			break
		}
		submitted += int(taken)
	}
	for i := len(l.ops) - 1; i >= submitted; i-- {
		l.giveBack(int(l.ops[i].user_data))
	}
	return tickets[:submitted], failed
}

// giveBack makes a slot free.
func (l *Lane) giveBack(index int) {
	s := &l.slots[index]
	s.data.drop()
	s.data = Memory{}
	l.free = append(l.free, index)
}

// finish turns a completion into what the caller gets, and frees its slot.
func (l *Lane) finish(d *C.kvc_done_t) Done {
	index := int(d.user_data)
	s := &l.slots[index]
	done := Done{UserData: s.userData, Ticket: *(*Ticket)(unsafe.Pointer(&d.ticket)), Status: Status(d.status),
		Opcode: Opcode(d.opcode), Result: uint64(d.result)}
	if s.viewsCount > 0 && d.status == C.KVC_OK {
		views := make([]C.kvc_view_t, int(d.result))
		copy(views, unsafe.Slice((*C.kvc_view_t)(s.views), s.viewsCount))
		done.Views = &Views{engine: l.engine, views: views}
	}
	l.giveBack(index)
	return done
}

// Reap fetches completions, the oldest first, as many as there are and done has room for. In tick mode it does the
// work of the lane first.
func (l *Lane) Reap(done []Done) (int, error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	reaped := 0
	for reaped < len(done) {
		room := len(done) - reaped
		if room > len(l.done) {
			room = len(l.done)
		}
		var count C.uint64_t
		status := C.kvc_reap(l.engine.handle, l.lane, &l.done[0], C.uint64_t(room), &count)
		if status != C.KVC_OK {
			return reaped, Status(status)
		}
		for i := 0; i < int(count); i++ {
			done[reaped] = l.finish(&l.done[i])
			reaped++
		}
		if int(count) < room {
			break
		}
	}
	return reaped, nil
}

// Wait waits for one operation and fetches its completion, which is then not reaped any more. In tick mode it does the
// work of the lane itself. The error is about the call; Done.Err about the operation.
//
// When the context is done, Wait returns the context's error within ten milliseconds, and the operation goes on.
// ErrStale when the completion was fetched before.
func (l *Lane) Wait(ctx context.Context, ticket Ticket) (Done, error) {
	if err := l.enter(); err != nil {
		return Done{}, err
	}
	defer l.leave()
	t := *(*C.kvc_ticket_t)(unsafe.Pointer(&ticket))
	step := 50 * time.Microsecond
	for {
		timeout := C.uint64_t(math.MaxUint64)
		if ctx.Done() != nil {
			if err := ctx.Err(); err != nil {
				return Done{}, err
			}
			timeout = C.uint64_t(step)
			if step < 10*time.Millisecond {
				step *= 2
			}
			if step > 10*time.Millisecond {
				step = 10 * time.Millisecond
			}
		}
		status := C.kvc_wait(l.engine.handle, l.lane, t, timeout, &l.done[0])
		switch status {
		case C.KVC_OK:
			return l.finish(&l.done[0]), nil
		case C.KVC_TIMEOUT:
		default:
			return Done{}, Status(status)
		}
	}
}

// Cancel cancels an operation that has not begun, or that waits for blocks from a file tier. It completes with
// ErrCancelled and is reaped like any other. ErrPending when it is too late.
func (l *Lane) Cancel(ticket Ticket) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	return asError(C.kvc_cancel(l.engine.handle, l.lane, *(*C.kvc_ticket_t)(unsafe.Pointer(&ticket))))
}

// EventFD is the lane's event fd, readable when there is something to reap: for an event loop of your own. It belongs
// to the library. Ready does all of this.
func (l *Lane) EventFD() (int, error) {
	var fd C.int32_t
	status := C.kvc_lane_event_fd(l.engine.handle, l.lane, &fd)
	runtime.KeepAlive(l.engine)
	return int(fd), asError(status)
}

// Ready waits until there is something to reap, or the context is done. No thread waits: the goroutine is woken by the
// lane's event fd, which workers signal; in tick mode, a Tick of another goroutine does. May be called while another
// goroutine uses the lane. Returns at once for what happened since the last Ready, so that a Reap may find nothing.
func (l *Lane) Ready(ctx context.Context) error {
	l.fileOnce.Do(l.openFile)
	if l.fileErr != nil {
		return l.fileErr
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if ctx.Done() != nil {
		over, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			select {
			case <-ctx.Done():
				_ = l.file.SetReadDeadline(time.Unix(1, 0))
			case <-over:
			}
		}()
		defer func() {
			close(over)
			<-stopped
			_ = l.file.SetReadDeadline(time.Time{})
		}()
	}
	var counter [8]byte
	_, err := l.file.Read(counter[:])
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// openFile gives the event fd to Go's poller: a copy of the descriptor, which is non-blocking as the library's is.
func (l *Lane) openFile() {
	fd, err := l.EventFD()
	if err != nil {
		l.fileErr = err
		return
	}
	syscall.ForkLock.RLock()
	fd, err = syscall.Dup(fd)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		l.fileErr = err
		return
	}
	l.file = os.NewFile(uintptr(fd), "kvcache lane")
}
