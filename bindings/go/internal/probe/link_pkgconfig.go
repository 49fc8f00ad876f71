//go:build !kvcache_flags

package probe

// #cgo pkg-config: kvcache
import "C"
