// Package kvcache keeps immutable blocks of bytes, the key/value blocks of a language model first of all, under
// 32-byte keys: in memory that is laid out once, and in preallocated files below it. It binds the C library
// libkvcache, whose header kvcache.h is the full manual; this package says what is different in Go.
//
//	engine, err := kvcache.Open(&kvcache.Config{BlockBytes: 64 << 10, CPUBytes: 64 << 20})
//	if err != nil {
//		return err
//	}
//	defer engine.Close()
//
//	key := kvcache.DeriveKey(0, nil, []byte("greeting"))
//	err = engine.Put(key, []byte("hello"), nil)
//	view, err := engine.Acquire(key, 0)
//	fmt.Println(string(view.Bytes())) // the block itself, not a copy
//	err = view.Release()
//
// # Errors
//
// Errors are a Status, or a *ConfigError that wraps one: compare with errors.Is(err, kvcache.ErrMiss). A context's
// own error is returned as it is.
//
// # Memory
//
// Blocking calls take any Go slice and keep none. Slices that the engine lends (View.Bytes, Reservation.Bytes) are
// memory of the engine: valid until Release, Commit or Abort, and no longer. The library never keeps a pointer to
// memory of Go: what must stay in place after a call returns (data of a lane's operations, an engine's own memory,
// pages for Gather and Scatter) is given as Memory, which is memory outside of Go's heap: a Buffer, a view, a
// reservation, or foreign memory by MemoryAt.
//
// # Goroutines
//
// Any number of goroutines may use an Engine at once, except Shutdown and Close: no other call may be under way then.
// A Lane, a Reader and an EventReader belong to one goroutine at a time.
//
// # Finalizers
//
// An Engine, a Codec and Pages that are no longer reachable are closed by the garbage collector some time, as a safety
// net: an engine that has views, reservations or lanes is not, and nothing is flushed. Views, reservations and buffers
// have no finalizer, because a slice over them does not keep them reachable. Call Close, Release and Free.
package kvcache
