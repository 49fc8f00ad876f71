package kvcache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func tiersConfig(t testing.TB) Config {
	folder := t.TempDir()
	return Config{BlockBytes: 4096, CPUBytes: 16 * 4096, NVMePath: filepath.Join(folder, "nvme.kvc"), NVMeBytes: 4 << 20,
		DiskPath: filepath.Join(folder, "disk.kvc"), DiskBytes: 4 << 20}
}

func TestTiers(t *testing.T) {
	config := tiersConfig(t)
	engine := open(t, config)
	const count = 64
	for i := uint64(0); i < count; i++ {
		no(t, engine.Put(testKey(i), testBlock(i, 4096), nil))
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := engine.Flush(over); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	later, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	_, err := engine.Flush(later)
	no(t, err)
	_, err = engine.Flush(context.Background())
	no(t, err)
	tier, err := engine.Tier(TierNVMe)
	no(t, err)
	equal(t, tier.State, TierStateOnline)
	equal(t, tier.BlocksCount, count)
	if tier.IOName() == "" {
		t.Error("no name")
	}
	no(t, engine.NamespaceQualitySet(5, 10))
	no(t, engine.NamespaceQualitySet(5, None))

	is(t, second(Open(&config)), ErrFileBusy)
	no(t, engine.Close())

	engine = open(t, config)
	for i := uint64(0); i < count; i++ {
		view, err := engine.AcquireContext(later, testKey(i))
		no(t, err)
		equal(t, string(view.Bytes()), string(testBlock(i, 4096)))
		no(t, view.Release())
	}
	if _, err := engine.AcquireContext(over, testKey(0)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	_, err = engine.AcquireContext(later, testKey(999))
	is(t, err, ErrMiss)
	stats, err := engine.Stats()
	no(t, err)
	if stats.NVMeHits == 0 || stats.PinsInUse != 0 {
		t.Errorf("%d hits, %d pins", stats.NVMeHits, stats.PinsInUse)
	}

	// A lane brings blocks up without anybody waiting for a device.
	l := lane(t, engine)
	tickets, err := l.Submit(Op{Opcode: OpAcquire, Keys: testKeys(0, 8)})
	no(t, err)
	done, err := l.Wait(later, tickets[0])
	no(t, err)
	no(t, done.Err())
	equal(t, done.Views.Len(), 8)
	no(t, done.Views.Release())

	begun, err := engine.Prefetch(testKeys(20, 4))
	no(t, err)
	if begun == 0 {
		t.Error("nothing is prefetched")
	}
	ticking, still := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer still()
	if err := engine.TickEvery(ticking, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	stats, err = engine.Stats()
	no(t, err)
	if stats.Ticks == 0 {
		t.Error("no ticks")
	}
}

// soonOver is a context that is over as soon as somebody waits.
type soonOver struct {
	context.Context
	asked bool
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (c *soonOver) Done() <-chan struct{} { return closedChannel }

func (c *soonOver) Err() error {
	if !c.asked {
		c.asked = true
		return nil
	}
	return context.Canceled
}

// A block that is let go on its way up is not held any more, and can be had later.
func TestAcquireEndsWithItsContext(t *testing.T) {
	config := tiersConfig(t)
	engine := open(t, config)
	const count = 200
	for i := uint64(0); i < count; i++ {
		no(t, engine.Put(testKey(i), testBlock(i, 4096), nil))
	}
	_, err := engine.Flush(context.Background())
	no(t, err)
	ended := 0
	for i := uint64(0); i < count; i++ {
		view, err := engine.AcquireContext(&soonOver{Context: context.Background()}, testKey(i))
		if err == nil {
			no(t, view.Release())
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		ended++
		stats, err := engine.Stats()
		no(t, err)
		equal(t, stats.PinsInUse, 0)
		view, err = engine.Acquire(testKey(i), 0)
		no(t, err)
		equal(t, string(view.Bytes()), string(testBlock(i, 4096)))
		no(t, view.Release())
	}
	t.Logf("%d of %d ended on their way", ended, count)
}

func TestFilesAreRefusedWithReason(t *testing.T) {
	config := tiersConfig(t)
	config.NVMePath = filepath.Join(t.TempDir(), "nowhere", "nvme.kvc")
	_, err := Open(&config)
	is(t, err, ErrFile)
	if !errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EPERM) {
		t.Fatalf("%v", err)
	}
	config = tiersConfig(t)
	no(t, os.WriteFile(config.DiskPath, []byte("something else, and longer than nothing"), 0o600))
	_, err = Open(&config)
	is(t, err, ErrFileForeign)
	var refused *ConfigError
	if !errors.As(err, &refused) || refused.Field != "disk_path" {
		t.Fatalf("%v", err)
	}
	memory := smallConfig()
	engine := open(t, memory)
	_, err = engine.Flush(context.Background())
	is(t, err, ErrUnsupported)
	later, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	_, err = engine.Flush(later)
	is(t, err, ErrUnsupported)
}

// A tier in a codec, with geometries and a codec of its own for single layers.
func TestTierWithCodec(t *testing.T) {
	geometry := Geometry{LayersCount: 2, KVHeadsCount: 1, HeadDim: 64, TokensPerBlock: 16, DType: DTypeBF16}
	bytes, err := geometry.BlockBytes()
	no(t, err)
	config := tiersConfig(t)
	config.BlockBytes, config.CPUBytes = bytes, 8*bytes
	config.Geometries = []Geometry{geometry}
	config.NVMeCodec = &CodecConfig{CodecKey: CodecI8, CodecValue: CodecI8,
		Layers: []CodecLayer{{LayerFirst: 0, LayerLast: 0, CodecKey: CodecLZ, CodecValue: CodecLZ}}}
	engine := open(t, config)
	block := make([]byte, bytes)
	no(t, engine.Put(testKey(1), block, &PutInfo{GeometryID: 1}))
	_, err = engine.Flush(context.Background())
	no(t, err)
	tier, err := engine.Tier(TierNVMe)
	no(t, err)
	equal(t, tier.CodecKey, CodecI8)
	if tier.BlocksCoded != 1 || tier.CodedBytes >= tier.PlainBytes {
		t.Errorf("%+v", tier)
	}
}
