// Command quickstart opens an engine, puts a block, reads it back twice, closes.
package main

import (
	"fmt"
	"log"

	"libkvcache/kvcache"
)

func run() error {
	engine, err := kvcache.Open(&kvcache.Config{BlockBytes: 64 << 10, CPUBytes: 64 << 20})
	if err != nil {
		return err
	}
	defer engine.Close()

	key := kvcache.DeriveKey(0, nil, []byte("greeting"))
	if err := engine.Put(key, []byte("hello, cache"), nil); err != nil {
		return err
	}

	// A copy.
	buffer := make([]byte, 64)
	bytes, err := engine.Get(key, buffer, 0)
	if err != nil {
		return err
	}
	fmt.Printf("get      %s, %d bytes: %s\n", kvcache.OK.Name(), bytes, buffer[:bytes])

	// The block itself, in place.
	view, err := engine.Acquire(key, 0)
	if err != nil {
		return err
	}
	fmt.Printf("acquire  %s, %d bytes: %s\n", kvcache.OK.Name(), len(view.Bytes()), view.Bytes())
	if err := view.Release(); err != nil {
		return err
	}

	stats, err := engine.Stats()
	if err != nil {
		return err
	}
	fmt.Printf("stats    %d of %d blocks, %d hit by get, %d acquired\n",
		stats.BlocksResident, stats.SlotsCount, stats.GetHits, stats.Acquires)

	if err := engine.Close(); err != nil {
		return err
	}
	fmt.Printf("close    %s\n", kvcache.OK.Name())
	return nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal("quickstart: ", err)
	}
	fmt.Println("quickstart: ok")
}
