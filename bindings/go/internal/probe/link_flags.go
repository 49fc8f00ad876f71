//go:build kvcache_flags

package probe

// #cgo LDFLAGS: -lkvcache
import "C"
