// Command bench measures what a hit costs in Go over what it costs in C, in one run, and prints it as JSON.
//
// C's loop of acquire and release over resident blocks is called once for each round through cgo; Go's loops make the
// same calls over the same blocks. Rounds are short and taken in turn, and differences are between neighbours, so that
// what else the machine does concerns all of them.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime"
	"sort"
	"time"

	"libkvcache/kvcache"
	"libkvcache/kvcache/internal/probe"
)

const (
	keysCount   = 1024
	blockBytes  = 4096
	roundsCount = 1500
	hitsCount   = 1024 // in a round
	batchCount  = 64
)

// figures are quantiles over the rounds, in nanoseconds for a hit.
type figures struct {
	P10 float64 `json:"p10"`
	P50 float64 `json:"p50"`
}

func quantiles(values []float64) figures {
	sorted := append([]float64(nil), values...)
	sort.Float64s(sorted)
	at := func(share float64) float64 {
		return float64(int(10*sorted[int(share*float64(len(sorted)-1))])) / 10
	}
	return figures{at(0.1), at(0.5)}
}

func run() error {
	engine, err := kvcache.Open(&kvcache.Config{BlockBytes: blockBytes, CPUBytes: 2 * keysCount * blockBytes})
	if err != nil {
		return err
	}
	defer engine.Close()
	keys, raw := make([]kvcache.Key, keysCount), make([][32]byte, keysCount)
	block := make([]byte, blockBytes)
	for i := range keys {
		var name [8]byte
		binary.LittleEndian.PutUint64(name[:], uint64(i))
		keys[i] = kvcache.DeriveKey(0, nil, name[:])
		raw[i] = keys[i]
		if err := engine.Put(keys[i], block, nil); err != nil {
			return err
		}
	}
	reader := engine.Reader()

	var failed error
	note := func(err error) {
		if err != nil {
			failed = err
		}
	}
	loops := []struct {
		name string
		run  func() float64 // nanoseconds
	}{
		{"c", func() float64 {
			took := probe.Hits(engine.Handle(), raw, hitsCount)
			if took == 0 {
				failed = kvcache.ErrMiss
			}
			return float64(took)
		}},
		{"acquire_release", timed(func() {
			for i := 0; i < hitsCount; i++ {
				view, err := engine.Acquire(keys[i%keysCount], 0)
				if err != nil {
					failed = err
				} else if err := view.Release(); err != nil {
					failed = err
				}
			}
		})},
		{"reader", timed(func() {
			for i := 0; i < hitsCount; i++ {
				if _, err := reader.Read(keys[i%keysCount]); err != nil {
					failed = err
				}
			}
		})},
		{"acquire_many", timed(func() {
			for i := 0; i < hitsCount; i += batchCount {
				place := i % keysCount
				views, err := engine.AcquireMany(keys[place : place+batchCount])
				note(err)
				if err == nil {
					note(views.Release())
				}
			}
		})},
		{"crossing", timed(func() {
			for i := 0; i < hitsCount; i++ {
				probe.Nothing()
			}
		})},
	}
	took, over := map[string][]float64{}, map[string][]float64{}
	for round := -roundsCount / 10; round < roundsCount; round++ {
		var c float64
		for _, loop := range loops {
			each := loop.run() / hitsCount
			if loop.name == "c" {
				c = each
			}
			if round >= 0 { // The others warm up.
				took[loop.name] = append(took[loop.name], each)
				over[loop.name] = append(over[loop.name], each-c)
			}
		}
	}
	if failed != nil {
		return failed
	}
	if err := reader.Close(); err != nil {
		return err
	}
	result := map[string]any{
		"bench": "bindings/go", "go": runtime.Version(), "library": kvcache.Version(), "keys": keysCount,
		"block_bytes": blockBytes, "rounds": roundsCount, "hits_per_round": hitsCount, "wanted_over_c_ns": 80,
	}
	for _, loop := range loops {
		result[loop.name+"_ns"] = quantiles(took[loop.name])
		if loop.name != "c" && loop.name != "crossing" {
			result[loop.name+"_over_c_ns"] = quantiles(over[loop.name])
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(result)
}

// timed measures a loop.
func timed(loop func()) func() float64 {
	return func() float64 {
		begin := time.Now()
		loop()
		return float64(time.Since(begin).Nanoseconds())
	}
}

func main() {
	if err := run(); err != nil {
		log.Fatal(fmt.Errorf("bench: %w", err))
	}
}
