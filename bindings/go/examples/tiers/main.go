// Command tiers puts more than memory holds, with an NVMe file and a disk file below, makes it durable, opens the
// files again and finds every block.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"libkvcache/kvcache"
)

const (
	blockBytes  = 64 << 10
	blocksCount = 256
)

func key(number uint64) kvcache.Key {
	var name [8]byte
	binary.LittleEndian.PutUint64(name[:], number)
	return kvcache.DeriveKey(0, []byte("tiers"), name[:])
}

// fill writes what block number consists of.
func fill(block []byte, number uint64) {
	for place := range block {
		block[place] = byte(number*31 + uint64(place)/251)
	}
}

func run() error {
	folder, err := os.MkdirTemp("", "kvcache-tiers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	config := kvcache.Config{
		BlockBytes: blockBytes,
		CPUBytes:   32 * blockBytes,
		NVMePath:   filepath.Join(folder, "nvme.kvc"),
		NVMeBytes:  32 << 20,
		DiskPath:   filepath.Join(folder, "disk.kvc"),
		DiskBytes:  64 << 20,
	}
	engine, err := kvcache.Open(&config)
	if err != nil {
		return err
	}
	defer func() { engine.Close() }()

	block := make([]byte, blockBytes)
	for number := uint64(0); number < blocksCount; number++ {
		fill(block, number)
		if err := engine.Put(key(number), block, nil); err != nil {
			return err
		}
	}
	if _, err := engine.Flush(context.Background()); err != nil {
		return err
	}
	capacity, err := engine.Stats()
	if err != nil {
		return err
	}
	fmt.Printf("put      %d blocks, memory holds %d\n", blocksCount, capacity.SlotsCount)
	if err := engine.Close(); err != nil {
		return err
	}
	fmt.Println("close    flushed and closed")

	if engine, err = kvcache.Open(&config); err != nil {
		return err
	}
	want, found := make([]byte, blockBytes), 0
	for number := uint64(0); number < blocksCount; number++ {
		bytes, err := engine.Get(key(number), block, 0)
		if err != nil {
			return fmt.Errorf("block %d: %w", number, err)
		}
		fill(want, number)
		if string(block[:bytes]) != string(want) {
			return fmt.Errorf("block %d came back wrong", number)
		}
		found++
	}
	fmt.Printf("open     %d of %d blocks found, every byte as it was\n", found, blocksCount)
	return engine.Close()
}

func main() {
	if err := run(); err != nil {
		log.Fatal("tiers: ", err)
	}
	fmt.Println("tiers: ok")
}
